"""Lossy converters by their statistics: the integer product, and an error of derived mean and variance.

What a converter does to a bitline sum s is known in closed form: the mean m(s) and the variance q(s) of its
error (``conversion_moments``). The error of an output,

    e = Σ_groups Σ_i Σ_j radix^i·c_j·(ADC(s + noise) - s),   s = Σ_{k in group} d_ik·e_kj,

has, given the operands, mean Σ radix^i·c_j·m(s) and variance Σ (radix^i·c_j)²·q(s): noise of different
conversions is independent. How s varies from output to output is taken from the operands themselves: for
each streamed row the sums of 16 columns are computed exactly, all digits, planes and groups, so that what
they have in common (a shared digit, a sign that fills several bits) is in the numbers. The law of the
row's errors is

    e = mean + gain·(y - ȳ) + sqrt(variance·spread)·z,    z ~ N(0, 1) for every output,

y the exact product, ȳ its mean over the row. Gain is the slope of the errors on y by least squares: clipping
takes a share of y away, rounding does not. Mean is that of the sampled errors, moved along the line by
R²·gain·(ȳ - ȳ_s) because the mean ȳ_s of the sampled y is not that of all (in full where the line explains
all, R² = 1; not at all where it explains nothing and would only bias). The columns are a random subset of the
resident's, one of up to 64 by a hash of the row's own codes: the law of a row depends on the row and on the
resident operand, not on what else is in the batch.

The variance is put right for what n = 16 columns cannot know. Elsewhere the fitted line is off by the
residual variance times h = 1/n + (y - ȳ_s)²/S_yy, S_yy the sum of squares of the sampled y; on average over
normal y, 1/n + (1 + 1/n)/(n - 3). With RSS the sum of squared residuals the variance used is

    RSS/(n - 2)·(1 - h) - (1 - R²)²·gain²·S_yy/n² + the mean of Σ (radix^i·c_j)²·q(s),

the middle term being what the mean errs for not moving in full. So mean and variance over a layer are those
of all conversions.

Columns err differently: spread, mean 1, is the part of a column of a stored operand, found once for it
(``column_spread``). Since a row's sampled columns are random, its mean variance stays right whatever spread
is. Operands that are not stored have spread 1.

Error: z is normal and independent from output to output, where the errors of one column keep a fixed part
over rows; the estimate of a row's mean from 16 columns puts a share h of the residual variance into what the
outputs of the row have in common. Where the residual deviation is below 1/2 the rounding to whole numbers
may hide it. Mismatch enters as noise of the same variance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ohmformer.crossbars import digit_weights, drive, plane_weights, resident_planes, wordline_groups
from ohmformer.engine.collapsed import exact_product
from ohmformer.engine.column_spread import column_spread, row_totals
from ohmformer.engine.conversion_moments import ConversionTable, conversion_table
from ohmformer.engine.native import kernels, threads
from ohmformer.engine.randomness import MASK64, Draw, deviate_table, deviates, random_words
from ohmformer.engine.resident import ResidentCodes
from ohmformer.engine.sampled_columns import code_hash, column_order, columns_of
from ohmformer.engine.sampled_errors import sample_kernel, sample_tables, sampled_errors
from ohmformer.engine.whole import whole_matmul
from ohmformer.numerals import HOST, divide, on_host
from ohmformer.specs import TileSpec

SAMPLED = 16  # columns whose sums are computed exactly, for each row
SUBSETS = 64  # of columns; a row's codes choose one
BLOCK_CONVERSIONS = 1 << 18  # of a sample computed at once
NOISE = 14  # purpose of random numbers, beside those of ``sampled_columns``
ROUNDINGS = 2 / 12  # variance that rounding mean and noise to whole numbers adds (Sheppard)


@dataclass(frozen=True, kw_only=True, eq=False)
class OutputErrorLaw:
    """The error of each output: e = mean + gain·(y - centre) + sqrt(variance·spread)·z, product units.

    gain, centre: [..., row, 1]; 0 where every column was sampled
    mean:         [..., row, 1]; [..., row, column] where every column was sampled
    variance:     as ``mean``, of what is left
    spread:       [column], float32, mean 1; ones where every column was sampled or the operand is not stored
    digit_mean:   [digit, plane] part of the mean, over rows and sampled columns; the parts add up to it
    digit_square: [digit, plane] mean square of each part; they do not add up: parts are correlated
    """

    gain: Tensor
    centre: Tensor
    mean: Tensor
    variance: Tensor
    spread: Tensor
    digit_mean: Tensor
    digit_square: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """Errors of sampled outputs [entry, row, column], float64.

    mean:     Σ radix^i·c_j·m(s)
    variance: Σ (radix^i·c_j)²·q(s)
    parts:    [2, digit, plane], sum over outputs of what each digit and plane adds, and of its square
    """

    mean: Tensor
    variance: Tensor
    parts: Tensor


def output_error_law(
    streamed: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    *,
    exact: Tensor | None = None,
    by_digit: bool = True,
) -> OutputErrorLaw:
    """Mean, gain and variance of the errors of a product, derived from its operands (see the file's head).

    streamed: [..., row, inner]; resident: [..., inner, column]; whole numbers
    exact:    the integer product, if it is known already
    by_digit: whether the parts of digits and planes are wanted (zeros if not)
    Error:    that of estimates from 16 columns a row: relative deviation sqrt(2/14) of one row's variance,
              sqrt(variance/16) of its mean; both unbiased over rows.
    """
    if exact is None:
        exact = exact_product(streamed, resident, streamed_bits, resident_bits)
    columns = exact.shape[-1]
    job = _Job(tile, streamed_bits, resident_bits, streamed.shape[-1], by_digit, streamed.device)
    shared = isinstance(resident, ResidentCodes) or resident.ndim == 2
    if shared:
        left, y = streamed.reshape(1, -1, job.inner), exact.reshape(1, -1, columns)
        mean, variance, at, parts = _shared_sample(job, left, y, resident)
    else:
        assert isinstance(resident, Tensor)
        batch = exact.shape[:-2]
        left = streamed.expand(*batch, *streamed.shape[-2:]).reshape(-1, *streamed.shape[-2:])
        right = resident.expand(*batch, *resident.shape[-2:]).reshape(-1, *resident.shape[-2:])
        y = exact.reshape(-1, *exact.shape[-2:])
        mean, variance, at, parts = _entry_sample(job, left, y, right)
    count = max(1, mean.numel())
    shape = (*exact.shape[:-1], -1)
    spread = torch.ones(columns, device=exact.device)
    if columns <= SAMPLED:
        gain = centre = mean.new_zeros(*mean.shape[:-1], 1)
    else:
        if shared:  # Σ_n y_mn = Σ_k x_mk Σ_n w_kn, whole numbers: exact in any order
            total = whole_matmul(left.double(), row_totals(resident)).unsqueeze(-1)
        else:
            total = y.sum(-1, keepdim=True, dtype=torch.float64)
        gain, centre, mean, variance = _line(mean, variance, at, divide(total, columns))
        if isinstance(resident, ResidentCodes):
            spread = column_spread(resident, tile, streamed_bits, resident_bits)
    return OutputErrorLaw(
        gain=gain.reshape(shape),
        centre=centre.reshape(shape),
        mean=mean.reshape(shape),
        variance=variance.reshape(shape),
        spread=spread,
        digit_mean=parts[0] / count,
        digit_square=parts[1] / count,
    )


def statistical_product(
    streamed: Tensor,
    resident: Tensor | ResidentCodes,
    tile: TileSpec,
    streamed_bits: int,
    resident_bits: int,
    draw: Draw,
) -> Tensor:
    """The product with errors drawn from their law (see ``ProductEngine.product`` and the file's head)."""
    y = exact_product(streamed, resident, streamed_bits, resident_bits)
    if not y.numel():
        return y
    law = output_error_law(streamed, resident, tile, streamed_bits, resident_bits, exact=y, by_digit=False)
    y = y.contiguous().reshape(-1, y.shape[-1])
    gain, shift = law.gain.flatten(0, -2), (law.mean - law.gain * law.centre).flatten(0, -2)
    sd = (law.variance.flatten(0, -2) - ROUNDINGS).clamp_min(0.0).sqrt().float()
    draw, gain, spread = draw.sub(NOISE), (1 + gain).to(y.dtype), law.spread.sqrt()
    native = kernels() if y.device.type == "cpu" else None
    if native is not None and y.dtype == torch.float32 and y.shape[-1] > SAMPLED:
        shift, keys, table = shift.float(), draw.keys.contiguous(), deviate_table()
        native._calls.errors_by_law(
            draw.seed & MASK64, draw.stream & MASK64, keys.data_ptr(), *y.shape, table.data_ptr(),
            gain.data_ptr(), shift.data_ptr(), sd.data_ptr(), spread.data_ptr(), y.data_ptr(), threads(),
        )  # fmt: skip
    else:
        # no multiply-add of one step: it would round differently in vectors and in their rest
        y = y.mul_(gain).add_(shift.to(y.dtype)).round_()
        _add_noise(y, sd * spread, draw)
    return y.reshape(*law.gain.shape[:-1], -1)


def _add_noise(y: Tensor, sd: Tensor, draw: Draw) -> None:
    """y [row, column] += round(sd·z), in place; sd [row, column]."""
    draw, blocks = draw.on(y.device), -(-y.shape[1] // 4)
    step = max(1, (1 << 20) // (4 * blocks))
    for start in range(0, len(y), step):
        part = slice(start, start + step)
        words = random_words(draw.seed, draw.stream, draw.keys[part], blocks)
        y[part] += (deviates(words[:, : y.shape[1]]) * sd[part]).round_().to(y.dtype)


# --- the law of a row from its sample --------------------------------------------------------------


def _added(values: Tensor) -> Tensor:
    """Sum over the last axis, one after the other: the same bits whatever the shape."""
    total = values[..., 0].clone()
    for column in range(1, values.shape[-1]):
        total += values[..., column]
    return total.unsqueeze(-1)


def _line(errors: Tensor, noise: Tensor, y: Tensor, mean_y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gain, centre, mean and residual variance [entry, row, 1] of errors against y [entry, row, sampled].

    mean_y: [entry, row, 1], mean of y over all columns
    """
    count = errors.shape[-1]
    centre, mean = _added(y) / count, _added(errors) / count
    away, off = y - centre, errors - mean
    spread = _added(away * away)
    gain = torch.where(spread > 0, _added(away * off) / spread.clamp_min(1e-300), 0.0)
    left = off - gain * away
    unexplained, explained = _added(left * left), gain * gain * spread
    share = explained / (explained + unexplained).clamp_min(1e-300)
    leverage = 1 / count + (1 + 1 / count) / (count - 3)
    residual = unexplained * ((1 - leverage) / (count - 2)) - (1 - share).square() * explained / count**2
    mean = mean + share * gain * (mean_y - centre)
    return gain, mean_y, mean, residual.clamp_min(0) + _added(noise) / noise.shape[-1]


def _shared_sample(
    job: _Job, left: Tensor, y: Tensor, resident: Tensor | ResidentCodes
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Errors, noise, y of the sampled columns [1, row, ...] and parts, with one resident for all rows."""
    columns = y.shape[-1]
    if columns <= SAMPLED:
        every = torch.arange(columns, device=y.device)
        found = job.sample(left, columns_of(resident, every).unsqueeze(0), every.unsqueeze(0))
        return found.mean, found.variance, y, found.parts
    subsets = max(1, min(SUBSETS, columns // SAMPLED))
    kind = code_hash(left[0], job.streamed_bits) % subsets
    ids = column_order(columns)[: subsets * SAMPLED].view(subsets, SAMPLED).to(y.device)
    at = y[0].gather(1, ids[kind]).double().unsqueeze(0)
    if job.native:
        used, counts = kind.unique(return_counts=True)
        codes = columns_of(resident, ids[used].flatten()).t().unflatten(0, (-1, SAMPLED))
        starts = F.pad(counts.cumsum(0), (1, 0))
        native = job.natively(left[0], codes, ids[used], kind.argsort(stable=True), starts)
        return native.mean.unsqueeze(0), native.variance.unsqueeze(0), at, native.parts
    mean = torch.empty(left.shape[1], SAMPLED, dtype=torch.float64, device=y.device)
    variance, parts = torch.empty_like(mean), job.weights.new_zeros(2, *job.weights.shape)
    for members, rows, valid in _classes(kind, subsets, job):
        chosen = ids[members]
        right = columns_of(resident, chosen.flatten()).unflatten(1, chosen.shape).transpose(0, 1)
        found = job.sample(left[0, rows], right, chosen)
        own = rows[valid]
        mean[own], variance[own] = found.mean[valid], found.variance[valid]
        parts += found.parts
    return mean.unsqueeze(0), variance.unsqueeze(0), at, parts


def _classes(kind: Tensor, subsets: int, job: _Job) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Subsets of columns to treat at once, their rows [subset, row] and which of these are not padding.

    Subsets with about as many rows go together; one at a time where digits are told apart.
    """
    order, counts = kind.argsort(stable=True), kind.bincount(minlength=subsets)
    starts = counts.cumsum(0) - counts
    by_count = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    first = 0
    while first < len(by_count):
        most = int(counts[by_count[first]])
        together = 1 if job.by_digit else max(1, BLOCK_CONVERSIONS // (most * job.conversions * SAMPLED))
        alike = int((counts[by_count[first : first + together]] * 4 >= most * 3).sum())
        members = by_count[first : first + alike]
        place = torch.arange(most, device=kind.device)
        rows = order[(starts[members, None] + place).clamp_(max=len(kind) - 1)]
        yield members, rows, place < counts[members, None]
        first += alike


def _entry_sample(job: _Job, left: Tensor, y: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same with a resident of its own for every entry: its codes choose its columns."""
    columns = right.shape[-1]
    count = min(columns, SAMPLED)
    order = column_order(columns).to(y.device)
    ids = torch.arange(columns, device=y.device).expand(len(right), columns)
    if columns > SAMPLED:
        begin = code_hash(right[:, :, order[0]], job.resident_bits) % columns
        ids = order[(begin.unsqueeze(-1) + torch.arange(SAMPLED, device=y.device)) % columns]
        right = right.gather(2, ids.unsqueeze(1).expand(-1, right.shape[1], -1))
    per_entry = 0 if job.native else left.shape[1] * job.conversions * count
    together = BLOCK_CONVERSIONS // per_entry if per_entry else len(left)
    found = [
        job.sample(*operands)
        for operands in zip(
            *(part.split(max(1, together)) for part in (left, right, ids)),
            strict=True,
        )
    ]
    at = y.gather(2, ids.unsqueeze(1).expand(-1, y.shape[1], -1)).double()
    return (
        torch.cat([part.mean for part in found]),
        torch.cat([part.variance for part in found]),
        at,
        torch.stack([part.parts for part in found]).sum(0),
    )


# --- the exact errors of a sample ------------------------------------------------------------------


@lru_cache(maxsize=16)
@on_host
def _switch_table(tile: TileSpec, bits: int) -> tuple[Tensor, int]:
    """[number, plane] float32 switch states of every resident number, and where 0 is in it."""
    below = 1 << (bits - 1)
    if tile.resident_code == "digits":
        below = min(below, sum(digit_weights(tile, bits)) * tile.numeral.max_digit)
    planes, _ = resident_planes(torch.arange(-below, 1 << (bits - 1)).unsqueeze(0), bits, tile)
    return planes.squeeze(1).T.float().contiguous(), below


class _Job:
    """The conversions of one product: groups, weights, table."""

    def __init__(
        self,
        tile: TileSpec,
        streamed_bits: int,
        resident_bits: int,
        inner: int,
        by_digit: bool,
        device: torch.device = HOST,
    ) -> None:
        self.tile, self.inner, self.device = tile, inner, device
        self.streamed_bits, self.resident_bits = streamed_bits, resident_bits
        groups = wordline_groups(inner, tile)
        self.groups, self.size = len(groups), max((g.stop - g.start for g in groups), default=0)
        self.even = all(g.start == n * self.size for n, g in enumerate(groups))
        self.places = torch.tensor(
            [k if k < g.stop else inner for g in groups for k in range(g.start, g.start + self.size)],
            dtype=torch.int64,
            device=device,
        )
        self.powers = digit_weights(tile, streamed_bits)
        self.planes = plane_weights(tile, resident_bits)
        self.weights = torch.outer(
            torch.tensor(self.powers, dtype=torch.float64, device=device),
            torch.tensor(self.planes, dtype=torch.float64, device=device),
        )
        self.table: ConversionTable = conversion_table(tile, max(1, self.groups)).on(device)
        self.noisy = bool(self.table.variance.any())
        self.conversions = self.groups * len(self.powers) * len(self.planes)
        self.by_digit = by_digit
        alone = by_digit or device.type != "cpu"
        self.tables = None if alone else sample_tables(tile, streamed_bits, resident_bits, inner)
        self.native = sample_kernel(self.tables) is not None

    def _padded(self, values: Tensor) -> Tensor:
        """[..., inner] -> [..., group·element], zeros where a group is short."""
        if self.even:
            return F.pad(values, (0, self.groups * self.size - self.inner))
        return F.pad(values, (0, 1)).index_select(-1, self.places)

    def _digits(self, streamed: Tensor) -> Tensor:
        """[entry, row, inner] -> [entry, group, digit·row, element], float32 balanced digits."""
        rest, radix = self._padded(streamed.float()), self.tile.numeral.radix
        digits = rest.new_empty(rest.shape[0], len(self.powers), *rest.shape[1:])
        for index in range(len(self.powers)):
            # the nearest multiple of the radix: no ties (odd), the quotient is off by far less than 1/radix
            above = torch.round(divide(rest, radix))
            torch.sub(rest, above * radix, out=digits[:, index])
            rest = above
        grouped: Tensor = digits.flatten(1, 2).unflatten(-1, (self.groups, self.size))
        return grouped.transpose(1, 2)

    def _switches(self, resident: Tensor) -> Tensor:
        """[entry, inner, column] -> [entry, group, element, column·plane], float32."""
        table, zero = _switch_table(self.tile, self.resident_bits)
        codes = self._padded(resident.transpose(1, 2).to(torch.int32)).transpose(1, 2) + zero
        states = (
            table.to(self.device)
            .index_select(0, codes.flatten())
            .view(len(codes), self.groups, self.size, -1)
        )
        return states

    def _circumstances(self, digits: Tensor, switches: Tensor, ids: Tensor) -> Tensor:
        """What to add to a sum to find its entry in the table; broadcasts with the sums."""
        table, tile = self.table, self.tile
        first: Tensor = digits.new_full((1, 1, 1, 1), float(table.sums // 2))
        if int(table.loss_level[-1]) > 0:
            width = tile.outputs(self.resident_bits)
            planes = torch.arange(len(self.planes), device=self.device)
            place = (ids[..., None] % width) * len(self.planes) + planes
            loss = table.loss_level[place].flatten(1)[:, None, None]  # [entry, 1, 1, column·plane]
            first = first + (loss * (table.levels * table.sums)).float()
        if table.levels > 1:
            reach = tile.numeral.max_digit
            reached = torch.arange(-reach, reach + 1, device=self.device)
            power = drive(reached, tile).square().sum(-1).float()
            driven = power.index_select(0, (digits + reach).int().flatten()).view(digits.shape)
            branches = whole_matmul(driven, switches.square())
            first = first + divide(branches, table.branches).round_().mul_(table.sums)
        return first

    def natively(
        self, streamed: Tensor, codes: Tensor, ids: Tensor, order: Tensor, starts: Tensor
    ) -> _Sample:
        """See ``sampled_errors``; mean and variance [row, column]."""
        assert self.tables is not None
        mean, variance = sampled_errors(self.tables, streamed, codes, ids, order, starts)
        parts = self.weights.new_zeros(2, *self.weights.shape)
        return _Sample(mean=mean, variance=variance, parts=parts)

    def sample(self, streamed: Tensor, resident: Tensor, ids: Tensor) -> _Sample:
        """Errors of streamed [entry, row, inner] x resident [entry, inner, column], in blocks of rows.

        ids: [entry, column] number of each column
        """
        if self.native:
            entries, rows = streamed.shape[:2]
            found = self.natively(
                streamed.reshape(-1, self.inner),
                resident.transpose(1, 2),
                ids,
                torch.arange(entries * rows, device=self.device),
                torch.arange(entries + 1, device=self.device) * rows,
            )
            shape = (entries, rows, -1)
            mean, variance = found.mean.reshape(shape), found.variance.reshape(shape)
            return _Sample(mean=mean, variance=variance, parts=found.parts)
        switches = self._switches(resident)
        per_row = max(1, len(streamed) * self.conversions * resident.shape[-1])
        parts = [
            self._errors(part, switches, ids)
            for part in streamed.split(max(1, BLOCK_CONVERSIONS // per_row), 1)
        ]
        return _Sample(
            mean=torch.cat([part.mean for part in parts], 1),
            variance=torch.cat([part.variance for part in parts], 1),
            parts=torch.stack([part.parts for part in parts]).sum(0),
        )

    def _errors(self, streamed: Tensor, switches: Tensor, ids: Tensor) -> _Sample:
        entries, rows, columns = len(streamed), streamed.shape[1], ids.shape[1]
        digits = self._digits(streamed)
        sums = whole_matmul(digits, switches)
        place = sums.add_(self._circumstances(digits, switches, ids)).int()
        place = place.view(entries, self.groups, len(self.powers), rows, columns, len(self.planes))
        found = self._looked_up(self.table.mean, place)
        mean = self._weighed(found, self.weights)
        weighted = self.weights.square()
        variance = torch.zeros_like(mean)
        if self.noisy:
            noise = self._looked_up(self.table.variance, place)
            variance = self._weighed(noise, weighted)
        parts = weighted.new_zeros(2, *weighted.shape)
        if self.by_digit:
            apart = found.double()
            parts = torch.stack(
                (apart.sum((0, 2, 3)) * self.weights, apart.square().sum((0, 2, 3)) * weighted)
            )
        return _Sample(mean=mean, variance=variance, parts=parts)

    @staticmethod
    def _looked_up(table: Tensor, place: Tensor) -> Tensor:
        """Table entries added over the groups, exactly: [entry, digit, row, column, plane], float32."""
        return table.index_select(0, place.flatten()).view(place.shape).sum(1)

    def _weighed(self, found: Tensor, weights: Tensor) -> Tensor:
        """[entry, row, column], float64: sums over digits and planes."""
        total = weights.new_zeros(found.shape[0], *found.shape[2:4])
        for index, own in enumerate(weights):
            total += found[:, index].double() @ own
        return total

"""The law of what wires and a bent converter do to the conversions of a converter that resolves every sum.

A streamed row is known by Q = Σ d² and S = Σ d of the digits of each group; switches of the resident operand
are taken as closed independently of the digits and from element to element. The sum of plane j is then

    s_j = S·E[e_j] + sqrt(Q)·g_j,    Cov[g_i, g_j] = Cov[e_i, e_j] = C_ij,

with the density of a normal times exp(κ·He4(z)/24), the leading term of its saddle point: e_j is bounded, so
that tails are lighter (κ = κ4[e_j]·Σd⁴/(C_jj·Q)², Σd⁴ that of the likeliest digits with their Q). E[e] and C
are those of codes of one of some widths and shapes, which the codes of an operand choose (``width_class``):
planes above a code's size all equal its sign, so that they err together.

What a conversion does to s is a table of error probabilities as in ``conversion_moments``, for each bitline's
loss and with the mismatch that goes with Q. From these, for every (Q, S):

    rate   probability that any of the conversions of a column goes wrong, mean over the columns of a tile
    pool   column of the tile and size Σ c_j·(code - s) of the error, as a list of equally likely cases

The pool is drawn once for a tile, by strata of the first wrong conversion (plane, column, sum) and from the
conditional law of the other planes; a case with m wrong conversions counts 1/m, as it would be met m times.

Error: measured against every conversion in docs/modes.md. Codes that are far from normal, or columns that
resemble the row, are not in the law; nor are columns of a width of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from ohmformer.crossbars import drive, plane_weights, resident_planes, resistor_weights
from ohmformer.devices import converter_level, static_deviation, wire_attenuation
from ohmformer.engine.conversion_moments import code_moments
from ohmformer.engine.randomness import deviates, random_words, uniforms
from ohmformer.numerals import HOST, on_host
from ohmformer.specs import TileSpec

RATE_BITS = 32  # of a rate: 2^-32
POOL = 1024  # cases of a cell
SPREADS, SUMS = 40, 33  # places of sqrt(Q) and S at which rates are computed
POOL_SPREADS, POOL_SUMS = 13, 17  # and cases drawn
ENTRIES = 1 << 20  # of the table of rates at most
VALUE_SHIFT = 8  # a case is size·2^8 + column of the tile
PROPOSED = 4096  # cases drawn for a pool
GAP_BITS = 12  # of a distance between events: few enough to stay in the first cache
GAP_UNIT = 8  # distances are whole multiples of 2^8 of the unit of rates
SEED = 0x5EED0F  # of the pools; they belong to the tile, not to a chip
LEAST_WIDTH, WIDTHS = 2.0, 12  # of codes: half octaves from 2
SIGN_STEPS = 1024  # of the share of negative codes
SHAPES = (2.0, 1.0, 0.5)  # exponents: normal, Laplace, heavier tails
FREE_WIDTH = 9  # class of operands that are not stored: normal, 2·2^(9/2) = 45, as of vectors of 64 elements
MOST_WRONG = 5e-4  # of conversions, typical operands: beyond it some layers differ by more than chance
# wrong of a column, group and digit, beyond which a row has every conversion computed; chosen by cost
MOST_OF_ROW = 0.9
MOST_BY_NOISE = 1e-4  # of conversions of sum 0
NEGLIGIBLE = 1e-300
NORMAL_MEAN = 0.5299  # geometric mean of |z|, z standard normal: exp(digamma(1/2)/2)·sqrt(2)
UNSEEN = 1e-12  # probability of a wrong conversion that is left out


@dataclass(frozen=True, kw_only=True, eq=False)
class WireTables:
    """What a product draws its wrong conversions from.

    rate:    [Q, |S|] int64, wrong conversions of a column, group and digit, in 2^-RATE_BITS; case by case
    cell:    [Q, |S|] int32, which pool
    pool:    [cell, POOL] int32, size·2^VALUE_SHIFT + column of the tile; of S >= 0, mirrored for S < 0
    columns: of a tile
    """

    rate: Tensor
    cell: Tensor
    pool: Tensor
    columns: int


@lru_cache(maxsize=1)
@on_host
def gaps() -> Tensor:
    """[2^GAP_BITS] int32, equally likely distances between events of rate 1, in 2^(GAP_UNIT - RATE_BITS).

    Each is the mean of an exponential deviate between two of its quantiles: their mean is 1.
    """
    count = 1 << GAP_BITS
    left = torch.arange(count + 1, dtype=torch.float64) / count
    # the integral of -ln(1 - u) is (1 - u) ln(1 - u) + u
    rest = 1 - left
    integral = torch.special.xlogy(rest, rest) + left
    found: Tensor = (integral.diff() * count * 2.0 ** (RATE_BITS - GAP_UNIT)).round().to(torch.int32)
    return found


@lru_cache(maxsize=256)
@on_host
def levels_hold(tile: TileSpec) -> bool:
    """Whether a level moved by wires and nonlinearity is read as another code less than once in 10^12."""
    moved = static_deviation(tile)
    if moved == 0:
        return True
    if moved >= 0.5 or tile.adc.rounding == "floor":
        return False
    branches = tile.group_elements * sum(weight**2 for weight in resistor_weights(tile))
    variance = tile.environment_noise**2 + tile.adc.noise**2 + tile.resistor.mismatch**2 * branches
    return variance == 0 or math.erfc((0.5 - moved) / math.sqrt(2 * variance)) < UNSEEN


@lru_cache(maxsize=256)
@on_host
def calibrated(tile: TileSpec) -> bool:
    """Whether the law of wires stands for the conversions of ``tile``: with switch bits, and where

    - converters of step 1 would give every sum, or the outermost code beyond it, but for wires and
      nonlinearity, which move levels (where nothing clips: not ``levels_hold``);
    - there is noise (without any every conversion is computed, and exact);
    - typical operands (uniform digits and codes) get at most MOST_WRONG of their conversions wrong.
    """
    adc, most = tile.adc, tile.group_elements * tile.numeral.max_digit
    noisy = tile.environment_noise > 0 or adc.noise > 0
    if not (noisy and adc.step == 1 and adc.rounding != "floor") or static_deviation(tile) == 0:
        return False
    if tile.resident_code != "bits" or (tile.lossless and levels_hold(tile)) or tile.outputs(8) < 1:
        return False
    if (most * tile.numeral.max_digit + 1) * (most + 1) > ENTRIES or tile.outputs(8) > 1 << VALUE_SHIFT:
        return False
    return typical_share(tile) <= MOST_WRONG


@lru_cache(maxsize=64)
@on_host
def typical_share(tile: TileSpec) -> float:
    """Share of conversions that go wrong, uniform digits and wide codes; 1 where noise alone does much."""
    digits = torch.arange(-tile.numeral.max_digit, tile.numeral.max_digit + 1).double()
    law = _Law(tile, 8, WIDTHS - 1)
    square = tile.group_elements * float(digits.square().mean())
    chances = law.chances(square)
    none = law.largest
    if float(chances.up[..., none].max() + chances.down[..., none].max()) > MOST_BY_NOISE:
        return 1.0
    # the sum of the digits is normal too, of variance Q
    totals = math.sqrt(square) * torch.special.ndtri((torch.arange(256, dtype=torch.float64) + 0.5) / 256)
    return float(law.wrong(chances, torch.full_like(totals, square), totals).mean())


def _likely(codes: Tensor, kind: int) -> Tensor:
    """Probabilities of codes of a class, ∝ exp(-(|code|/a)^shape), geometric mean of its width's normal."""
    shape, width = SHAPES[kind // WIDTHS], LEAST_WIDTH * 2 ** (kind % WIDTHS / 2)
    scale = width * NORMAL_MEAN / math.exp(float(torch.special.digamma(torch.tensor(1 / shape))) / shape)
    return torch.softmax(-(codes.double().abs() / scale).pow(shape), 0)


def _sizes(codes: Tensor, likely: Tensor) -> Tensor:
    """log2 of the geometric mean of |code| + 1/2 and of the root mean square."""
    size = codes.abs().double()
    square = (size.square() * likely).sum().clamp_min(0.25)
    return torch.stack(((torch.log2(size + 0.5) * likely).sum(), torch.log2(square) / 2))


@lru_cache(maxsize=1)
@on_host
def _class_sizes() -> Tensor:
    codes = torch.arange(-127, 128)
    return torch.stack([_sizes(codes, _likely(codes, kind)) for kind in range(len(SHAPES) * WIDTHS)])


def width_class(codes: Tensor) -> int:
    """The class of codes of up to 8 bits with the nearest geometric mean and root mean square.

    The geometric mean says how many planes lie above a code of usual size, both how many codes are 0.
    """
    found = _sizes(torch.arange(-128, 128, device=HOST), _shares(codes))
    return int((_class_sizes() - found).square().sum(1).argmin())


def negative_share(codes: Tensor) -> int:
    """Share of negative codes, in 1/SIGN_STEPS.

    That is how often the upper planes are closed: where the digits of a row have one sign, the sums of these
    planes and with them the rates hang on it (0.0034 of it: 4 % of the rates of these planes at S = 50).
    """
    return round(float(_shares(codes)[:128].sum()) * SIGN_STEPS)


def _shares(codes: Tensor) -> Tensor:
    """[256], float64: share of each code from -128."""
    counts = codes.flatten().to(torch.int64).add_(128).bincount(minlength=256).to(HOST).double()
    return counts / counts.sum()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chances:
    """[loss, sum] of each bitline: most likely code - s, and the probabilities of one code more and less."""

    whole: Tensor
    up: Tensor
    down: Tensor

    @property
    def wrong(self) -> Tensor:
        """Probability of another code than s."""
        back = torch.where(self.whole == -1, self.up, torch.where(self.whole == 1, self.down, 0.0))
        return torch.where(self.whole == 0, self.up + self.down, 1 - back)


class _Law:
    """Sums and conversions of a tile with resident codes of one width."""

    def __init__(self, tile: TileSpec, bits: int, width: int, negative: int | None = None) -> None:
        self.tile, self.adc, self.elements = tile, tile.adc, tile.group_elements
        self.largest = tile.max_sum
        self.sums = torch.arange(-self.largest, self.largest + 1, dtype=torch.float64)
        self.weights = torch.tensor(plane_weights(tile, bits), dtype=torch.float64)
        self.columns, self.planes = tile.outputs(bits), len(self.weights)
        loss = wire_attenuation(tile)
        if tile.resident_code == "digits":
            loss = loss[: len(loss) // 2 * 2].view(-1, 2).mean(1)
        self.loss = loss[: self.columns * self.planes]  # column by column
        self._known: dict[float, _Chances] = {}
        self._switches(bits, width)
        if negative is not None:
            self._with_signs(negative / SIGN_STEPS)
        self._digits()

    def _switches(self, bits: int, width: int) -> None:
        low = -(1 << (bits - 1)) + (self.tile.resident_code == "digits")
        codes = torch.arange(low, 1 << (bits - 1))
        states = resident_planes(codes.unsqueeze(0), bits, self.tile)[0].squeeze(1).double()
        likely = _likely(codes, width)
        self.closed = states @ likely
        away = states - self.closed[:, None]
        self.covariance = (away * likely) @ away.T
        self.spread = self.covariance.diagonal().clamp_min(1e-12)
        fourth = away.pow(4) @ likely - 3 * self.spread.square()
        self.excess = fourth / self.spread.square()
        self.squares = states.square() @ likely

    def _with_signs(self, negative: float) -> None:
        """Another share of negative codes: how far each plane is from closed half the time goes with it.

        Enough for ``wrong``, which knows the planes one by one.
        """
        apart = 0.5 - self.closed
        factor = (0.5 - negative) / max(1e-3, float(apart[-1]))
        # a plane that is nearly always alike still has some of each: the normal of its sums needs a width
        self.closed = (0.5 - apart * factor).clamp(0.02, 0.98)
        self.spread = self.closed * (1 - self.closed)

    def _digits(self) -> None:
        """Σ d⁴/Q and Σ(w·s)²/Q of the likeliest digits with their mean square: p(d) ∝ exp(-β·d²)."""
        most = self.tile.numeral.max_digit
        digits = torch.arange(-most, most + 1)
        power = drive(digits, self.tile).square().sum(-1).double()
        square = digits.double().square()
        beta = torch.linspace(-60, 60, 4001, dtype=torch.float64) / 4
        beta = torch.sinh(beta / 3) / 20
        likely = torch.softmax(-beta[:, None] * square, 1)
        self._mean_square = (likely @ square).flip(0)
        self._fourth = (likely @ square.square()).flip(0) / self._mean_square
        self._power = (likely @ power).flip(0) / self._mean_square

    def _of_digits(self, values: Tensor, square: Tensor) -> Tensor:
        place = torch.searchsorted(self._mean_square, square / self.elements).clamp(max=len(values) - 1)
        return values[place]

    def chances(self, square: float) -> _Chances:
        """What a conversion does to each sum, in a row with Σ d² = square."""
        if square not in self._known:
            self._known[square] = self._made(square)
        return self._known[square]

    def _made(self, square: float) -> _Chances:
        per_branch = self._of_digits(self._power, torch.tensor(square, dtype=torch.float64)) * square
        branches = (per_branch * self.squares).repeat(self.columns)[:, None]
        variance = self.tile.environment_noise**2 + self.tile.resistor.mismatch**2 * branches
        half = self.sums[self.largest :]
        seen = half * (1 - self.loss[:, None])
        level = converter_level(seen, self.adc)
        # noise of the current is bent with the level: by the slope of the characteristic there
        within = (seen / self.adc.max_code).clamp(max=1)
        slope = 1 + (4 * self.adc.nonlinearity / self.adc.max_code) * (1 - 2 * within) * (within < 1)
        sd = (variance * slope.square() + self.adc.noise**2).sqrt()
        mean, spread = code_moments(level, sd, self.adc)
        mean = mean - half.clamp(max=self.adc.max_code)  # what the code is without wires: s, or the outermost
        whole = mean.round()
        rest = mean - whole
        second = torch.maximum(spread + rest * rest, rest.abs()).clamp(max=1.0)  # of 1, 0 and -1

        def mirrored(positive: Tensor, negative: Tensor) -> Tensor:
            return torch.cat((negative.flip(1)[:, :-1], positive), 1)

        up, down = (second + rest) / 2, (second - rest) / 2
        return _Chances(whole=mirrored(whole, -whole), up=mirrored(up, down), down=mirrored(down, up))

    def density(self, square: Tensor, total: Tensor) -> Tensor:
        """[n, plane, sum]: probability of each sum for Σ d² = square [n] and Σ d = total [n]."""
        variance = (square[:, None] * self.spread).clamp_min(0.02)[..., None]
        z = (self.sums - total[:, None, None] * self.closed[:, None]) / variance.sqrt()
        excess = self.excess * (self._of_digits(self._fourth, square) / square)[:, None]
        z2 = z.square()
        fourth = (z2 * z2 - 6 * z2 + 3) * (excess.clamp(-2.0, 0.0)[..., None] / 24)
        logarithm = -z2 / 2 + fourth
        found = torch.exp(logarithm - logarithm.amax(-1, keepdim=True))
        return found / found.sum(-1, keepdim=True)

    def wrong(self, chances: _Chances, square: Tensor, total: Tensor) -> Tensor:
        """[n, column, plane] probability that a conversion goes wrong."""
        wrong = chances.wrong.view(self.columns, self.planes, -1)
        return torch.einsum("njs,bjs->nbj", self.density(square, total), wrong)

    def cases(self, square: float, total: float, noise: tuple[Tensor, Tensor]) -> tuple[Tensor, float]:
        """[POOL] cases, and rate over the sum of the rates of conversions; zeros where nothing goes wrong.

        noise: deviates [PROPOSED, plane] and uniform numbers [PROPOSED, plane + 1]
        """
        deviate, uniform = noise
        chances = self.chances(square)
        one = torch.tensor([square], dtype=torch.float64), torch.tensor([total], dtype=torch.float64)
        wrong = chances.wrong
        first = (self.density(*one)[0].repeat(self.columns, 1) * wrong).flatten()
        below = first.cumsum(0)
        if float(below[-1]) < NEGLIGIBLE:
            return torch.zeros(POOL, dtype=torch.int64), 0.0
        strata = (torch.arange(PROPOSED, dtype=torch.float64) + 0.5) / PROPOSED * below[-1]
        place = torch.searchsorted(below, strata).clamp(max=len(first) - 1)
        bitline, at = place // len(self.sums), place % len(self.sums)
        column, plane = bitline // self.planes, bitline % self.planes
        code = self._others(plane, self.sums[at], square, total, deviate)
        code[torch.arange(PROPOSED), plane] = at
        line = column[:, None] * self.planes + torch.arange(self.planes)
        up, down, whole = chances.up[line, code], chances.down[line, code], chances.whole[line, code]
        toss = uniform[:, :-1]
        error = whole + (toss < up).double() - (toss > 1 - down).double()
        own = torch.arange(PROPOSED)
        error[own, plane] = self._first_error(chances, bitline, at, uniform[:, -1])
        share = 1 / (error != 0).sum(1).clamp_min(1).double()
        size = (error * self.weights).sum(1)
        share = share.where(size != 0, 0.0)
        kept = share.cumsum(0)
        if float(kept[-1]) == 0:
            return torch.zeros(POOL, dtype=torch.int64), 0.0
        strata = (torch.arange(POOL, dtype=torch.float64) + 0.5) / POOL * kept[-1]
        chosen = torch.searchsorted(kept, strata).clamp(max=PROPOSED - 1)
        return (size[chosen].long() << VALUE_SHIFT) + column[chosen], float(share.mean())

    def _first_error(self, chances: _Chances, line: Tensor, at: Tensor, toss: Tensor) -> Tensor:
        """The error of conversions that do go wrong."""
        whole, up, down = chances.whole[line, at], chances.up[line, at], chances.down[line, at]
        near = 1 - up - down
        up, down, near = (
            part.where(whole + step != 0, 0.0) for part, step in ((up, 1), (down, -1), (near, 0))
        )
        toss = toss * (up + down + near)
        return torch.where(toss < up, whole + 1, torch.where(toss < up + down, whole - 1, whole))

    @cached_property
    def _conditional(self) -> list[tuple[Tensor, Tensor]]:
        """Of all planes given one: slopes and a root of the covariance that is left."""
        found = []
        for own in range(self.planes):
            slope = self.covariance[own] / self.spread[own]
            values, vectors = torch.linalg.eigh(self.covariance - torch.outer(slope, self.covariance[own]))
            found.append((slope, vectors * values.clamp_min(0).sqrt()))
        return found

    def _others(self, plane: Tensor, found: Tensor, square: float, total: float, deviate: Tensor) -> Tensor:
        """[case, plane] places of the sums of all planes, given that of one plane."""
        mean = total * self.closed
        sums = torch.empty(len(plane), self.planes, dtype=torch.float64)
        for own in range(self.planes):
            here = plane == own
            slope, root = self._conditional[own]
            drawn = deviate[here] @ root.T * math.sqrt(square)
            sums[here] = mean + (found[here, None] - mean[own]) * slope + drawn
        return sums.round().long().clamp_(-self.largest, self.largest) + self.largest


@lru_cache(maxsize=128)
@on_host
def wire_tables(tile: TileSpec, bits: int, width: int, negative: int | None = None) -> WireTables:
    """The law of a tile with resident codes of some bits and width (see ``width_class``, ``negative_share``).

    Cases are those of the class, and so is what a conversion does to a sum; rates know the share of negative
    codes.
    """
    law, pools = _class_law(tile, bits, width), _class_pools(tile, bits, width)
    fine = law if negative is None else _Law(tile, bits, width, negative)
    most_square = tile.group_elements * tile.numeral.max_digit**2
    most_sum = tile.group_elements * tile.numeral.max_digit
    spreads = torch.linspace(1, math.sqrt(most_square), SPREADS, dtype=torch.float64)
    sums = torch.linspace(0, most_sum, SUMS, dtype=torch.float64)
    logarithm = torch.stack(
        [
            fine.wrong(law.chances(float(root) ** 2), (root**2).expand(SUMS), sums).sum((1, 2)) / law.columns
            for root in spreads
        ]
    )
    logarithm = logarithm.clamp_min(NEGLIGIBLE).log()
    squares = torch.arange(1, most_square + 1, dtype=torch.float64).sqrt()
    places = torch.arange(most_sum + 1, dtype=torch.float64)
    rate = torch.from_numpy(RectBivariateSpline(spreads, sums, logarithm)(squares, places)).exp()
    cell, pool, share = pools
    share_at = RectBivariateSpline(share[0], share[1], share[2], kx=1, ky=1)(squares, places)
    rate = (rate * torch.from_numpy(share_at)).clamp(max=1.0)
    rate = torch.cat((torch.zeros(1, most_sum + 1, dtype=torch.float64), rate))
    return WireTables(
        rate=(rate * 2.0**RATE_BITS).round().long().contiguous(), cell=cell, pool=pool, columns=law.columns
    )


@lru_cache(maxsize=32)
@on_host
def _class_law(tile: TileSpec, bits: int, width: int) -> _Law:
    return _Law(tile, bits, width)


@lru_cache(maxsize=32)
@on_host
def _class_pools(
    tile: TileSpec, bits: int, width: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    most = tile.group_elements * tile.numeral.max_digit
    return _pools(_class_law(tile, bits, width), most * tile.numeral.max_digit, most)


def _pools(
    law: _Law, most_square: int, most_sum: int
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Which pool each (Q, |S|) uses, the pools, and shares (see ``_Law.cases``) with their places.

    Beyond S² = elements·Q there are no digits: the pool of the largest S within is used.
    """
    roots = torch.linspace(1, math.sqrt(most_square), POOL_SPREADS, dtype=torch.float64)
    sums = torch.linspace(0, most_sum, POOL_SUMS, dtype=torch.float64)
    words = random_words(SEED, law.planes, torch.arange(PROPOSED), -(-(2 * law.planes + 1) // 4))
    noise = (
        deviates(words[:, : law.planes]).double(),
        uniforms(words[:, law.planes : 2 * law.planes + 1]),
    )
    pools: list[Tensor] = []
    shares = torch.zeros(POOL_SPREADS, POOL_SUMS, dtype=torch.float64)
    number = torch.zeros(POOL_SPREADS, POOL_SUMS, dtype=torch.int64)
    for i, root in enumerate(roots.tolist()):
        reach = math.sqrt(law.elements) * root + float(sums[1])
        for j, total in enumerate(sums.tolist()):
            if j and total > reach:
                shares[i, j], number[i, j] = shares[i, j - 1], number[i, j - 1]
                continue
            found, shares[i, j] = law.cases(root * root, total, noise)
            number[i, j] = len(pools)
            pools.append(found)
    squares = torch.arange(most_square + 1, dtype=torch.float64).sqrt()
    row = ((squares - 1) / (roots[1] - roots[0])).round().long().clamp(0, POOL_SPREADS - 1)
    column = (torch.arange(most_sum + 1, dtype=torch.float64) / sums[1]).round().long()
    cell = number[row][:, column].to(torch.int32).contiguous()
    return cell, torch.stack(pools).to(torch.int32).contiguous(), (roots, sums, shares)


__all__ = [
    "FREE_WIDTH",
    "GAP_BITS",
    "GAP_UNIT",
    "MOST_OF_ROW",
    "POOL",
    "RATE_BITS",
    "VALUE_SHIFT",
    "WireTables",
    "calibrated",
    "gaps",
    "levels_hold",
    "negative_share",
    "typical_share",
    "width_class",
    "wire_tables",
]

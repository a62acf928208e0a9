"""A chip while models run on it: bookkeeping, and operands on their way."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ohmformer.deploy.coverage import COMPUTE, DENSE, FUNCTION, Coverage
from ohmformer.deploy.keys import EXPERTS, RunKeys, content_keys, stream_of
from ohmformer.deploy.storage import StoredBlock, StoredParameter
from ohmformer.engine import (
    Attention,
    Draw,
    FusedOperations,
    Misreads,
    PreparedLinear,
    PreparedNorm,
    ProductEngine,
    ReadPlan,
    plan_reads,
    prepared_linear,
    prepared_norm,
)
from ohmformer.errors import UserError
from ohmformer.ir import DenseRead, FunctionCall, Product, Recorder, Resident, SubOp
from ohmformer.numerals import HOST, quantise_per_row, quantise_per_tensor
from ohmformer.specs import ChipSpec

BLOCK = "_ohmformer_block"  # attribute of a tensor that stands for one expert of a stored parameter


class Turn(threading.local):
    """What one thread says of the samples of its runs."""

    def __init__(self) -> None:
        self.numbers: Tensor | None = None  # of the samples, where the caller gives them
        self.last = torch.empty(0, dtype=torch.int64, device=HOST)  # samples of the run before
        self.steps: int | None = None  # runs of the generation that is going on
        self.texts = self.last  # its samples


class Running:
    """A chip while models run on it: whose noise comes next, what was read, and what is counted."""

    def __init__(self, chip: ChipSpec, engine: ProductEngine, seed: int) -> None:
        self.chip = chip
        self.engine = engine
        self.seed = seed
        self.device = HOST  # where the model lies
        self.samples = 0  # sequences met so far, the number of the next one
        self.built_for = "eager"  # attention implementation for which the model's modules were made
        self.turn = Turn()  # of the thread that asks
        self.keys = RunKeys(torch.zeros(1, dtype=torch.int64, device=HOST), 1, 0)
        self.parameters: dict[int, StoredParameter] = {}
        self.alive: tuple[Tensor, ...] = ()  # what ``parameters`` names by identity, lest one be given twice
        self.coverage: Coverage | None = None
        self.recorder: Recorder | None = None
        self.path: list[str] = []
        self._plan: ReadPlan | None = None
        self._shared_plan: ReadPlan | None = None
        self._inputs: frozenset[int] = frozenset()
        self._blocks: dict[int, StoredBlock] = {}  # by identity of the parameter
        self._experts = False  # whether a tensor stands for an expert
        self._fused = FusedOperations(chip, engine)
        self._prepared: dict[int, tuple[StoredParameter, PreparedLinear] | None] = {}
        self._norms: dict[tuple[int, float], PreparedNorm | None] = {}
        self._gains: dict[tuple[int, float], tuple[StoredParameter, Tensor]] = {}

    def moved(self, device: torch.device, parameters: dict[int, StoredParameter]) -> None:
        """The model lies on another device now, its parameters have other identities."""
        self.device, self.parameters = device, parameters
        self._blocks.clear()
        self._prepared.clear()
        self._gains.clear()
        self._plan = self._shared_plan = None

    # --- bookkeeping -------------------------------------------------------------------------------

    def start_run(
        self,
        batch: int,
        tokens: int,
        first: int,
        inputs: frozenset[int] = frozenset(),
        *,
        encoded: bool = False,
        known: Tensor | None = None,
    ) -> None:
        """Begin one forward run of ``batch`` samples with ``first`` tokens in the cache.

        A run with tokens in the cache goes on with the samples of these tokens, one with what an encoder
        made with those of the run before it in its thread, a step of a generation without a cache with those
        of its first step, read and converted anew; any other begins new ones. A batch may hold several
        sequences for each (beams).

        inputs:  where the addresses given by the caller lie in memory
        encoded: the outputs of an encoder are among the arguments
        known:   samples of the tokens in the cache; None if it does not tell, then those of the run before

        Its noise depends on the seed, the numbers of the samples and the positions of their tokens alone.
        """
        turn = self.turn
        before = turn.last if known is None or not first else known
        again = 0
        if turn.steps and not first and not encoded:
            before, again = turn.texts, turn.steps
        goes_on = (first > 0 or encoded or again > 0) and len(before) > 0 and batch % len(before) == 0
        numbers = turn.numbers if turn.numbers is not None else before if goes_on else None
        if numbers is None:
            samples = torch.arange(self.samples, self.samples + batch, device=HOST)
            self.samples += batch
        else:
            samples = numbers.repeat_interleave(max(1, batch // max(1, len(numbers))))
            if len(samples) != batch:
                raise UserError(
                    f"{len(numbers)} samples are numbered, but the batch holds {batch} sequences."
                )
        turn.last = samples
        if turn.steps is not None:
            turn.texts, turn.steps = turn.texts if turn.steps else samples, turn.steps + 1
        self.keys = RunKeys(samples, tokens, first, again)
        self._plan = self._shared_plan = None
        self._inputs = inputs
        self.run_started()

    @contextmanager
    def generation(self) -> Iterator[None]:
        """The runs of this thread are steps of one generation, whose samples begin with the first of them."""
        turn = self.turn
        outer, turn.steps, turn.texts = (turn.steps, turn.texts), 0, turn.texts[:0]
        try:
            yield
        finally:
            turn.steps, turn.texts = outer

    def run_started(self) -> None:
        """What else begins with a run; nothing here."""

    def restart(self, samples: int) -> None:
        """The next run begins new samples, numbered from ``samples``."""
        self.samples, self.turn.last = samples, self.turn.last[:0]

    def misreads(
        self, entry: StoredParameter, rows: Tensor | None = None, *, shared: bool = False
    ) -> Misreads | None:
        """What this run's reads get wrong of a stored parameter; ``sample`` counts the reads.

        rows:   [row] bool, the rows that are read; None reads all
        shared: the one read that serves all samples
        """
        return self._reads(shared).misreads(entry.index, rows, entry.at)

    def _reads(self, shared: bool) -> ReadPlan:
        """The reads of this run."""
        plan = self._shared_plan if shared else self._plan
        if plan is None:
            stores = [stored.cells for stored in self.parameters.values()]
            plan = plan_reads(stores, self.seed, self.keys.shared_read if shared else self.keys.reads)
            if shared:
                self._shared_plan = plan
            else:
                self._plan = plan
        return plan

    def draw(self, kind: str, lead: tuple[int, ...]) -> Draw:
        """Where the noise of the next product of its kind comes from; its rows are [*lead]."""
        return Draw(seed=self.seed, stream=self.keys.stream(kind), keys=self.keys.rows(lead))

    def draw_of_expert(self, name: str, number: int, rows: Tensor) -> Draw:
        """The same for rows [row, inner] gathered for one expert, however many others were called before."""
        return Draw(seed=self.seed, stream=stream_of(name, EXPERTS + number), keys=content_keys(rows))

    def coming(self, kind: str, lead: tuple[int, ...], ahead: int = 0) -> Draw:
        """What ``draw`` will give, after ``ahead`` other products of the kind; nothing counts as drawn."""
        return Draw(seed=self.seed, stream=self.keys.coming(kind, ahead), keys=self.keys.rows(lead))

    @property
    def module(self) -> str:
        """Path of the module that is running (known in checking and tracing runs)."""
        return self.path[-1] if self.path else ""

    def note(self, operation: str, where: str, why: str = "") -> None:
        """Add to the coverage table, if one is being collected."""
        if self.coverage is not None:
            self.coverage.note(self.module, operation, where, why)

    def record(self, subop: SubOp) -> None:
        """Add to the program, if one is being collected."""
        if self.recorder is not None:
            self.recorder.record(subop)

    def call(
        self, operation: str, function: str, elements: int, where: str = FUNCTION, why: str = ""
    ) -> None:
        """Note and record ``elements`` evaluations of ``function``."""
        if self.coverage is not None:
            self.note(operation, where, why)
        if self.recorder is not None and elements:
            self.record(
                FunctionCall(module=self.module, operation=operation, function=function, elements=elements)
            )

    def _product(
        self, operation: str, batch: int, rows: int, inner: int, columns: int, resident: Resident
    ) -> None:
        self.note(operation, COMPUTE)
        if self.recorder is not None and batch * rows * inner * columns:
            self.record(
                Product(
                    module=self.module,
                    operation=operation,
                    batch=batch,
                    rows=rows,
                    inner=inner,
                    columns=columns,
                    resident=resident,
                )
            )

    def _read(self, operation: str, words: int) -> None:
        self.note(operation, DENSE)
        if self.recorder is not None and words:
            self.record(DenseRead(module=self.module, operation=operation, words=words))

    # --- whole pieces ------------------------------------------------------------------------------

    @cached_property
    def attention_piece(self) -> Attention | None:
        """Attention in one call, where its operations are those of ``FusedOperations``."""
        return Attention(self._fused) if type(self._fused) is FusedOperations else None

    def _prepare(self, weight: Tensor) -> tuple[StoredParameter, PreparedLinear] | None:
        """A stored weight that only waits for rows."""
        block, line = self.block_of(weight), None
        if block is not None and block.whole and weight.ndim == 2 and not weight.is_meta:
            line = prepared_linear(self._fused, block.codes, block.scale, self.seed)
        found = None if block is None or line is None else (block.entry, line)
        if block is not None and block.whole:
            self._prepared[id(weight)] = found
        return found

    def _norm_at_once(self, x: Tensor, weight: Tensor | None, eps: float, offset: float) -> Tensor | None:
        """An RMS norm in one call; None, with nothing drawn, where the operands or this run ask for more."""
        if x.dtype is not torch.float32 or not x.is_contiguous() or not x.is_cpu:
            return None
        *leading, inner = x.shape
        lead, keys, gain = tuple(leading), self.keys, None
        rows, place = keys.own_rows(lead), (inner, eps)
        if place not in self._norms:
            self._norms[place] = prepared_norm(self._fused, inner, eps, self.seed)
        norm = self._norms[place]
        if rows is None or norm is None:
            return None
        if weight is not None:
            held = self._gains.get((id(weight), offset)) or self._gain(weight, offset)
            if held is None or self._reads(False).touches(held[0].index) or held[1].numel() != inner:
                return None
            gain = held[1]
        made = norm.call(x, gain, keys.coming("squares"), rows)
        if made is not None:
            keys.count("squares")
        return made

    def _gain(self, weight: Tensor, offset: float) -> tuple[StoredParameter, Tensor] | None:
        """A stored vector, read right, plus an offset."""
        entry = self.parameters.get(id(weight))
        if entry is None or weight.ndim != 1 or weight.is_meta:
            return None
        values = entry.values(None)
        found = self._gains[id(weight), offset] = (entry, values + offset if offset else values)
        return found

    # --- operands ----------------------------------------------------------------------------------

    def _encode(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scale of a streamed operand [..., row, inner]."""
        bits, precision = self.chip.precision.activation_bits, self.chip.precision
        if values.is_meta:
            return values, values.new_empty((*values.shape[:-1], 1))
        if precision.activation_scale == "per_tensor":
            quantised = quantise_per_tensor(values, bits, dtype=torch.float32)
        else:
            quantised = quantise_per_row(values, bits, dtype=torch.float32)
        return quantised.codes, quantised.scale

    def block_of(self, value: object) -> StoredBlock | None:
        """What ``value`` stands for: a stored parameter, or one expert of it."""
        block = self._blocks.get(id(value))
        if block is not None:
            return block
        entry = self.parameters.get(id(value))
        if entry is not None:
            block = self._blocks[id(value)] = StoredBlock(entry=entry)
            return block
        return getattr(value, BLOCK, None) if self._experts else None

    def stands_for(self, value: Tensor, block: StoredBlock) -> None:
        """Let ``value`` stand for one expert of a stored parameter."""
        self._experts = True
        setattr(value, BLOCK, block)

    def parameter(self, parameter: Tensor, used: int | None = None) -> Tensor:
        """A stored parameter as the read that serves all samples gives it.

        used: how many of its numbers are needed; None needs all
        """
        block = self.block_of(parameter)
        if block is None:
            raise ValueError("not a stored parameter")
        self._count_read(block, 1.0 if used is None else min(1.0, used / parameter.numel()))
        return parameter if parameter.is_meta else block.values(self.misreads(block.entry, shared=True))

    def _count_read(self, block: StoredBlock, share: float = 1.0) -> None:
        self._read("read of stored vector", math.ceil(block.words * share))

    def _vector(self, parameter: Any, lead: tuple[int, ...]) -> tuple[Any, Tensor | None]:
        """A stored vector for rows [*lead, n]: as written, or (None, as each row reads it)."""
        block = self.block_of(parameter)
        if block is None:
            return parameter, None
        self._count_read(block)
        if parameter.is_meta:
            return parameter, None
        bounds = self.keys.row_bounds(lead)
        found = block.misreads(self.misreads(block.entry, shared=bounds is None))
        if found is None:
            return block.entry.values(None), None
        if bounds is None:
            return block.entry.values(found), None
        own = torch.stack([block.entry.values(found, read).reshape(-1) for read in range(len(bounds))])
        counts = torch.tensor([stop - start for start, stop in bounds], device=own.device)
        return None, own.repeat_interleave(counts, 0).reshape(*lead, -1)

    def value_of(self, value: Any, used: int | None = None) -> Any:
        """A stored parameter becomes what a dense read gives; anything else stays."""
        return value if self.block_of(value) is None else self.parameter(value, used)

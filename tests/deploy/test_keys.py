"""Keys of rows: made of the sample's number and the place in it, whatever else is in the batch."""

from __future__ import annotations

from itertools import product as pairs
from math import prod

import pytest
import torch
from torch import Tensor

from ohmformer.deploy.keys import READS, SAMPLES_PER_READ, RunKeys, content_keys, name_key, stream_of
from ohmformer.engine import mix, mix_keys
from ohmformer.engine.randomness import signed

TOKENS = 7
# shapes of one sample, as they follow the batch axis
SHAPES = {
    "tokens": (TOKENS,),
    "heads and tokens": (4, TOKENS),
    "groups, heads, tokens": (2, 2, TOKENS),
    "pooled": (),
    "places of an image": (5,),
    "one": (1,),
    "tokens first": (TOKENS, 4),
}


def keys_of(samples: list[int], lead: tuple[int, ...], tokens: int = TOKENS, first: int = 0) -> Tensor:
    return RunKeys(torch.tensor(samples), tokens, first).rows(lead)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flat", [False, True])
def test_a_sample_has_the_same_keys_in_every_batch(shape, flat):
    """In a batch of any size and order, with the batch axis apart or flattened into the rows."""
    own = SHAPES[shape]
    rows = prod(own)

    def lead(count: int) -> tuple[int, ...]:
        return (count * rows,) if flat else (count, *own)

    alone = {number: keys_of([number], lead(1)) for number in (0, 1, 5, 12, 2**40)}
    for batch in ([0, 1], [5, 0, 12], [2**40, 1], [12, 5, 1, 0, 2**40]):
        found = keys_of(batch, lead(len(batch))).view(len(batch), rows)
        for number, keys in zip(batch, found, strict=True):
            assert torch.equal(keys, alone[number])
    every = torch.cat(list(alone.values()))
    assert len(every.unique()) == len(every)  # no two rows share a key


def test_a_flattened_batch_has_the_keys_of_the_whole_one():
    for own in ((TOKENS,), ()):
        whole = keys_of([3, 9], (2, *own))
        assert torch.equal(keys_of([3, 9], (2 * prod(own),)), whole)


def test_a_key_is_its_sample_its_head_and_its_position():
    """Tokens computed at once or one after another through a cache meet the noise of their positions."""
    whole = keys_of([4, 8], (2, 3, TOKENS)).view(2, 3, TOKENS)
    for sample, head, place in pairs(range(2), range(3), range(TOKENS)):
        wanted = mix((4, 8)[sample], (head << 32) + place)
        assert int(whole[sample, head, place]) == signed(wanted)
    for first in range(TOKENS):
        step = keys_of([4, 8], (2, 3, 1), tokens=1, first=first).view(2, 3)
        assert torch.equal(step, whole[:, :, first])
    parts = [keys_of([4, 8], (2, 3, 2), tokens=2, first=first).view(2, 3, 2) for first in (0, 2, 4)]
    assert torch.equal(torch.cat(parts, -1), whole[..., :6])


def test_rows_that_belong_to_no_sample_are_numbered_through():
    """Tokens gathered for an expert: keys of the first sample, all different, and so of the batch."""
    found = keys_of([3, 9], (5,))
    assert len(found.unique()) == 5
    assert not torch.equal(found, keys_of([9, 3], (5,)))
    assert torch.equal(found, keys_of([3, 11], (5,)))


def test_rows_that_a_read_serves():
    """Neighbouring samples of one read together; rows that belong to no sample to none."""
    number = SAMPLES_PER_READ
    keys = RunKeys(torch.tensor([number - 2, number - 1, number, 5 * number]), TOKENS, 0)
    per = TOKENS
    assert keys.row_bounds((4, TOKENS)) == [(0, 2 * per), (2 * per, 3 * per), (3 * per, 4 * per)]
    assert keys.row_bounds((4 * TOKENS,)) == keys.row_bounds((4, TOKENS))
    assert keys.row_bounds((4, 3, TOKENS)) == [(0, 6 * per), (6 * per, 9 * per), (9 * per, 12 * per)]
    assert keys.row_bounds((1, TOKENS)) is None  # one table for the whole batch
    assert keys.row_bounds((8,), flattened=False) is None
    assert keys.row_bounds((7,)) is None
    alone = RunKeys(torch.tensor([3]), TOKENS, 0)
    assert alone.row_bounds((1, TOKENS)) == alone.row_bounds((TOKENS,)) == [(0, TOKENS)]
    assert keys.rows((4, TOKENS)) is keys.rows((4, TOKENS))


def test_operations_of_a_kind_are_counted_and_kinds_apart():
    keys, again = (RunKeys(torch.tensor([0]), 1, 0) for _ in range(2))
    kinds = ["sum", "squares", "sum", "h.0.attn.weight", "sum", "squares"]
    found = [keys.stream(kind) for kind in kinds]
    assert len(set(found)) == len(found)
    assert [again.stream(kind) for kind in kinds] == found
    # what one kind does leaves the others alone
    lonely = RunKeys(torch.tensor([0]), 1, 0)
    assert [lonely.stream("sum") for _ in range(3)] == [found[0], found[2], found[4]]
    assert found[0] == stream_of("sum", 1) == mix(name_key("sum"), 1)
    assert name_key("sum") != name_key("squares")
    assert 0 <= name_key("sum") < 1 << 64


def test_reads_are_keyed_by_the_samples_they_serve_and_by_the_step():
    """Another read for other samples and for another step of a cached run, and none is the key of a row."""
    far = 5 * SAMPLES_PER_READ
    found = {
        (sample, first): int(RunKeys(torch.tensor([sample]), 1, first).reads[0])
        for sample, first in pairs((0, SAMPLES_PER_READ, far), (0, 1, 6))
    }
    assert len(set(found.values())) == len(found)
    both = RunKeys(torch.tensor([SAMPLES_PER_READ, far]), 1, 6).reads
    assert both.tolist() == [found[SAMPLES_PER_READ, 6], found[far, 6]]
    for sample in range(SAMPLES_PER_READ):  # sixteen samples meet one read
        assert int(RunKeys(torch.tensor([far + sample]), 1, 6).reads[0]) == found[far, 6]
    shared = {int(RunKeys(torch.tensor([sample]), 1, 6).shared_read[0]) for sample in (0, 1, far)}
    assert len(shared) == 1
    assert not shared & set(found.values())
    rows = torch.cat([keys_of([sample], (1, 8, TOKENS)) for sample in (0, 1, far)])
    assert not torch.isin(torch.tensor([*found.values(), *shared]), rows).any()
    zero = torch.zeros(1, dtype=torch.int64)
    assert torch.equal(
        RunKeys(torch.tensor([far]), 1, 3).reads, mix_keys(mix_keys(zero, zero + 5), zero + READS + 3)
    )


def test_rows_without_a_token_axis_differ_by_step_too():
    """A batch axis alone, or heads with one token: at every step of a cached run other noise."""
    for lead in ((2,), (2, 3), (6,)):
        steps = [keys_of([4, 8], lead, tokens=1, first=first) for first in range(3)]
        assert len(torch.cat(steps).unique()) == 3 * prod(lead)
    assert torch.equal(keys_of([4, 8], (2,), tokens=1, first=5), keys_of([4, 8], (2, 1), tokens=1, first=5))


def test_content_keys_are_those_of_the_numbers_alone():
    rows = torch.randn(40, 33, generator=torch.Generator().manual_seed(1))
    keys = content_keys(rows)
    assert len(keys.unique()) == 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert torch.equal(content_keys(rows[order]), keys[order])
    assert torch.equal(content_keys(rows.double()[3:4]), keys[3:4])
    nearly = rows.clone()
    nearly[:, 5] = torch.nextafter(rows[:, 5], torch.tensor(9.0))  # one bit of one number
    assert not (content_keys(nearly) == keys).any()
    turned = rows.clone()
    turned[:, [4, 9]] = rows[:, [9, 4]]
    assert not (content_keys(turned) == keys).any()


def test_samples_computed_once_more_have_other_keys():
    samples = torch.tensor([3, 8])
    once, twice = RunKeys(samples, TOKENS, 0), RunKeys(samples, TOKENS, 0, 1)
    assert not (once.rows((2, TOKENS)) == twice.rows((2, TOKENS))).any()
    assert not (once.reads == twice.reads).any()

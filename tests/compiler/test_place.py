"""Blocks on tiles and words in banks: everything has one place, nothing has two."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohmformer.compiler.place import dense_symbols, place_stored, product_shape, share_of_tile
from ohmformer.costs.timing import dense_read_time_s, wordline_read_time_s
from ohmformer.errors import UserError
from ohmformer.ir import Product
from ohmformer.specs import override, preset

CHIP = preset("wang2024")


@given(
    st.integers(1, 5), st.integers(1, 40), st.integers(1, 300), st.integers(1, 70),
    st.sampled_from(["weight", "activation"]), st.integers(1, 60), st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_every_row_of_every_block_is_on_one_tile(
    batch: int, rows: int, inner: int, columns: int, resident: str, tiles: int, cluster: int
) -> None:
    """Against dealing the rows one by one; loads of tiles and clusters counted where they are."""
    chip = override(CHIP, {"tile_count": tiles})
    product = Product(
        module="m", operation="o", batch=batch, rows=rows, inner=inner, columns=columns,
        resident=resident,  # type: ignore[arg-type]
    )  # fmt: skip
    shape = product_shape(product, chip, cluster)
    rows_of = shape.rows_per_block
    dealt: dict[tuple[int, int], int] = {}
    for row in range(shape.blocks * rows_of):
        dealt[divmod(row, rows_of)] = row // shape.rows_per_tile
    held: dict[tuple[int, int], int] = {}
    loads, of_cluster = [], set()
    for tile in range(tiles):
        shares = share_of_tile(shape, tile)
        loads.append(len(shares))
        for share in shares:
            of_cluster.add((tile // cluster, share.block))
            for row in range(share.first, share.last):
                assert (share.block, row) not in held
                held[share.block, row] = tile
    assert held == dealt
    assert sum(loads) == shape.copies
    assert max(loads) <= shape.loads_of_tile <= max(loads) + 1
    assert len(of_cluster) == shape.cluster_copies


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=12), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_words_are_striped_over_the_banks(sizes: list[int], banks: int) -> None:
    chip = override(CHIP, {"dense_bank_count": banks})
    stored = [(f"w{i}", words) for i, words in enumerate(sizes)]
    plan = place_stored(stored, chip)
    assert [(entry.name, entry.words) for entry in plan.ranges] == stored
    taken: set[int] = set()
    for entry in plan.ranges:
        lines = range(entry.first, entry.last)
        assert not taken & set(lines)
        taken |= set(lines)
        cells = dense_symbols(entry.words, 8, chip.dense)
        assert 0 <= len(lines) * chip.dense.bitlines - cells < chip.dense.bitlines
        fullest = max(sum(1 for line in lines if line % banks == bank) for bank in range(banks))
        assert fullest == plan.most_in_one_bank(entry)
        # the time of reading it is that of the fullest bank
        assert dense_read_time_s(cells, chip) == fullest * wordline_read_time_s(chip.dense)
    assert len(taken) == plan.wordlines


def test_a_bank_too_few_is_named() -> None:
    chip = override(CHIP, {"dense_bank_count": 1})
    words = chip.dense.cells // 4
    assert place_stored([("all", words)], chip).wordlines == 1024
    with pytest.raises(UserError, match="bias .1 words. does not fit the 1 dense banks"):
        place_stored([("all", words), ("bias", 1)], chip)
    assert place_stored([("all", words), ("bias", 1)], chip, banks=2).wordlines == 1025

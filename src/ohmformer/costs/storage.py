"""Area of stored bits in cells alone."""

from __future__ import annotations

from ohmformer.errors import UserError
from ohmformer.units import NANO

__all__ = ["storage_area_m2"]


def storage_area_m2(*, words: int, bits: int, cell_bits: int, cell_area_F2: float, node_nm: float) -> float:
    """Area of the cells that hold ``words`` words of ``bits`` bits: words · ceil(bits / cell bits) · F² area.

    No periphery. Source: the comparison of arXiv 2410.15977's introduction.
    """
    if words < 0 or bits < 1 or cell_bits < 1 or cell_area_F2 <= 0 or node_nm <= 0:
        raise UserError("A storage area needs positive bits, cell bits, cell area and node.")
    return words * -(-bits // cell_bits) * cell_area_F2 * (node_nm * NANO) ** 2

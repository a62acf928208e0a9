"""Named chips: ``ohmformer.chips.wang2024()`` and its variants."""

from ohmformer.specs.presets import (
    describe,
    names,
    preset,
    sources,
    wang2024,
    wang2024_1bit_cells,
    wang2024_2bit_lossy,
    wang2024_2bit_serial,
    wang2024_4bit_cells,
)

__all__ = [
    "describe",
    "names",
    "preset",
    "sources",
    "wang2024",
    "wang2024_1bit_cells",
    "wang2024_2bit_lossy",
    "wang2024_2bit_serial",
    "wang2024_4bit_cells",
]

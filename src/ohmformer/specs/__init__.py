"""Frozen hardware descriptions with sources."""

from ohmformer.specs import noises
from ohmformer.specs.checks import SpecError
from ohmformer.specs.chip import BufferSpec, ChipSpec, FunctionUnitSpec, PackageSpec, PrecisionSpec
from ohmformer.specs.dense import CellNoiseSpec, DenseCellSpec, DenseSpec
from ohmformer.specs.noises import NOISES, NoiseKind
from ohmformer.specs.presets import describe, names, preset, sources, sources_of
from ohmformer.specs.source import Source
from ohmformer.specs.tile import AdcSpec, NumeralSpec, ResistorSpec, TileSpec
from ohmformer.specs.tree import differences, ideal, leaves, override, parse_settings, without_noise
from ohmformer.specs.yaml_file import from_yaml, read_chip, to_yaml, write_chip

__all__ = [
    "NOISES",
    "AdcSpec",
    "BufferSpec",
    "CellNoiseSpec",
    "ChipSpec",
    "DenseCellSpec",
    "DenseSpec",
    "FunctionUnitSpec",
    "NoiseKind",
    "NumeralSpec",
    "PackageSpec",
    "PrecisionSpec",
    "ResistorSpec",
    "Source",
    "SpecError",
    "TileSpec",
    "describe",
    "differences",
    "from_yaml",
    "ideal",
    "leaves",
    "names",
    "noises",
    "override",
    "parse_settings",
    "preset",
    "read_chip",
    "sources",
    "sources_of",
    "to_yaml",
    "without_noise",
    "write_chip",
]

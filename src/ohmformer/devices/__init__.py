"""Physics of one memristor cell, one converter, one resistor."""

from ohmformer.devices.checks import DeviceError
from ohmformer.devices.confusion import QUADRATURE_ERROR, confusion_matrix, read_error_probabilities
from ohmformer.devices.converter import (
    convert,
    converter_level,
    converter_levels,
    rounding_error_mean,
    rounding_error_probability,
    rounding_error_variance,
)
from ohmformer.devices.dense_cell import (
    draw_stuck,
    drift,
    drift_factor,
    level_conductances,
    program,
    read,
    read_conductance,
    read_sd,
    sense,
    telegraph_amplitude,
    thresholds,
)
from ohmformer.devices.gaussian import normal, uniform, upper_tail
from ohmformer.devices.resistor import branch_conductance, draw_mismatch, unit_current_A
from ohmformer.devices.settling import settling_time_s
from ohmformer.devices.thermal import johnson_current_A
from ohmformer.devices.wire import nodal_conductance, static_deviation, wire_attenuation
from ohmformer.devices.wire_loading import loaded_attenuation, loaded_conductance, loaded_keep
from ohmformer.devices.wire_solver import effective_conductance

__all__ = [
    "QUADRATURE_ERROR",
    "DeviceError",
    "branch_conductance",
    "confusion_matrix",
    "convert",
    "converter_level",
    "converter_levels",
    "draw_mismatch",
    "draw_stuck",
    "drift",
    "drift_factor",
    "effective_conductance",
    "johnson_current_A",
    "level_conductances",
    "loaded_attenuation",
    "loaded_conductance",
    "loaded_keep",
    "nodal_conductance",
    "normal",
    "program",
    "read",
    "read_conductance",
    "read_error_probabilities",
    "read_sd",
    "rounding_error_mean",
    "rounding_error_probability",
    "rounding_error_variance",
    "sense",
    "settling_time_s",
    "static_deviation",
    "telegraph_amplitude",
    "thresholds",
    "uniform",
    "unit_current_A",
    "upper_tail",
    "wire_attenuation",
]

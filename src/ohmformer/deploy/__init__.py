"""A Hugging Face model put on the chip.

The room carries the name of its verb: ``ohmformer.deploy(model, chip)`` calls ``deploy`` in here.
"""

import sys
from types import ModuleType
from typing import Any

from ohmformer.deploy.calibration import Calibration
from ohmformer.deploy.coverage import CoverageRow
from ohmformer.deploy.deploying import deploy
from ohmformer.deploy.precision_deploying import calibrate
from ohmformer.deploy.precision_rounding import compensate
from ohmformer.deploy.snapshot import load_deployed, save_deployed
from ohmformer.deploy.state import OnChip, on_chip
from ohmformer.deploy.tracing import max_tokens, shape_model, trace

__all__ = [
    "Calibration",
    "CoverageRow",
    "OnChip",
    "calibrate",
    "compensate",
    "deploy",
    "load_deployed",
    "max_tokens",
    "on_chip",
    "save_deployed",
    "shape_model",
    "trace",
]


class _CallableRoom(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return deploy(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableRoom

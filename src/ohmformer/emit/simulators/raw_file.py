"""The binary result file that SPICE simulators share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ohmformer.emit.checks import SimulatorError
from ohmformer.emit.simulators.process import last_lines

__all__ = ["RawFile", "read_raw", "read_result"]

_MARK = b"Binary:\n"


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One plot: its variables by name, lower case.

    names:  in the order of the columns
    values: [point, variable], float64
    """

    names: tuple[str, ...]
    values: Tensor

    def column(self, name: str) -> Tensor:
        """All points of one variable."""
        try:
            return self.values[:, self.names.index(name.lower())]
        except ValueError:
            raise SimulatorError(
                f"The simulator recorded no {name}: it has {', '.join(self.names[:8])} ..."
            ) from None


def read_result(path: Path, tool: str, printed: str) -> RawFile:
    """As ``read_raw``; an error shows the last lines of what the tool printed."""
    try:
        return read_raw(path, tool)
    except SimulatorError as error:
        raise SimulatorError(f"{error} {last_lines(printed)}") from None


def read_raw(path: Path, tool: str) -> RawFile:
    """Read the first plot of a raw file of real numbers.

    Error: SimulatorError where the file is missing, cut short, of another form, or not finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SimulatorError(f"{tool} wrote no result: {error.strerror or error}.") from error
    head, mark, body = data.partition(_MARK)
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in head.decode("utf-8", "replace").splitlines():
        if line.startswith(("\t", " ")) and "Variables" in fields:
            names.append(line.split()[1].lower() if len(line.split()) > 1 else "")
        else:
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    try:
        count, points = int(fields["No. Variables"]), int(fields["No. Points"])
        flags = fields["Flags"]
    except (KeyError, ValueError) as error:
        raise SimulatorError(f"{tool} wrote a result whose head cannot be read.") from error
    if not mark or "real" not in flags or count != len(names) or count < 1 or points < 1:
        raise SimulatorError(
            f"{tool} wrote a result that is not a binary table of real numbers ({count} variables, "
            f"{points} points, flags {flags!r})."
        )
    if len(body) < 8 * count * points:
        raise SimulatorError(
            f"{tool} wrote a result that ends early: {len(body)} of {8 * count * points} bytes."
        )
    values = np.frombuffer(body, dtype="<f8", count=count * points).reshape(points, count).copy()
    if not np.isfinite(values).all():
        raise SimulatorError(f"{tool} wrote numbers that are not finite.")
    return RawFile(names=tuple(names), values=torch.from_numpy(values))

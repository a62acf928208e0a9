"""Peers beside us: an environment of their own, a process each, run in turn with ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.engine.machine import ROOT
from benchmarks.engine.measuring import Contender, Sample
from benchmarks.engine.peer_child import PEERS

ENVIRONMENT = ROOT / "benchmarks" / ".peers"
# What is not on the package index, and so is named, never fetched.
NOT_PACKAGED = (
    "CrossSim, NeuroSim and MICSim are on no package index, only in source repositories: not installed."
)


class PeerError(RuntimeError):
    """A peer that cannot be run; the message is a sentence."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One pip call."""

    what: str
    arguments: tuple[str, ...]


def _steps(torch_version: str) -> list[_Step]:
    """torch first and alone, at our version, and never another afterwards (``-c``)."""
    build = (
        "setuptools>=77",
        "wheel",
        "scikit-build>=0.18.1",
        "pybind11>=3.0.1",
        "ninja",
        "cmake>=4.2.1",
        "mypy",
    )
    return [
        _Step(what="torch", arguments=(f"torch=={torch_version}", "numpy", "scipy")),
        _Step(what="aihwkit-lightning", arguments=("aihwkit-lightning",)),
        _Step(what="memintelli", arguments=("memintelli", "matplotlib", "torchvision")),
        _Step(what="build tools of aihwkit", arguments=build),
        _Step(what="aihwkit", arguments=("--no-build-isolation", "aihwkit")),
    ]


def make_environment(folder: Path = ENVIRONMENT) -> tuple[Path, list[str]]:
    """An environment with every peer that installs; its python, and a sentence for each that does not.

    aihwkit is built from source: that needs a C++ compiler and OpenBLAS with its headers (Debian:
    libopenblas-dev), and takes minutes.
    """
    import torch

    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, clear=False)
    torch_version = torch.__version__.split("+")[0]
    constraints = folder / "constraints.txt"
    constraints.write_text(f"torch=={torch_version}\n", encoding="utf-8")
    refused = []
    for step in _steps(torch_version):
        print(f"peers: installing {step.what} ...", file=sys.stderr, flush=True)
        done = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraints), *step.arguments],
            capture_output=True,
            text=True,
            env=_environment(folder),
        )
        if done.returncode != 0:
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            telling = [line for line in lines if "rror" in line] or lines or [f"exit {done.returncode}"]
            refused.append(f"{step.what} could not be installed: {telling[0].strip()[:300]}")
    return python, refused


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ.get('PATH', '')}"}


class Peer:
    """One simulator in its own process; ``peer`` and ``fp32`` are its contenders.

    threads: of torch and of every other library it uses, from the start of the process
    """

    def __init__(self, python: Path, name: str, sequences: int, tokens: int, threads: int = 1) -> None:
        self.name = name
        self._threads = threads
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.engine.peer_child", name, str(sequences), str(tokens)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)},
        )
        try:
            first = self._answer()
            if "absent" in first:
                raise PeerError(f"{name} was not run: {first['absent']}")
        except BaseException:
            self.close()
            raise
        self.version = str(first["version"])
        self.settings = str(first["settings"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"{self.name} was not run: its process ended with code {self._process.wait()}.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def contender(self, what: str) -> Contender:
        """``peer`` or ``fp32``, timed inside the peer's process."""

        def run(threads: int) -> Sample:
            if threads != self._threads:
                raise ValueError(f"{self.name} was started with {self._threads} threads, not {threads}")
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": what, "threads": threads}) + "\n")
            self._process.stdin.flush()
            return Sample(**self._answer())

        return run

    def close(self) -> None:
        """End the process; it leaves by itself when its requests end."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def names() -> list[str]:
    """Every peer there is a program for."""
    return list(PEERS)

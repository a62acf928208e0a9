"""What ran: processor, threads, versions, revision."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

from ohmformer.engine import native

ROOT = Path(__file__).resolve().parents[2]
WIDE = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
PACKAGES = ("ohmformer", "torch", "transformers", "numpy")


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")


def isa() -> str:
    """The instruction set our kernels use here: that of the native kernels, else of torch."""
    kernels = native.kernels()
    if kernels is not None:
        return f"native kernels for {kernels.name}"
    return f"no native kernels, torch for {torch.backends.cpu.get_cpu_capability()}"


def machine() -> dict[str, object]:
    """Processor, its wide integer instructions, cores, and the load when asked."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "instructions": " ".join(name for name in WIDE if name in flags),
        "isa_used": isa(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of what is timed and of what times it, and the git revision."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    found["revision"] = revision()
    return found


def revision() -> str:
    """Short hash of the commit, with ``+`` where tracked files differ from it; empty without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout

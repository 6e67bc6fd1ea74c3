"""What a run depends on beside its configuration: code, packages, machine."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("mftcoder", "torch", "transformers", "accelerate", "peft", "datasets", "bitsandbytes", "deepspeed", "numpy")
VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "SLURM_JOB_ID")


def describe(argv: Sequence[str]) -> dict[str, Any]:
    """The facts for environment.json; None for what cannot be found out."""
    return {
        "argv": list(argv),
        "directory": os.getcwd(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": _git(),
        "versions": versions(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _gpus(),
        "variables": {name: os.environ.get(name) for name in VARIABLES},
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that are there."""
    found = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}


def _git() -> dict[str, Any] | None:
    """Commit of the checkout that this code is in, and whether it was changed since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or (commit := _output("git", "-C", str(root), "rev-parse", "HEAD")) is None:
        return None
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(root), "status", "--porcelain"))}


def _gpus() -> list[str]:
    """Name, memory and driver of each GPU; asked from the driver, which leaves no trace on the device."""
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return (_output(*query) or "").splitlines() if shutil.which(query[0]) else []


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

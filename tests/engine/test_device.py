"""Freed memory is reused: measured as page faults, in a process of its own."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from mftcoder.engine.device import keep_freed_memory
kept = keep_freed_memory()
def work():
    for size in (3, 5, 8):
        tensors = [torch.ones(size, 2**18) for _ in range(4)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    cleared = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=cleared | environment, capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc is the C library of Linux")
def test_freed_blocks_are_not_fetched_anew():
    kept, count = faults()
    if not kept:
        pytest.skip("another C library")
    assert count < 10_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc is the C library of Linux")
def test_the_environment_wins():
    kept, count = faults(MALLOC_MMAP_THRESHOLD_="131072")
    assert not kept
    assert count > 40_000

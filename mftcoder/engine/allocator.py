"""Memory that the C library gave once is kept for the next step, not returned to the system and fetched anew."""

from __future__ import annotations

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEPT = 2**30
KEPT_BY_OLD_VERSIONS = 2**25
GROWTH = 2**26


def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks of up to a GiB in this process; whether it does.

    By itself it maps each large block anew, and the system fills every page of it with zeros when it is first touched:
    on a CPU that is nearly a tenth of a training step, whose tensors have the same sizes again and again. Nothing is
    changed with another C library, or where the environment sets MALLOC_*_ variables (mallopt(3)): they win.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, KEPT_BY_OLD_VERSIONS)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_TOP_PAD, GROWTH))

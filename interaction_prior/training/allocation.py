"""`keep_freed_memory`: gradients lie where the last step's lay.

A step frees and allocates some megabytes. glibc gives large blocks back to the system at once and
takes fresh, zeroed pages the next time: hundreds of page faults a step, about a fifth of a step of
batch 64 on a CPU. Told to keep what was freed, it takes none.
"""

import ctypes
import sys

# glibc's malloc.h; other C libraries have no mallopt or other numbers.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ALL = 1 << 30


def keep_freed_memory() -> bool:
    """For the rest of this process, freed memory is kept for reuse; whether that was possible.

    Only glibc on Linux: elsewhere nothing is done. Results do not change.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    done = [libc.mallopt(name, _ALL) for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)]
    return all(done)

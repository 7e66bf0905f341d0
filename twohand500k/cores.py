"""How many cores this process may use: what the scheduler allows, not what the machine has."""

import os


def available_cores() -> int:
    """Cores in this process's affinity mask; where the system has none (macOS), the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""pybullet, imported without the line about its build time that its C code writes to stderr.

Where it is missing, as on a Python above 3.11, that is a `DataError` of whoever needs it.
"""

import importlib.util
import os
import sys

from twohand500k.errors import DataError

if "pybullet" not in sys.modules and importlib.util.find_spec("pybullet") is None:
    raise DataError(
        "the physics engine pybullet is not installed; its wheels end at Python 3.11 (this is "
        f"{sys.version_info.major}.{sys.version_info.minor}): repair overlap where that is, "
        "everything else works here"
    )
if "pybullet" in sys.modules:
    import pybullet
else:
    _stderr = os.dup(2)
    _nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(_nowhere, 2)
        import pybullet
    finally:
        os.dup2(_stderr, 2)
        os.close(_stderr)
        os.close(_nowhere)

__all__ = ["pybullet"]

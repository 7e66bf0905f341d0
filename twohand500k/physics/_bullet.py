"""pybullet, imported without the line about its build time that its C code writes to stderr."""

import os
import sys

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

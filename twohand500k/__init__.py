"""Two-hand 500K: build, verify and read physically plausible poses of two interacting hands."""

__version__ = "0.1.0"

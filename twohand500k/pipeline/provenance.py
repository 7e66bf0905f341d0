"""Where a dataset came from: versions of what computed it, and the checkout it ran from."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from twohand500k import __version__

# Libraries whose version can change the arrays.
_LIBRARIES = ("numpy", "scipy", "numba", "h5py", "trimesh", "manifold3d", "pybullet")


def versions() -> dict[str, str]:
    """Version of the toolkit, of Python and of every library that can change the arrays."""
    found = {"twohand500k": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """Commit of the checkout this code runs from, "+changes" if files differ from it.

    None when the code is not a tracked file of a checkout (an installed wheel, no git).
    """
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    try:
        # A wheel in a virtual environment may lie inside somebody else's repository.
        git("ls-files", "--error-unmatch", here.name)
        revision = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+changes" if changed else "")

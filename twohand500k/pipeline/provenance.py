"""Where a dataset came from: versions of what computed it, and the checkout it ran from."""

import hashlib
import importlib.util
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from twohand500k import __version__

# Libraries whose version can change the arrays.
_LIBRARIES = ("numpy", "scipy", "numba", "llvmlite", "h5py", "trimesh", "manifold3d", "pybullet")

_PACKAGES = ("twohand500k", "twohand500k.physics_assets", "twohand500k.manifests")
_CODE = (".py", ".toml", ".json", ".npz")


def versions() -> dict[str, str]:
    """Version of the toolkit, of Python and of every library that can change the arrays.

    "code" is a hash of the toolkit's own files: between two commits the version stays the same.
    """
    found = {
        "twohand500k": __version__,
        "code": _code_sha256()[:16],
        "python": platform.python_version(),
    }
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@cache
def _code_sha256() -> str:
    """Hash of the source files, tables and hand models this process imports from."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*")):
                if path.suffix in _CODE and path.is_file():
                    digest.update(f"{package}/{path.relative_to(folder)}:".encode())
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


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

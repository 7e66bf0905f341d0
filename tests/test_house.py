"""The house itself: what may import what, what the wheel installs, what every command answers."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from twohand500k.cli.main import COMMANDS, twohand

ROOT = Path(__file__).resolve().parents[1]
# Higher floors may import lower ones, never the reverse; rooms on one floor do not know each other.
FLOORS = {
    "conventions": 0,
    "errors": 0,
    "cores": 0,
    "physics_assets": 0,
    "manifests": 0,
    "pickles": 1,
    "hand": 2,
    "sources": 3,
    "shards": 3,
    "pipeline": 4,
    "pictures": 4,
    "export": 4,
    "ik": 5,
    "splice": 5,
    "physics": 5,
    "select": 5,
    "demo": 6,
    "drawn": 6,
    "render": 6,
    "report": 6,
    "view": 6,
    "audit": 7,
    "recipe": 7,
    "cli": 8,
}

# The companion's rooms, likewise; of the toolkit it may import what knows no stage and no Bullet.
COMPANION_FLOORS = {
    "hands": 0,
    "representations": 1,
    "data": 2,
    "metrics": 2,
    "images": 3,
    "prior": 3,
    "open_prior": 3,
    "features": 4,
    "fusion": 5,
    "training": 5,
    "recon_training": 6,
    "evaluation": 7,
    "reconstruction": 7,
    "__main__": 8,
}
COMPANION_MAY_IMPORT = {"conventions", "cores", "errors", "hand", "shards", "__version__"}


def _package_files() -> list[tuple[str, Path]]:
    files = [(p.relative_to(ROOT / "twohand500k").parts[0].removesuffix(".py"), p)
             for p in (ROOT / "twohand500k").rglob("*.py")]  # fmt: skip
    files += [("cli", p) for p in (ROOT / "cli").rglob("*.py")]
    return [(room, p) for room, p in files if room != "__init__"]


def _imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the house writes them out"
            module = node.module or ""
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def test_arrows_point_one_way() -> None:
    wrong = []
    for room, path in _package_files():
        for name in _imported_modules(path):
            parts = name.split(".")
            if parts[0] != "twohand500k" or parts[1] in (room, "__version__"):
                continue
            if FLOORS[parts[1]] >= FLOORS[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_companion_knows_hands_and_shards_alone() -> None:
    wrong = []
    top = ROOT / "interaction_prior"
    for path in top.rglob("*.py"):
        room = path.relative_to(top).parts[0].removesuffix(".py")
        for name in _imported_modules(path):
            parts = name.split(".")
            if parts[0] == "twohand500k" and parts[1] not in COMPANION_MAY_IMPORT:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
            inside = parts[0] == "interaction_prior" and room != "__init__" and parts[1] != room
            if inside and COMPANION_FLOORS[parts[1]] >= COMPANION_FLOORS[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.torch
def test_training_needs_no_pybullet() -> None:
    pytest.importorskip("torch")
    code = (
        "import sys\nsys.modules['pybullet'] = None\n"
        "import interaction_prior.training, interaction_prior.evaluation\n"
        "import twohand500k.cli.train_prior\nprint('fine')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "fine", run.stderr


def test_front_doors_hold_no_logic() -> None:
    packages = ("twohand500k", "interaction_prior")
    inits = [init for name in packages for init in (ROOT / name).rglob("__init__.py")]
    for init in [*inits, ROOT / "cli/__init__.py"]:
        for node in ast.parse(init.read_text()).body:
            assert isinstance(node, ast.Expr | ast.ImportFrom | ast.Import | ast.Assign), init


def test_every_command_imports_neither_torch_nor_the_companion() -> None:
    modules = ", ".join(f"'twohand500k.cli.{name.replace('-', '_')}'" for name in COMMANDS)
    code = (
        f"import importlib, sys\n[importlib.import_module(m) for m in ({modules},)]\n"
        "print([m for m in ('torch', 'smplx', 'interaction_prior') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_refuses_misuse(name: str) -> None:
    shown = CliRunner().invoke(twohand, [name, "--help"])
    assert shown.exit_code == 0 and "Usage: " in shown.output
    assert CliRunner().invoke(twohand, [name, "--no-such-option"]).exit_code == 2


def test_wheel_installs_two_packages_and_every_asset(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(source)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {
        "twohand500k", "interaction_prior",
    }  # fmt: skip
    for room, folder in (("cli", "cli"), ("physics_assets", "physics_assets")):
        for path in (ROOT / folder).iterdir():
            if path.suffix in (".py", ".toml", ".json"):
                assert f"twohand500k/{room}/{path.name}" in names
    for path in (ROOT / "manifests").rglob("*.toml"):
        assert f"twohand500k/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "twohand500k").rglob("*"):
        if path.suffix in (".py", ".npz", ".toml", ".html", ".css", ".js"):
            assert str(path.relative_to(ROOT)) in names, path

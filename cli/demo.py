"""`twohand demo`: the main job in a minute or two, on a take the toolkit makes itself.

A list of small steps, each a function from the `Demo` so far to facts for the table. A later stage
joins by one more entry in `STEPS`.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.demo import DemoTake, make_take
from twohand500k.demo.score import fitted_frames, moments, score
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.ik.build import build_takes
from twohand500k.pictures import overlay_sheet, save_png
from twohand500k.shards.files import disk_error
from twohand500k.shards.reader import Dataset
from twohand500k.shards.verify import verify as verify_dataset
from twohand500k.sources import read_takes

Facts = dict[str, Any]

_TILE = (300, 280)  # pixels of one picture of the sheet


@dataclass(eq=False)
class Demo:
    """What the steps share: the options, and what earlier steps left."""

    out: Path
    seed: int
    hand_model: str
    talks: bool
    facts: Facts = field(default_factory=dict)

    @cached_property
    def hands(self) -> HandPair:
        return load_hands(self.hand_model)

    @property
    def dataset_dir(self) -> Path:
        return self.out / "dataset"

    @cached_property
    def earlier(self) -> Facts:
        """The facts an earlier run left in demo.json, none if there was none."""
        path = self.out / "demo.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    @cached_property
    def take(self) -> DemoTake:
        return DemoTake.read(self.out / "take" / "truth.npz")

    @cached_property
    def dataset(self) -> Dataset:
        return Dataset(self.dataset_dir)


@dataclass(frozen=True)
class Step:
    """One line of the demo: its name, what it says it does, and the doing."""

    name: str
    does: str
    run: Callable[[Demo], Facts]


@click.command(name="demo")
@click.option(
    "--out",
    default=Path("demo-out"),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.",
)
@options.seed
@options.hand_model
@options.as_json
@options.verbose
@options.quiet
def demo(
    out: Path,
    seed: int,
    hand_model: str,
    as_json: bool,
    verbose: int,
    quiet: bool,
) -> None:
    """Make a two-hand take, build a dataset from it, verify it, and show how near the truth it is.

    The take (14 s at 120 fps: clapping, a steeple, interlocked fingers, a clasp, a pinch) is seen
    through a noisy sensor with dropouts and written as C3D. Running again reuses what is there.
    """
    shared = Demo(out, seed, hand_model, talks=not quiet)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _run_steps(shared)
    except OSError as error:
        raise disk_error(error, out) from error
    if as_json:
        click.echo(json.dumps(shared.facts, indent=1))
        return
    click.echo(_table(shared.facts))
    if shared.talks:
        click.echo(_next(shared))


def _run_steps(shared: Demo) -> None:
    """Every step in turn, then the record of what they found."""
    for number, step in enumerate(STEPS, start=1):
        if shared.talks:
            click.echo(f"[{number}/{len(STEPS)}] {step.does}", err=True)
        began = time.monotonic()
        facts = step.run(shared)
        shared.facts[step.name] = {**facts, "seconds": round(time.monotonic() - began, 2)}
    (shared.out / "next.txt").write_text(_next(shared), encoding="utf-8")
    record = shared.out / "demo.json.tmp"
    record.write_text(json.dumps(shared.facts, indent=1), encoding="utf-8")
    record.replace(shared.out / "demo.json")


def _make_take(shared: Demo) -> Facts:
    folder = shared.out / "take"
    record = folder / "take.json"
    wanted = {"seed": shared.seed, "hand_model_sha256": shared.hands.sha256}
    reused = False
    if record.is_file():
        had = json.loads(record.read_text(encoding="utf-8"))
        for key, value in wanted.items():
            if had.get(key) != value:
                raise DataError(
                    f"{folder} holds a take of {key} {had.get(key)}, asked for {value}; choose "
                    f"another --out, or delete {shared.out}"
                )
        reused = all(
            (folder / name).is_file() and _sha256(folder / name) == sha256
            for name, sha256 in had["files"].items()
        )
    if not reused:
        recording, truth = make_take(shared.hands, shared.seed).write(folder)
        wanted["files"] = {path.name: _sha256(path) for path in (recording, truth)}
        temporary = record.with_suffix(".tmp")
        temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        temporary.replace(record)
    take = shared.take
    return {
        "file": str(folder / "take.c3d"),
        "frames": len(take.joints),
        "duration_s": len(take.joints) / take.fps,
        "points_lost_share": float(np.isnan(take.points).any(axis=-1).mean()),
        "touching_frames": int((take.gap < 0.001).sum()),
        "reused": reused,
    }


def _warm_up(shared: Demo) -> Facts:
    """Build a few frames and throw them away: the solver compiles once, then it is on the disk."""
    if (shared.dataset_dir / "index.json").is_file():
        return {"frames": 0}
    (take,) = read_takes([shared.out / "take" / "take.c3d"])
    with TemporaryDirectory() as folder:
        build_takes([take.rows(slice(0, 64))], shared.hands, Path(folder) / "d", progress=False)
    return {"frames": 64}


def _build(shared: Demo) -> Facts:
    began = time.monotonic()
    takes = read_takes([shared.out / "take" / "take.c3d"], subject="demo")
    report = build_takes(
        takes,
        shared.hands,
        shared.dataset_dir,
        seed=shared.seed,
        progress=False,
        log=lambda line: click.echo(f"      {line}", err=True) if shared.talks else None,
    )
    seconds = time.monotonic() - began
    facts: Facts = {
        "interactions": report.run.n_kept,
        "interactions_per_s": report.run.n_kept / seconds,
        "megabytes": sum(path.stat().st_size for path in shared.dataset_dir.glob("*.h5")) / 1e6,
        "reused": report.run.was_finished,
    }
    if report.run.was_finished and "build" in shared.earlier:
        # nothing was built just now: the speed worth telling is the earlier run's
        facts["interactions_per_s"] = shared.earlier["build"]["interactions_per_s"]
    return facts


def _verify(shared: Demo) -> Facts:
    findings = verify_dataset(shared.dataset_dir, shared.hands)
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        raise DataError(
            f"{shared.dataset_dir} does not verify: "
            + "; ".join(f"{finding.check}: {finding.summary}" for finding in failed)
        )
    return {"checks_passed": len(findings), "checks": [finding.check for finding in findings]}


def _score(shared: Demo) -> Facts:
    return asdict(score(shared.dataset, shared.take))


def _picture(shared: Demo) -> Facts:
    path = shared.out / "demo.png"
    if shared.facts["build"]["reused"] and path.is_file():
        return {"file": str(path), "reused": True}
    chosen = moments(shared.dataset, shared.take)
    if not len(chosen):
        raise DataError(f"{shared.dataset_dir} kept no frame with both hands: nothing to draw")
    sheet = overlay_sheet(
        shared.hands,
        fitted_frames(shared.dataset, shared.take, chosen),
        rows=range(len(chosen)),
        size=_TILE,
    )
    return {"file": str(save_png(path, sheet, colours=256)), "reused": False}


STEPS: tuple[Step, ...] = (
    Step("take", "making a two-hand take and its C3D file", _make_take),
    Step("compile", "compiling the solver, the first time only", _warm_up),
    Step("build", "building a dataset from it: calibrate, fit, judge, write", _build),
    Step("verify", "verifying the dataset", _verify),
    Step("score", "comparing with the truth", _score),
    Step("picture", "drawing fitted hands over the recording", _picture),
)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _table(facts: Facts) -> str:
    """The facts a person reads first, one a line."""
    take, build, result = facts["take"], facts["build"], facts["score"]
    rejects = ", ".join(f"{reason} {n}" for reason, n in result["rejects"].items()) or "none"
    kept = result["hands_kept"] / max(result["hands_recorded"], 1)
    lines = [
        (
            "take",
            f"{take['frames']:,} frames, {take['duration_s']:.1f} s; "
            f"{take['points_lost_share']:.1%} of points lost; "
            f"hands touch in {take['touching_frames']:,} frames",
        ),
        (
            "kept",
            f"{result['interactions_kept']:,} interactions; "
            f"{result['hands_kept']:,} of {result['hands_recorded']:,} hands ({kept:.1%})",
        ),
        ("rejects", rejects),
        (
            "residual",
            f"median {result['residual_median_mm']:.2f} mm, "
            f"95th percentile {result['residual_p95_mm']:.2f} mm",
        ),
        ("input noise", f"{result['noise_mean_mm']:.2f} mm from the truth, mean per joint"),
        (
            "error",
            f"{result['error_seen_mean_mm']:.2f} mm from the truth on joints that were seen "
            f"(95th percentile {result['error_seen_p95_mm']:.2f})",
        ),
        (
            "",
            f"{result['error_hidden_mean_mm']:.2f} mm on the {result['hidden_joints']:,} joints "
            f"that were not (95th percentile {result['error_hidden_p95_mm']:.2f})",
        ),
        ("speed", f"{build['interactions_per_s']:,.0f} interactions/s, file to shard"),
        ("size", f"{build['megabytes']:.1f} MB"),
        ("verify", f"{facts['verify']['checks_passed']} checks passed"),
        ("picture", facts["picture"]["file"]),
        ("seconds", ", ".join(f"{name} {step['seconds']:.1f}" for name, step in facts.items())),
    ]
    return "\n".join(f"{name:12} {text}" for name, text in lines)


def _next(shared: Demo) -> str:
    """What to try next, one screen."""
    dataset, recording = shared.dataset_dir, shared.out / "take" / "take.c3d"
    return f"""
Next
  twohand info {dataset}
      what the dataset holds, its conventions, one sample with shapes
  twohand build --source mocap --input {recording} --out mine
      the step above by itself; then with your own .bvh, .c3d, .trc, .csv or .npz
  twohand build --source mocap --input take.bvh --map my-map.toml --out mine
      a skeleton whose joint names are not known yet; manifests/joint_maps/ has maps to copy
  twohand build ... --smooth --preview 8
      steady each hand over time; draw eight fitted frames over their recording
  twohand build ... --hand-model DIR
      fit the licensed MANO hands (MANO_RIGHT and MANO_LEFT, .pkl or .npz in DIR)
  twohand make demo
      every stage: spliced pairs, their repair, one dataset, one page to look at
  twohand hand render --out hand.png
      look at the hand model

  from twohand500k.shards import Dataset
  samples = Dataset("{dataset}").samples()
  samples.pose.shape      # (N, 2, 16, 3) axis-angle, right then left, flat hand
"""

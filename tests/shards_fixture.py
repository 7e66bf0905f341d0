"""A small synthetic stage and hand pair for the tests of shards and pipeline.

The hands are random but lawful (MANO's shapes, the left the right's mirror), so that joints really
follow from parameters. The stage draws poses from (seed, sample id) and refuses some of them.
Run as a script it is a whole build: ``python shards_fixture.py OUT UNITS WORKERS``.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from twohand500k.conventions import MANO_PARENTS
from twohand500k.hand import load_hands
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.pipeline import Stats, Summary, UnitResult, rng_for, run, runner, split_for
from twohand500k.shards import Reject, Samples

# The plan of a run holds a hash of the code. A test that builds in two processes must not fail
# because somebody saved a file between them; what versions() tells is tested on its own.
VERSIONS = {"twohand500k": "1.2.3", "numpy": "2.1"}
runner.versions = lambda: VERSIONS  # type: ignore[assignment]


@cache
def synthetic_hands(seed: int = 0) -> HandPair:
    """A right hand with human-sized bones and random skin around them, and its mirror."""
    rng = np.random.default_rng(seed)
    joints = np.zeros((16, 3))
    for joint in range(1, 16):
        parent = MANO_PARENTS[joint]
        first = parent == 0
        step = np.array([-0.085, 0.0, 0.012 * (joint // 3 - 2)]) if first else [-0.03, 0.0, 0.0]
        joints[joint] = joints[parent] + step
    owner = np.arange(778) % 16
    tips = (744, 320, 443, 554, 671)
    owner[list(tips)] = (15, 3, 6, 12, 9)
    vertices = joints[owner] + rng.normal(scale=0.004, size=(778, 3))
    vertices[list(tips)] = joints[[15, 3, 6, 12, 9]] + [-0.022, 0.0, 0.0]
    weights = np.full((778, 16), 0.01)
    weights[np.arange(778), owner] += 0.84
    regressor = np.zeros((16, 778))
    for joint in range(16):
        members = np.setdiff1d(np.flatnonzero(owner == joint), tips)
        regressor[joint, members] = 1 / len(members)
    right = HandModel(
        side="right",
        name="synthetic",
        v_template=vertices,
        shapedirs=rng.normal(scale=5e-4, size=(778, 3, 10)),
        posedirs=rng.normal(scale=2e-5, size=(778, 3, 135)),
        J_regressor=regressor,
        weights=weights,
        # A skin that can be closed at the wrist.
        faces=load_hands("open").right.faces,
        hands_mean=rng.normal(scale=0.3, size=45),
        hands_components=np.eye(45),
    )
    return HandPair(right, right.mirrored())


@dataclass(frozen=True)
class Rows:
    """Frames of a pretended take."""

    take: str
    first: int
    last: int
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.take} frames {self.first}-{self.last - 1}"


def make_samples(
    ids: list[str], take: str = "take", frames: np.ndarray | None = None, seed: int = 0
) -> Samples:
    """Two hands per id, joints computed from parameters with `synthetic_hands`."""
    n = len(ids)
    pose, betas, transl = np.empty((n, 2, 16, 3)), np.empty((n, 2, 10)), np.empty((n, 2, 3))
    for i, sample_id in enumerate(ids):
        rng = rng_for(seed, sample_id)
        pose[i] = rng.normal(scale=0.25, size=(2, 16, 3))
        betas[i] = rng.normal(scale=0.5, size=(2, 10))
        transl[i] = rng.normal(scale=0.3, size=(2, 3))
    # What is on the disk is float32: joints follow from that.
    pose, betas, transl = (a.astype(np.float32) for a in (pose, betas, transl))
    hands = synthetic_hands()
    joints = np.stack(
        [
            hands[side].with_shape(betas[:, side]).with_pose(pose[:, side], transl[:, side]).joints
            for side in (0, 1)
        ],
        axis=1,
    )
    return Samples(
        sample_id=np.array(ids),
        pose=pose,
        betas=betas,
        transl=transl,
        joints=joints,
        present=np.ones((n, 2), dtype=bool),
        source=np.full(n, "synthetic-test"),
        take=np.full(n, take),
        subject=np.full(n, f"subject-{take}"),
        frame=np.arange(n) if frames is None else frames,
        timestamp=np.arange(n) / 120.0,
        split=np.full(n, split_for("synthetic-test", f"subject-{take}")),
        fit_error=np.full((n, 2), 1e-3),
    )


@dataclass(frozen=True)
class DrawStage:
    """Keeps nine of ten samples; a unit called "empty …" keeps none."""

    seed: int = 0

    def __call__(self, unit: Rows) -> UnitResult:
        frames = np.arange(unit.first, unit.last)
        ids = [f"synthetic-test/{unit.take}/{frame:06d}" for frame in frames]
        kept = np.array(
            [unit.take != "empty" and rng_for(self.seed + 1, i).random() < 0.9 for i in ids],
            dtype=bool,
        )
        samples = (
            make_samples([i for i, k in zip(ids, kept, strict=True) if k], unit.take, frames[kept])
            if kept.any()
            else None
        )
        rejects = tuple(
            Reject(i, "synthetic-test", "drawn", "one of ten")
            for i, k in zip(ids, kept, strict=True)
            if not k
        )
        stats = Stats({"frames": len(frames)}, {"frame": Summary.of(frames)})
        return UnitResult(samples, rejects, len(frames), stats)


def some_units(count: int, size: int = 40) -> list[Rows]:
    """`count` units of `size` frames, the third of them without any sample worth keeping."""
    return [
        Rows("empty" if i == 2 else f"take{i // 3}", i * size, (i + 1) * size, {"file": "ab" * 32})
        for i in range(count)
    ]


def build(out: Path, units: int = 5, workers: int = 1, **options: object) -> object:
    """A whole run of `DrawStage`."""
    return run(
        DrawStage(),
        some_units(units),
        out,
        **{  # type: ignore[arg-type]
            "name": "build",
            "options": {"noise": 2.0},
            "hands": synthetic_hands(),
            "workers": workers,
            "progress": False,
            "command": "twohand build",
            **options,
        },
    )


def dataset_bytes(folder: Path) -> dict[str, bytes]:
    """What must not depend on restarts and workers: shards, index, rejects."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "run.json"
    }


if __name__ == "__main__":
    folder, n_units, n_workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    build(folder, n_units, n_workers)

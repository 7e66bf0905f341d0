"""The records that leave this room: a `Take` is what inverse kinematics needs and nothing else.

In: whatever a reader found in a recording. Out: metres in one frame of space, sides in the house's
order, NaN where a point was not seen, and a note for everything a reader had to assume.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from twohand500k.conventions import (
    DEFAULT_TIP_SET,
    JOINT_NAMES,
    MANO_CARRIER,
    N_BETAS,
    N_JOINTS,
    N_MANO_JOINTS,
    TIP_SETS,
)

Array = np.ndarray
Surface = Literal["dorsal", "palmar", "radial", "ulnar", "tip"]
SURFACES: tuple[Surface, ...] = ("dorsal", "palmar", "radial", "ulnar", "tip")
# Stands for "left out" in a Take's arrays.
_NOT_GIVEN = np.empty(0)


@dataclass(frozen=True)
class Landmark:
    """One point that is followed through a take, the same on both sides.

    joint: index into `conventions.JOINT_NAMES` (0..20).
    kind "joint": the point IS that joint. kind "marker": it sits on the skin near that joint, on
    `surface`, at an unknown offset fixed in the frame of the MANO joint `carrier` (0..15; left out,
    it is the MANO joint that carries `joint`).
    weight: 1 for what was measured, less for what a recording only estimates.
    """

    name: str
    joint: int
    kind: Literal["joint", "marker"] = "joint"
    weight: float = 1.0
    surface: Surface | None = None
    carrier: int = -1

    def __post_init__(self) -> None:
        if not 0 <= self.joint < N_JOINTS:
            raise ValueError(f"landmark {self.name}: joint {self.joint} is not 0..{N_JOINTS - 1}")
        if self.kind not in ("joint", "marker"):
            raise ValueError(f"landmark {self.name}: kind {self.kind!r} is not joint or marker")
        if (self.surface is not None) != (self.kind == "marker"):
            raise ValueError(f"landmark {self.name}: a marker has a surface, a joint has none")
        if self.surface is not None and self.surface not in SURFACES:
            raise ValueError(f"landmark {self.name}: surface {self.surface!r} is not in {SURFACES}")
        if not 0.0 < self.weight <= 1.0:
            raise ValueError(f"landmark {self.name}: weight {self.weight} is not in (0, 1]")
        if self.carrier == -1:
            object.__setattr__(self, "carrier", MANO_CARRIER[self.joint])
        if not 0 <= self.carrier < N_MANO_JOINTS:
            raise ValueError(f"landmark {self.name}: carrier {self.carrier} is not a MANO joint")

    @property
    def joint_name(self) -> str:
        """The joint's name in `conventions.JOINT_NAMES`."""
        return JOINT_NAMES[self.joint]


@dataclass(frozen=True)
class Unit:
    """How a recording's numbers became metres: `metres = scale_to_m * number`."""

    scale_to_m: float
    how: Literal["file", "declared", "inferred"]
    name: str


@dataclass(frozen=True)
class InputFile:
    """A file that was read, and the sha256 of its bytes."""

    path: str
    sha256: str


PoseMean = Literal["flat", "mean"]
JointsMade = Literal["kinematic", "regressed", "measured"]
LeftShapedirs = Literal["mirrored", "as shipped", "negated"]


@dataclass(frozen=True, eq=False)
class ManoParameters:
    """MANO parameters as a dataset's annotation gives them, in its own conventions.

    pose (T, 2, 16, 3) axis-angle rad; betas (T, 2, 10); transl (T, 2, 3) m, added after posing. All
    NaN where a hand is absent; transl alone NaN where the annotation has none: the hand is then
    placed on the take's points.
    relative_to: what the finger rotations are relative to, the flat hand or the model's mean pose.
    left_shapedirs: on which left model the betas were made: "mirrored" with the right's shape
    directions mirrored (the fix), "as shipped" with MANO_LEFT's own, "negated" with those times -1.
    Of each, several may be named: what agrees best with the take's points is taken.
    R_house_dataset (3, 3): turns the annotation's axes into the take's (OpenGL's into a camera's).
    joints: how the dataset made its joints from these parameters, "kinematic" or "regressed", or
    "measured" where they come from elsewhere; of several, as above.
    agreement m: a hand whose joints lie farther than this (mean) from the take's is refused.
    model: the hand model they were made for, by its name; every licensed MANO file is "mano".
    """

    pose: Array
    betas: Array
    transl: Array
    relative_to: tuple[PoseMean, ...]
    left_shapedirs: tuple[LeftShapedirs, ...]
    joints: tuple[JointsMade, ...]
    agreement: float
    R_house_dataset: Array = field(default_factory=lambda: np.eye(3))
    model: str = "mano"

    def __post_init__(self) -> None:
        T = len(self.pose)
        for name, tail in (("pose", (N_MANO_JOINTS, 3)), ("betas", (N_BETAS,)), ("transl", (3,))):
            shape = getattr(self, name).shape
            if shape != (T, 2, *tail):
                raise ValueError(f"MANO {name} must be {(T, 2, *tail)}, got {shape}")
        if not (self.relative_to and self.left_shapedirs and self.joints):
            raise ValueError("relative_to, left_shapedirs and joints name one convention at least")

    @property
    def given(self) -> Array:
        """Hands that have parameters: (T, 2) bool."""
        return np.isfinite(self.pose).all(axis=(2, 3)) & np.isfinite(self.betas).all(axis=2)

    def rows(self, which: slice | Sequence[int] | Array) -> "ManoParameters":
        """The same for some frames."""
        return replace(
            self, pose=self.pose[which], betas=self.betas[which], transl=self.transl[which]
        )


@dataclass(frozen=True, eq=False)
class Take:
    """One recording of one subject's hands, or the frames of a dataset that belong together.

    subject: "" where the recording does not say. frame: the frame of space (`conventions.FRAMES`).
    sides (2,) bool, right then left: which were recorded.
    landmarks: K of them, the same for both sides.
    points (T, 2, K, 3) float64 metres; NaN = missing, in all three numbers of a point or in none.
    frames (T,) int64: frame numbers in the file, unique. timestamps (T,) float64 s, NaN if unknown.
    recorded (T, 2) bool: which hands each frame is said to hold; a hand that is not said to be
    there is not missed. A side outside `sides` is in no frame; left out: `sides` in every frame.
    faults (T,) str: why a frame could not be read, "" where it could; such a frame is refused.
    shape: whose shape the frames show, one subject's throughout or another hand's in each "frame".
    tips: the tip set (`conventions.TIP_SETS`) that the fingertips among the landmarks are of.
    split: train, val or test where the dataset says it; "" leaves it to be drawn.
    mano: the annotation's own MANO parameters, where it has them.
    notes: everything a reader assumed, cut away or found odd.
    """

    name: str
    subject: str
    source: str
    frame: str
    sides: Array
    landmarks: tuple[Landmark, ...]
    points: Array
    frames: Array
    timestamps: Array
    unit: Unit
    files: tuple[InputFile, ...] = ()
    notes: tuple[str, ...] = ()
    recorded: Array = field(default_factory=lambda: _NOT_GIVEN)
    faults: Array = field(default_factory=lambda: _NOT_GIVEN)
    shape: Literal["subject", "frame"] = "subject"
    tips: str = DEFAULT_TIP_SET
    split: Literal["", "train", "val", "test"] = ""
    mano: ManoParameters | None = None

    def __post_init__(self) -> None:
        T, K = len(self.frames), len(self.landmarks)
        if self.recorded is _NOT_GIVEN:
            object.__setattr__(self, "recorded", np.tile(self.sides, (T, 1)))
        if self.faults is _NOT_GIVEN:
            object.__setattr__(self, "faults", np.full(T, "", dtype="<U1"))
        if self.sides.shape != (2,) or self.sides.dtype != bool:
            raise ValueError(f"take {self.name}: sides must be (2,) bool, got {self.sides!r}")
        if self.points.shape != (T, 2, K, 3) or self.points.dtype != np.float64:
            raise ValueError(
                f"take {self.name}: points must be float64 ({T}, 2, {K}, 3), "
                f"got {self.points.dtype} {self.points.shape}"
            )
        if self.timestamps.shape != (T,):
            raise ValueError(f"take {self.name}: timestamps must be ({T},)")
        if self.recorded.shape != (T, 2) or self.recorded.dtype != bool:
            raise ValueError(f"take {self.name}: recorded must be ({T}, 2) bool")
        object.__setattr__(self, "recorded", self.recorded & self.sides)
        if self.faults.shape != (T,) or self.faults.dtype.kind != "U":
            raise ValueError(f"take {self.name}: faults must be ({T},) str")
        if len(np.unique(self.frames)) != T:
            raise ValueError(f"take {self.name}: frame numbers must be unique")
        if self.tips not in TIP_SETS:
            raise ValueError(f"take {self.name}: tips {self.tips!r} is none of {list(TIP_SETS)}")
        if self.shape == "frame" and any(mark.kind == "marker" for mark in self.landmarks):
            raise ValueError(f"take {self.name}: markers need one subject's shape")
        if self.mano is not None and len(self.mano.pose) != T:
            raise ValueError(f"take {self.name}: {len(self.mano.pose)} MANO frames, not {T}")

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return len(self.frames)

    @property
    def seen(self) -> Array:
        """Which points were seen: (T, 2, K) bool."""
        return np.isfinite(self.points).all(axis=-1)

    def rows(self, which: slice | Sequence[int] | Array) -> "Take":
        """The same take with only some frames; a slice shares memory with this one."""
        return replace(
            self,
            points=self.points[which],
            frames=self.frames[which],
            timestamps=self.timestamps[which],
            recorded=self.recorded[which],
            faults=self.faults[which],
            mano=None if self.mano is None else self.mano.rows(which),
        )

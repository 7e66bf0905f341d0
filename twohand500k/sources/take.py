"""The records that leave this room: a `Take` is what inverse kinematics needs and nothing else.

In: whatever a reader found in a recording. Out: metres in one frame of space, sides in the house's
order, NaN where a point was not seen, and a note for everything a reader had to assume.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from twohand500k.conventions import JOINT_NAMES, MANO_CARRIER, N_JOINTS, N_MANO_JOINTS

Array = np.ndarray
Surface = Literal["dorsal", "palmar", "radial", "ulnar", "tip"]
SURFACES: tuple[Surface, ...] = ("dorsal", "palmar", "radial", "ulnar", "tip")


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


@dataclass(frozen=True, eq=False)
class Take:
    """One recording of one subject's hands.

    subject: "" where the recording does not say. frame: the frame of space (`conventions.FRAMES`).
    sides (2,) bool, right then left: which were recorded.
    landmarks: K of them, the same for both sides.
    points (T, 2, K, 3) float64 metres; NaN = missing, in all three numbers of a point or in none.
    frames (T,) int64: frame numbers in the file. timestamps (T,) float64 s, NaN where unknown.
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

    def __post_init__(self) -> None:
        T, K = len(self.frames), len(self.landmarks)
        if self.sides.shape != (2,) or self.sides.dtype != bool:
            raise ValueError(f"take {self.name}: sides must be (2,) bool, got {self.sides!r}")
        if self.points.shape != (T, 2, K, 3) or self.points.dtype != np.float64:
            raise ValueError(
                f"take {self.name}: points must be float64 ({T}, 2, {K}, 3), "
                f"got {self.points.dtype} {self.points.shape}"
            )
        if self.timestamps.shape != (T,):
            raise ValueError(f"take {self.name}: timestamps must be ({T},)")

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
        )

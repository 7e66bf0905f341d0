"""The frames of a dataset as they are read, one after the other, and the take they make.

In: per frame the hands it holds with their joints and MANO parameters, or why it could not be
read. Out: a `Take`. A frame that is broken keeps its place, as a fault: it becomes a reject.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from twohand500k.conventions import JOINT_NAMES, N_BETAS, N_JOINTS, N_MANO_JOINTS, SIDES
from twohand500k.sources.manifest import SourceManifest
from twohand500k.sources.take import Array, InputFile, Landmark, ManoParameters, Take, Unit

Split = Literal["", "train", "val", "test"]
# What a joint that is worked out from others weighs against one that was recorded.
ESTIMATED_WEIGHT = 0.1
_UNIT_M = {"m": 1.0, "mm": 1e-3}


@dataclass(frozen=True, eq=False)
class Hand:
    """One hand of one frame, in the dataset's axes and order but in metres.

    joints (21, 3) OpenPose order, NaN where a joint is not valid; None where there are none.
    pose (16, 3) rad, betas (10,), transl (3,) m as `ManoParameters` has them; None without MANO.
    """

    joints: Array | None = None
    pose: Array | None = None
    betas: Array | None = None
    transl: Array | None = None


@dataclass
class Frames:
    """Frames being read. `add` one that was read, `fault` one that could not be."""

    numbers: list[int] = field(default_factory=list)
    hands: list[tuple[Hand | None, Hand | None]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    timestamps: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def add(
        self, number: int, right: Hand | None, left: Hand | None, timestamp: float = np.nan
    ) -> None:
        """A frame with the hands it is said to hold, at least one of them."""
        if right is None and left is None:
            raise ValueError(f"frame {number} holds no hand")
        self._append(number, (right, left), "", timestamp)

    def fault(self, number: int, said: str) -> None:
        """A frame that could not be read, and why, in one line."""
        self._append(number, (None, None), said, np.nan)

    def _append(
        self, number: int, hands: tuple[Hand | None, Hand | None], said: str, timestamp: float
    ) -> None:
        self.numbers.append(number)
        self.hands.append(hands)
        self.faults.append(said)
        self.timestamps.append(timestamp)

    def take(
        self,
        name: str,
        manifest: SourceManifest,
        *,
        files: Sequence[InputFile],
        subject: str = "",
        split: Split = "",
        shape: Literal["subject", "frame"] = "subject",
        R_house_dataset: Array | None = None,
        notes: Sequence[str] = (),
    ) -> Take:
        """The take. Its sides are those that any frame holds; all faulty, those of the manifest.

        R_house_dataset (3, 3): turns joints and parameters from the dataset's axes into the
        house's. Estimated joints of the manifest get little weight and a note.
        """
        recorded = np.array([[h is not None for h in pair] for pair in self.hands], dtype=bool)
        recorded = recorded.reshape(-1, 2)
        sides: Array = np.asarray(recorded.any(axis=0))
        if not sides.any():
            sides = np.array([manifest.hands in (side, "both", "one a frame") for side in SIDES])
        recorded[np.array(self.faults) != ""] = sides
        points = self._stacked("joints", (N_JOINTS, 3))
        if R_house_dataset is not None:
            points = points @ R_house_dataset.T
        notes = list(notes)
        if manifest.estimated:
            notes.append(f"{', '.join(manifest.estimated)}: estimated, weight {ESTIMATED_WEIGHT:g}")
        return Take(
            name=name,
            subject=subject,
            source=manifest.name,
            frame=manifest.frame,
            sides=sides,
            landmarks=landmarks(manifest),
            points=points,
            frames=np.array(self.numbers, dtype=np.int64),
            timestamps=np.array(self.timestamps, dtype=np.float64),
            unit=Unit(_UNIT_M[manifest.unit], "declared", manifest.unit),
            files=tuple(files),
            notes=tuple(notes),
            recorded=recorded,
            faults=np.array(self.faults, dtype=np.str_),
            shape=shape,
            tips=manifest.tips,
            split=split,
            mano=self._mano(manifest, R_house_dataset),
        )

    def _mano(self, manifest: SourceManifest, R: Array | None) -> ManoParameters | None:
        if "MANO" not in manifest.annotation:
            return None
        return ManoParameters(
            pose=self._stacked("pose", (N_MANO_JOINTS, 3)),
            betas=self._stacked("betas", (N_BETAS,)),
            transl=self._stacked("transl", (3,)),
            relative_to=manifest.relative_to,  # type: ignore[arg-type]
            left_shapedirs=manifest.left_shapedirs,  # type: ignore[arg-type]
            joints=manifest.joints,  # type: ignore[arg-type]
            agreement=manifest.agreement_mm * 1e-3,
            R_house_dataset=np.eye(3) if R is None else R,
        )

    def _stacked(self, what: str, tail: tuple[int, ...]) -> Array:
        """One array (T, 2, *tail) of what the hands hold, NaN where they do not."""
        out = np.full((len(self), 2, *tail), np.nan)
        for row, pair in enumerate(self.hands):
            for side, hand in enumerate(pair):
                if hand is not None and getattr(hand, what) is not None:
                    out[row, side] = getattr(hand, what)
        return out


def landmarks(manifest: SourceManifest) -> tuple[Landmark, ...]:
    """The 21 joints as landmarks; those the manifest calls estimated carry little weight."""
    return tuple(
        Landmark(name, joint, weight=ESTIMATED_WEIGHT if name in manifest.estimated else 1.0)
        for joint, name in enumerate(JOINT_NAMES)
    )

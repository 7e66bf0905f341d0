"""`Facts`: what an audit knows of every frame, whatever the data came as.

Recordings and joints (`points`), our own datasets (`dataset`) and meshes (`meshes`) each fill the
same columns, so that everything after (`findings`, `pictures`, the page) is written once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from twohand500k.conventions import MANO_JOINT_NAMES
from twohand500k.hand.anatomy import ANGLE_NAMES, Anatomy
from twohand500k.ik.verdict import Thresholds

Array = np.ndarray

OK = "ok"
# The 45 angles by name, as they lie in (15, 3) flattened.
ANGLES = tuple(f"{joint} {angle}" for joint in MANO_JOINT_NAMES[1:] for angle in ANGLE_NAMES)
# An angle so far outside its limits counts as past it, rad; less is the spread of limits
# published (a few degrees and more, docs/hand-model.md).
PAST = float(np.radians(5))
# From here a joint is bent backwards (or as far the other way), rad: the line of the fit's verdict
# where the points leave no doubt about the angle.
BENT = Thresholds.bent - Thresholds.bent_slack_least


@dataclass(frozen=True, eq=False)
class Facts:
    """N frames (or single samples); sides 0 right, 1 left. NaN: not known.

    sample_id, take (N,) str; frame (N,) int64, -1 unknown.
    there (N, 2) bool: hands that the frame is said to hold.
    reason (N, 2) str: "ok", why the hand is not what it is said to be, or "" where none is.
    detail: a line on the hand (row, side), where there is one.
    residual (N, 2) m: mean distance of the fit from the points given.
    excess (N, 2) rad: largest excess over a joint limit; angle (N, 2): of which of `ANGLES`, -1.
    past (45,): hands with each angle more than `PAST` past its limit.
    volume, depth, distance (N,): m3 inside both hands, m deep, m between their skins.
    self_volume (N, 2) m3: of a hand inside itself.
    """

    sample_id: Array
    take: Array
    frame: Array
    there: Array
    reason: Array
    residual: Array
    excess: Array
    angle: Array
    volume: Array
    depth: Array
    distance: Array
    self_volume: Array
    past: Array
    detail: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def ok(self) -> Array:
        """Hands that are there and refused by no gate (N, 2) bool."""
        return self.there & (self.reason == OK)

    @property
    def pairs(self) -> Array:
        """Frames said to hold both hands (N,) bool."""
        return np.asarray(self.there.all(axis=1))

    @staticmethod
    def unknown(
        sample_id: Array, take: Array, frame: Array, there: Array, reason: Array
    ) -> "Facts":
        """Facts of which nothing is measured yet."""
        n = len(sample_id)
        return Facts(
            sample_id=np.asarray(sample_id, dtype=np.str_),
            take=np.asarray(take, dtype=np.str_),
            frame=np.asarray(frame, dtype=np.int64),
            there=np.asarray(there, dtype=bool),
            reason=np.asarray(reason, dtype="<U24"),
            residual=np.full((n, 2), np.nan),
            excess=np.full((n, 2), np.nan),
            angle=np.full((n, 2), -1, dtype=np.int64),
            volume=np.full(n, np.nan),
            depth=np.full(n, np.nan),
            distance=np.full(n, np.nan),
            self_volume=np.full((n, 2), np.nan),
            past=np.zeros(len(ANGLES), dtype=np.int64),
        )

    @staticmethod
    def concat(parts: "Sequence[Facts]") -> "Facts":
        """All of them, one after the other. Raises ValueError for none."""
        if not parts:
            raise ValueError("no facts to put together")
        columns = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Facts)
            if f.name not in ("past", "detail")
        }
        starts = np.cumsum([0, *(len(part) for part in parts)])
        detail = {
            (int(start) + row, side): said
            for start, part in zip(starts, parts, strict=False)
            for (row, side), said in part.detail.items()
        }
        return Facts(**columns, past=np.sum([part.past for part in parts], axis=0), detail=detail)


@dataclass(frozen=True, eq=False)
class Limits:
    """How H hands of one side stand to the joint limits.

    excess (H,) rad: the largest; angle (H,): at which of `ANGLES`; past (45,): hands past each;
    backwards (H,): fingers of which a joint is bent back to `BENT` or farther.
    """

    excess: Array
    angle: Array
    past: Array
    backwards: Array

    @staticmethod
    def of(pose: Array, anatomy: Anatomy) -> "Limits":
        """Of poses (H, 16, 3) rad on the model that `anatomy` is of."""
        angles = anatomy.angles_from_pose(pose)
        each = anatomy.limit_excess(angles)
        flat = each.reshape(len(pose), len(ANGLES))
        back = (each[..., 0] >= BENT) & (angles[..., 0] < 0)
        return Limits(
            excess=flat.max(axis=1, initial=0.0),
            angle=flat.argmax(axis=1) if len(flat) else np.zeros(0, dtype=np.int64),
            past=(flat > PAST).sum(axis=0),
            backwards=back.reshape(len(pose), 5, 3).any(axis=2).sum(axis=1),
        )

    def bent_line(self, hand: int) -> str:
        """A line on a hand that is bent past `BENT`."""
        line = f"{ANGLES[self.angle[hand]]} {np.degrees(self.excess[hand]):.0f} deg past its limit"
        if self.backwards[hand] >= 3:
            line += f"; {self.backwards[hand]} fingers bent back, as a hand of the other side is"
        return line

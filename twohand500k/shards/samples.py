"""`Samples`, the in-memory twin of a shard's datasets, and `Reject`, a sample refused.

Comes in: arrays of any float or integer type in the conventions of design section 4. Goes out: a
frozen, checked record with the shard's own types (float32 and so on), read-only arrays and one
NaN. A fault here is a fault of the code that made the arrays: ValueError, naming field and row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.shards.schema import FIELDS, OPTIONAL_GROUPS, Field

# Stands for "not given": the constructor replaces it by the schema's word for not known.
_UNKNOWN = np.empty(0)


def _not_given() -> np.ndarray:
    return _UNKNOWN


_NUMPY_TYPE = {
    "f4": np.float32, "f8": np.float64, "i4": np.int32, "i8": np.int64, "u1": np.uint8,
    "bool": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class Reject:
    """A sample refused: which, from which source, the reason code, and what was seen."""

    sample_id: str
    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """N interactions; first axis N, second axis of per-hand arrays the side (0 right, 1 left).

    Shapes, units and meanings are the schema's (`twohand500k.shards.schema.FIELDS`). Text is
    numpy str. What is left out is filled with the schema's "not known". The fields of an optional
    group (splice, repair, image) are given all together or not at all.

    Raises ValueError for a wrong shape, values that do not fit the type, a hand whose NaNs
    contradict `present`, a sample without any hand, a sample_id that is not unique ASCII.
    """

    sample_id: np.ndarray
    pose: np.ndarray
    betas: np.ndarray
    transl: np.ndarray
    joints: np.ndarray
    present: np.ndarray
    source: np.ndarray
    take: np.ndarray
    subject: np.ndarray = field(default_factory=_not_given)
    frame: np.ndarray = field(default_factory=_not_given)
    timestamp: np.ndarray = field(default_factory=_not_given)
    mirrored: np.ndarray = field(default_factory=_not_given)
    split: np.ndarray = field(default_factory=_not_given)
    fit_error: np.ndarray = field(default_factory=_not_given)
    limit_violation: np.ndarray = field(default_factory=_not_given)
    side_ambiguous: np.ndarray = field(default_factory=_not_given)
    penetration_volume: np.ndarray = field(default_factory=_not_given)
    penetration_depth: np.ndarray = field(default_factory=_not_given)
    contact_distance: np.ndarray = field(default_factory=_not_given)
    self_penetration_volume: np.ndarray = field(default_factory=_not_given)
    contact_intended: np.ndarray = field(default_factory=_not_given)
    contact_realised: np.ndarray = field(default_factory=_not_given)
    bank_id: np.ndarray | None = None
    placement: np.ndarray | None = None
    placement_spin: np.ndarray | None = None
    placement_standoff: np.ndarray | None = None
    pose_before: np.ndarray | None = None
    transl_before: np.ndarray | None = None
    volume_before: np.ndarray | None = None
    depth_before: np.ndarray | None = None
    displacement: np.ndarray | None = None
    evaluations: np.ndarray | None = None
    repair_verdict: np.ndarray | None = None
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    uv: np.ndarray | None = None
    visible: np.ndarray | None = None
    K: np.ndarray | None = None
    T_camera_world: np.ndarray | None = None
    hidden: np.ndarray | None = None
    pose_id: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(np.asarray(self.sample_id))
        for spec in FIELDS:
            given = getattr(self, spec.attribute)
            if given is None:
                continue
            array = _unknown(spec, n) if given is _UNKNOWN else _as_stored_type(spec, given, n)
            object.__setattr__(self, spec.attribute, array)
        for group in OPTIONAL_GROUPS:
            missing = [
                s.attribute
                for s in FIELDS
                if s.group == group and getattr(self, s.attribute) is None
            ]
            if missing and self.has(group):
                raise ValueError(f"group {group!r} lacks {', '.join(missing)}: give all or none")
        self._check_ids()
        self._check_presence()

    def __len__(self) -> int:
        return len(self.sample_id)

    def has(self, group: str) -> bool:
        """Whether an optional group ("splice", "repair", "image") is there."""
        return any(getattr(self, s.attribute) is not None for s in FIELDS if s.group == group)

    def select(self, rows: ArrayLike) -> "Samples":
        """The samples at `rows`: integer positions or a boolean mask (N,), in that order."""
        index = np.asarray(rows)
        if index.dtype != np.bool_:
            index = index.astype(np.int64)
        return Samples(
            **{
                f.name: value[index]
                for f in fields(self)
                if (value := getattr(self, f.name)) is not None
            }
        )

    @staticmethod
    def concat(parts: "Sequence[Samples]") -> "Samples":
        """All samples of `parts`, in order.

        Raises ValueError for no parts, a repeated sample_id, or an optional group that only some
        of the parts have.
        """
        if not parts:
            raise ValueError("nothing to concatenate")
        for group in OPTIONAL_GROUPS:
            if len({part.has(group) for part in parts}) == 2:
                raise ValueError(f"only some of the parts have the group {group!r}")
        return Samples(
            **{
                f.name: np.concatenate([getattr(part, f.name) for part in parts])
                for f in fields(parts[0])
                if getattr(parts[0], f.name) is not None
            }
        )

    def _check_ids(self) -> None:
        for row, sample_id in enumerate(self.sample_id):
            if not sample_id or not sample_id.isascii() or not sample_id.isprintable():
                raise ValueError(f"sample_id of row {row} is {sample_id!r}: printable ASCII needed")
        unique, counts = np.unique(self.sample_id, return_counts=True)
        if len(unique) != len(self):
            raise ValueError(f"sample_id {unique[counts > 1][0]!r} occurs more than once")

    def _check_presence(self) -> None:
        empty = np.flatnonzero(~self.present.any(axis=1))
        if len(empty):
            raise ValueError(f"sample {self.sample_id[empty[0]]!r} has no hand at all")
        for spec in FIELDS:
            array = getattr(self, spec.attribute)
            if array is None or not spec.is_float or spec.shape[1:2] != ("S",):
                continue
            flat = array.reshape(len(self), 2, int(np.prod(spec.tail[1:])))
            wrong = ~np.isnan(flat).all(axis=2) & ~self.present
            if wrong.any():
                row, side = np.argwhere(wrong)[0]
                raise ValueError(
                    f"{spec.path} of {self.sample_id[row]!r}, side {side}, has numbers although "
                    "the hand is absent"
                )
            wrong = ~np.isfinite(flat).all(axis=2) & self.present
            if spec.per_hand and wrong.any():
                row, side = np.argwhere(wrong)[0]
                raise ValueError(
                    f"{spec.path} of {self.sample_id[row]!r}, side {side}, is not finite although "
                    "the hand is present"
                )


def _unknown(spec: Field, n: int) -> np.ndarray:
    """The schema's "not known" for a field that was not given."""
    shape = (n, *spec.tail)
    if spec.required:
        raise ValueError(f"{spec.attribute} is required")
    if spec.kind in ("text", "name"):
        return _frozen(np.full(shape, "", dtype="<U1"))
    if spec.is_float:
        return _frozen(np.full(shape, np.nan, dtype=_NUMPY_TYPE[spec.kind]))
    return _frozen(np.full(shape, 0 if spec.kind == "bool" else -1, dtype=_NUMPY_TYPE[spec.kind]))


def _as_stored_type(spec: Field, given: ArrayLike, n: int) -> np.ndarray:
    array = np.asarray(given)
    if array.shape != (n, *spec.tail):
        raise ValueError(
            f"{spec.attribute} must have shape {spec.shape} = {(n, *spec.tail)}, got {array.shape}"
        )
    if spec.kind in ("text", "name"):
        if array.dtype.kind != "U" and not (n == 0 or array.dtype.kind == "O"):
            raise ValueError(f"{spec.attribute} must be an array of str, got {array.dtype}")
        array = array.astype(np.str_)
        if spec.vocabulary:
            strangers = sorted(set(array.ravel().tolist()) - {"", *spec.vocabulary})
            if strangers:
                raise ValueError(
                    f"{spec.attribute} has {strangers[0]!r}, none of {', '.join(spec.vocabulary)}"
                )
        return _frozen(array)
    if spec.kind == "bool":
        if array.dtype != np.bool_:
            raise ValueError(f"{spec.attribute} must be bool, got {array.dtype}")
        return _frozen(array)
    if spec.kind in ("i4", "i8", "u1"):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{spec.attribute} must be integer, got {array.dtype}")
        stored: np.ndarray = array.astype(_NUMPY_TYPE[spec.kind])
        if not np.array_equal(stored, array):
            raise ValueError(f"{spec.attribute} does not fit into {stored.dtype}")
        return _frozen(stored)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{spec.attribute} must be numbers, got {array.dtype}")
    with np.errstate(over="ignore"):
        stored = array.astype(_NUMPY_TYPE[spec.kind])
    if np.isinf(stored).any():
        raise ValueError(f"{spec.attribute} has infinite values")
    # One NaN only: its sign and payload depend on the operation that made it.
    return _frozen(np.where(np.isnan(stored), stored.dtype.type(np.nan), stored))


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view

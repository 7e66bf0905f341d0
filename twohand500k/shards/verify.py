"""`verify(DIR, hands)`: is a dataset what it says it is? Recomputed from the disk, not believed.

Shard by shard, so that memory does not grow with the dataset. Every check leaves one `Finding`;
a finding that fails lists its faults: which file, which dataset, which row, what is wrong. The
limits of plausibility are wide on purpose: they catch wrong units and broken numbers, not unusual
hands.
"""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from twohand500k.conventions import JOINT_NAMES, OPENPOSE_FROM_MANO21, SIDES
from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.measure import pair_displacement
from twohand500k.hand.model import HandModel, HandPair
from twohand500k.shards.files import REJECTS, RUN, read_json, temporaries
from twohand500k.shards.hdf5 import Stored, arrays_sha256, decode, read_stored, schema_faults
from twohand500k.shards.index import Index, ShardEntry, read_index
from twohand500k.shards.reader import check_root, read_rejects
from twohand500k.shards.schema import FIELD_BY_PATH
from twohand500k.shards.verify_pictures import TOLERANCE_PX, picture_faults

FAULTS_LISTED: Final = 20
_WORTH_PROCESSES: Final = 100_000

# Joints on disk are float32, rounded after float64 arithmetic on parameters that were rounded in
# turn: half a unit in the last place each, of coordinates as large as the hand's place in its
# frame, and about a micrometre at most from the rounded angles at the end of a chain of bones.
JOINT_TOLERANCE_M: Final = 1e-6
JOINT_TOLERANCE_ULPS: Final = 4.0
# The same rounding through the arctangents of the anatomical angles.
LIMIT_TOLERANCE_RAD: Final = 1e-4

# What a repaired pair may keep, as the repair refuses above it (`physics.repair`; a test compares).
KEPT_VOLUME_M3: Final = 1e-7
KEPT_DEPTH_M: Final = 2e-3
# Displacement is a mean of distances of joints as above, and itself float32.
DISPLACEMENT_TOLERANCE_M: Final = 2e-6

# Wrist to middle fingertip along the bones; an infant's is about 0.1, the longest known 0.32.
HAND_LENGTH_M: Final = (0.08, 0.33)
# (dataset, smallest, largest, unit): of each number; of mano/pose each axis-angle vector's length.
_RANGES: Final = (
    ("mano/pose", 0.0, 2 * np.pi + 1e-4, "rad"),
    ("mano/betas", -20.0, 20.0, ""),
    ("mano/transl", -50.0, 50.0, "m"),
    ("joints", -50.0, 50.0, "m"),
    ("quality/fit_error", 0.0, 0.1, "m"),
    ("quality/limit_violation", 0.0, 2 * np.pi, "rad"),
    ("quality/penetration_volume", 0.0, 1e-3, "m3"),
    ("quality/penetration_depth", 0.0, 0.2, "m"),
    ("quality/contact_distance", 0.0, 100.0, "m"),
    ("quality/self_penetration_volume", 0.0, 1e-3, "m3"),
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where."""

    what: str
    file: str
    dataset: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        place = self.file + (f" {self.dataset}" if self.dataset else "")
        return f"{place}{'' if self.row is None else f' row {self.row}'}: {self.what}"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. `faults` are the first of them, `n_faults` how many there are."""

    check: str
    passed: bool
    summary: str
    faults: tuple[Fault, ...] = ()
    n_faults: int = 0


def verify(folder: str | Path, hands: HandPair, workers: int | None = None) -> list[Finding]:
    """Check a finished dataset against itself and against the hand model.

    Raises DataError only where there is nothing to check: no dataset, an unfinished run, a newer
    format, an index that cannot be understood. workers: processes to spread the shards
    over; None takes one a core where that pays for starting them, above 100,000 samples.
    """
    folder = Path(folder)
    index = read_index(folder)
    if workers is None:
        workers = available_cores() if index.samples > _WORTH_PROCESSES else 1
    collected = _Collected()
    for entry, report in zip(index.shards, _reports(folder, index, hands, workers), strict=True):
        collected.add(entry, report)
    _check_files(folder, index, collected)
    _check_across_shards(folder, index, collected)
    _check_hand_model(index, hands, collected)
    return collected.findings(index, hands)


@dataclass
class _ShardReport:
    """What one shard's pass found. Rows are rows of that shard."""

    faults: list[tuple[str, Fault]] = field(default_factory=list)
    rows: int | None = None
    ids: list[str] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    split_keys: set[tuple[str, str, str, str]] = field(default_factory=set)
    hands: int = 0
    joint_error: float = 0.0
    limit_error: float = 0.0
    limits_checked: int = 0
    repairs_checked: int = 0
    displacement_error: float = 0.0
    pictures_checked: int = 0
    picture_error: float = 0.0

    def fault(self, check: str, fault: Fault) -> None:
        self.faults.append((check, fault))


def _reports(folder: Path, index: Index, hands: HandPair, workers: int) -> Iterator[_ShardReport]:
    work: Callable[[ShardEntry], _ShardReport] = partial(_check_shard, folder, index, hands)
    if workers == 1 or len(index.shards) < 2:
        yield from map(work, index.shards)
        return
    with ProcessPoolExecutor(
        min(workers, len(index.shards)), multiprocessing.get_context("spawn")
    ) as pool:
        yield from pool.map(work, index.shards)


# One shard


def _check_shard(folder: Path, index: Index, hands: HandPair, entry: ShardEntry) -> _ShardReport:
    report = _ShardReport()
    path = folder / entry.file
    if not path.is_file():
        report.fault("files", Fault("missing: the index lists it", entry.file))
        return report
    try:
        stored, root = read_stored(path)
    except DataError as error:
        report.fault("files", Fault(str(error), entry.file))
        return report
    try:
        check_root(path, root, index)
    except DataError as error:
        report.fault("conventions", Fault(str(error), entry.file))
    if (found := arrays_sha256(stored, root)) != entry.arrays_sha256:
        what = f"content hash {found[:12]}…, the index has {entry.arrays_sha256[:12]}…"
        report.fault("hashes", Fault(f"changed after it was written: {what}", entry.file))
    if faults := schema_faults(stored):
        for fault in faults:
            report.fault("schema", Fault(fault, entry.file))
        return report
    report.rows = len(stored["sample_id"].array)
    try:
        text = {path: decode(path, stored[path]) for path in _TEXTS}
    except UnicodeDecodeError as error:
        report.fault("schema", Fault(f"text that is not UTF-8 ({error})", entry.file))
        return report
    report.ids = text["sample_id"].tolist()
    report.sources = Counter(text["provenance/source"].tolist())
    report.split_keys = _split_keys(text)
    present = stored["present"].array
    report.hands = int(present.sum())
    _check_presence(stored, present, entry.file, report)
    _check_ranges(stored, entry.file, report)
    if "image/uv" in stored:
        of_pictures, report.picture_error = picture_faults(stored, present)
        report.pictures_checked = len(present)
        for dataset, picture, what in of_pictures:
            report.fault("pictures", Fault(what, entry.file, dataset, picture))
    if _same_model(index, hands):
        _check_joints(stored, present, hands, entry.file, report)
        _check_limits(stored, present, hands, entry.file, report)
        if "repair/displacement" in stored:
            _check_repair(stored, present, hands, entry.file, report)
    return report


_TEXTS: Final = ("sample_id", "split", "provenance/source", "provenance/subject", "provenance/take")


def _split_keys(text: Mapping[str, np.ndarray]) -> set[tuple[str, str, str, str]]:
    """(source, "subject" or "take", its name, split) of every sample that has a split."""
    keys = set()
    columns = (text[f"provenance/{name}"].tolist() for name in ("source", "subject", "take"))
    for source, subject, take, split in zip(*columns, text["split"].tolist(), strict=True):
        if split:
            kind, name = ("subject", subject) if subject else ("take", take)
            keys.add((source, kind, name, split))
    return keys


def _check_presence(
    stored: Mapping[str, Stored], present: np.ndarray, file: str, report: _ShardReport
) -> None:
    for row in np.flatnonzero(~present.any(axis=1)):
        report.fault("presence", Fault("neither hand is present", file, "present", int(row)))
    for path, item in stored.items():
        spec = FIELD_BY_PATH[path]
        if not spec.is_float:
            continue
        for row in np.flatnonzero(np.isinf(item.array).reshape(len(present), -1).any(axis=1)):
            report.fault("presence", Fault("infinite", file, path, int(row)))
        if spec.shape[1:2] != ("S",):
            continue
        known = ~np.isnan(item.array).reshape(*present.shape, int(np.prod(spec.tail[1:])))
        for row, side in np.argwhere(known.any(axis=2) & ~present):
            what = f"the {SIDES[side]} hand is absent but has numbers"
            report.fault("presence", Fault(what, file, path, int(row)))
        if spec.per_hand:
            for row, side in np.argwhere(~known.all(axis=2) & present):
                what = f"the {SIDES[side]} hand is present but has NaN"
                report.fault("presence", Fault(what, file, path, int(row)))


def _check_ranges(stored: Mapping[str, Stored], file: str, report: _ShardReport) -> None:
    middle = stored["joints"].array[:, :, [0, 9, 10, 11, 12]].astype(np.float64)
    length = np.linalg.norm(np.diff(middle, axis=2), axis=-1).sum(axis=-1)
    for row, side in np.argwhere((length < HAND_LENGTH_M[0]) | (length > HAND_LENGTH_M[1])):
        what = (
            f"the {SIDES[side]} hand is {length[row, side]:.4g} m from wrist to middle fingertip, "
            f"outside [{HAND_LENGTH_M[0]}, {HAND_LENGTH_M[1]}]: wrong unit?"
        )
        report.fault("ranges", Fault(what, file, "joints", int(row)))
    for path, low, high, unit in _RANGES:
        values = stored[path].array.astype(np.float64)
        if path == "mano/pose":
            values = np.linalg.norm(values, axis=-1)
        values = values.reshape(len(values), -1)
        outside = (values < low) | (values > high)
        for row in np.flatnonzero(outside.any(axis=1)):
            worst = values[row][outside[row]][0]
            what = f"{worst:.4g} {unit}".strip() + f" is outside [{low:.4g}, {high:.4g}]"
            report.fault("ranges", Fault(what, file, path, int(row)))


def _same_model(index: Index, hands: HandPair) -> bool:
    return all(
        index.conventions[f"hand_model_{side}_sha256"] == hands[i].sha256
        for i, side in enumerate(SIDES)
    )


def _check_joints(
    stored: Mapping[str, Stored],
    present: np.ndarray,
    hands: HandPair,
    file: str,
    report: _ShardReport,
) -> None:
    for side in range(len(SIDES)):
        paths = ("mano/pose", "mano/betas", "mano/transl", "joints")
        # A hand with NaN is a fault of presence already.
        finite = [np.isfinite(stored[p].array[:, side]).reshape(len(present), -1) for p in paths]
        rows = np.flatnonzero(present[:, side] & np.all(np.hstack(finite), axis=1))
        pose, betas, transl, joints = (
            stored[path].array[rows, side].astype(np.float64) for path in paths
        )
        expected = hands[side].with_shape(betas).with_pose(pose, transl).joints
        distance = np.abs(expected - joints).max(axis=-1)
        size = np.maximum(np.abs(joints).max(axis=(1, 2)), np.abs(transl).max(axis=-1))
        ulp = np.finfo(np.float32).eps * size
        wrong = distance.max(axis=-1) > JOINT_TOLERANCE_M + JOINT_TOLERANCE_ULPS * ulp
        if len(rows):
            report.joint_error = max(report.joint_error, float(distance.max()))
        for i in np.flatnonzero(wrong):
            row = int(rows[i])
            joint = int(distance[i].argmax())
            what = (
                f"the {SIDES[side]} hand's {JOINT_NAMES[joint]} is "
                f"{1e3 * distance[i, joint]:.4g} mm from where the parameters put it"
            )
            # Looking for the cause costs a few evaluations of the model: the first faults only.
            if sum(check == "joints" for check, _ in report.faults) < FAULTS_LISTED:
                cause = _likely_cause(stored, hands, row, side)
                what += f" ({cause})" if cause else ""
            report.fault("joints", Fault(what, file, "joints", row))


def _likely_cause(stored: Mapping[str, Stored], hands: HandPair, row: int, side: int) -> str | None:
    """Which well-known mix-up explains joints that do not follow from the parameters, if any."""
    pose, betas, transl = (
        stored[path].array[row].astype(np.float64)
        for path in ("mano/pose", "mano/betas", "mano/transl")
    )
    both = stored["joints"].array[row].astype(np.float64)
    joints = both[side]

    def joints_of(model: HandModel, s: int, add: float = 0.0) -> np.ndarray:
        local = pose[s].copy()
        local[1:] += add * model.hands_mean.reshape(-1, 3)
        return model.with_shape(betas[s]).with_pose(local, transl[s]).joints

    def close(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(np.abs(a - b).max() < 1e-5)

    mine = joints_of(hands[side], side)
    other = 1 - side
    crossed = ((hands[other], other), (hands[side], other), (hands[other], side))
    if any(close(joints_of(model, s), joints) for model, s in crossed):
        return "right and left are swapped"
    if close(1e3 * mine, joints) or np.allclose(1e3 * mine, joints, rtol=1e-3):
        return "the joints are in millimetres"
    if close(joints_of(hands[side], side, add=1.0), joints):
        return "the pose is relative to the mean hand, not the flat hand"
    if close(joints_of(hands[side], side, add=-1.0), joints):
        return "the mean hand was added to the pose"
    if close(mine[np.argsort(OPENPOSE_FROM_MANO21)], joints):
        return "the joints are in MANO's order"
    tip_to_base = [0, *(4 * f + k for f in range(5) for k in (4, 3, 2, 1))]
    if close(mine[tip_to_base], joints):
        return "the fingers are listed from tip to base"
    if close(mine - mine.mean(axis=0), joints - joints.mean(axis=0)):
        shift = np.linalg.norm((joints - mine).mean(axis=0))
        return f"the whole hand is displaced by {1e3 * shift:.4g} mm: another meaning of transl?"
    return None


def _check_limits(
    stored: Mapping[str, Stored],
    present: np.ndarray,
    hands: HandPair,
    file: str,
    report: _ShardReport,
) -> None:
    told = stored["quality/limit_violation"].array.astype(np.float64)
    for side in range(len(SIDES)):
        finite = np.isfinite(stored["mano/pose"].array[:, side]).all(axis=(1, 2))
        rows = np.flatnonzero(present[:, side] & finite & np.isfinite(told[:, side]))
        if not len(rows):
            continue
        anatomy = Anatomy.of(hands[side])
        pose = stored["mano/pose"].array[rows, side].astype(np.float64)
        excess = anatomy.limit_excess(anatomy.angles_from_pose(pose)).max(axis=(-2, -1))
        difference = np.abs(excess - told[rows, side])
        report.limits_checked += len(rows)
        report.limit_error = max(report.limit_error, float(difference.max()))
        for i in np.flatnonzero(difference > LIMIT_TOLERANCE_RAD):
            what = (
                f"the {SIDES[side]} hand exceeds the limits by {excess[i]:.6g} rad, "
                f"the shard says {told[rows[i], side]:.6g}"
            )
            report.fault("limits", Fault(what, file, "quality/limit_violation", int(rows[i])))


def _check_repair(
    stored: Mapping[str, Stored],
    present: np.ndarray,
    hands: HandPair,
    file: str,
    report: _ShardReport,
) -> None:
    """Displacement recomputed from before and after; what was not moved is as it was before."""
    after = [stored[f"mano/{name}"].array for name in ("pose", "betas", "transl")]
    before = [stored["repair/pose_before"].array, after[1], stored["repair/transl_before"].array]
    finite = [np.isfinite(a).reshape(len(present), -1).all(axis=1) for a in (*after, *before)]
    rows = np.flatnonzero(present.all(axis=1) & np.all(finite, axis=0))
    posed = []
    for parameters in (before, after):
        pose, betas, transl = (a[rows].astype(np.float64) for a in parameters)
        joints = [
            hands[s].with_shape(betas[:, s]).with_pose(pose[:, s], transl[:, s]).joints
            for s in range(len(SIDES))
        ]
        posed.append(np.stack(joints, axis=1))
    told = stored["repair/displacement"].array.astype(np.float64)
    verdict = decode("repair/verdict", stored["repair/verdict"])
    size = np.maximum(*(np.abs(joints).max(axis=(1, 2, 3), initial=0.0) for joints in posed))
    limit = DISPLACEMENT_TOLERANCE_M + JOINT_TOLERANCE_ULPS * np.finfo(np.float32).eps * size
    for k, row in enumerate(rows.tolist()):
        moved = pair_displacement(posed[0][k], posed[1][k])
        report.repairs_checked += 1
        error = abs(moved - told[row])
        if error <= limit[k]:
            report.displacement_error = max(report.displacement_error, error)
        else:
            what = f"the joints moved {1e3 * moved:.4g} mm, the shard says {1e3 * told[row]:.4g} mm"
            report.fault("repair", Fault(what, file, "repair/displacement", row))
        if verdict[row] == "untouched" and moved > limit[k]:
            what = f"untouched, but its joints moved {1e3 * moved:.4g} mm"
            report.fault("repair", Fault(what, file, "repair/verdict", row))
    for without in np.flatnonzero(verdict == "").tolist():
        report.fault("repair", Fault("has no verdict", file, "repair/verdict", without))
    for path, most, unit, scale in (
        ("quality/penetration_volume", KEPT_VOLUME_M3, "cm3", 1e6),
        ("quality/penetration_depth", KEPT_DEPTH_M, "mm", 1e3),
    ):
        values = stored[path].array.astype(np.float64)
        # The limit itself, in float32, may lie a little above it.
        for over in np.flatnonzero(values > most * (1 + np.finfo(np.float32).eps)).tolist():
            left = f"{scale * values[over]:.4g} {unit} left"
            what = f"{left}, a repair keeps {scale * most:g} at most"
            report.fault("repair", Fault(what, file, path, over))


# The whole folder


class _Collected:
    """Faults by check, and what has to be compared across shards."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Fault]] = {check: [] for check in _CHECKS}
        self.counts: Counter[str] = Counter()
        self.shard_of_id: dict[str, tuple[str, int]] = {}
        self.sources: Counter[str] = Counter()
        self.splits: dict[tuple[str, str, str], set[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.hands = self.limits_checked = 0
        self.repairs_checked = self.pictures_checked = 0
        self.picture_error = 0.0
        self.joint_error = self.limit_error = self.displacement_error = 0.0

    def fault(self, check: str, fault: Fault) -> None:
        self.counts[check] += 1
        if len(self.faults[check]) < FAULTS_LISTED:
            self.faults[check].append(fault)

    def add(self, entry: ShardEntry, report: _ShardReport) -> None:
        for check, fault in report.faults:
            self.fault(check, fault)
        if report.rows is not None and report.rows != entry.samples:
            what = f"has {report.rows} samples, the index says {entry.samples}"
            self.fault("counts", Fault(what, entry.file))
        for row, sample_id in enumerate(report.ids):
            here = (entry.file, row)
            if not sample_id or not sample_id.isascii() or not sample_id.isprintable():
                what = f"{sample_id!r} is not printable ASCII"
                self.fault("sample ids", Fault(what, entry.file, "sample_id", row))
            first = self.shard_of_id.setdefault(sample_id, here)
            if first != here:
                what = f"{sample_id!r} is also {first[0]} row {first[1]}"
                self.fault("sample ids", Fault(what, entry.file, "sample_id", row))
        self.sources += report.sources
        for source, kind, name, split in report.split_keys:
            self.splits.setdefault((source, kind, name), set()).add(split)
        self.hands += report.hands
        self.limits_checked += report.limits_checked
        self.joint_error = max(self.joint_error, report.joint_error)
        self.limit_error = max(self.limit_error, report.limit_error)
        self.repairs_checked += report.repairs_checked
        self.pictures_checked += report.pictures_checked
        self.picture_error = max(self.picture_error, report.picture_error)
        self.displacement_error = max(self.displacement_error, report.displacement_error)

    def findings(self, index: Index, hands: HandPair) -> list[Finding]:
        summaries = self._summaries(index, hands)
        same_model = _same_model(index, hands)
        out = []
        for check in _CHECKS:
            unchecked = check in ("joints", "limits", "repair") and not same_model
            passed = not self.counts[check] and not unchecked
            summary = "not checked: another hand model" if unchecked else summaries[check]
            if self.counts[check]:
                summary += f"; {self.counts[check]:,} faults"
            out.append(
                Finding(check, passed, summary, tuple(self.faults[check]), self.counts[check])
            )
        return out

    def _summaries(self, index: Index, hands: HandPair) -> dict[str, str]:
        splits = Counter(split for splits in self.splits.values() for split in splits)
        named = ", ".join(f"{n} {split}" for split, n in sorted(splits.items())) or "none given"
        return {
            "files": f"{len(index.shards)} shards listed",
            "schema": f"format {index.conventions['format']}, names, types and shapes of datasets",
            "conventions": f"{len(index.conventions)} root attributes of each shard",
            "hashes": "sha256 of arrays and root attributes against the index",
            "hand model": f"{hands.right.name}, sha256 {hands.sha256[:12]}…",
            "counts": f"{index.samples:,} samples; index, shards, rejects and run record agree",
            "sample ids": f"{len(self.shard_of_id):,} ids, unique, none of them rejected as well",
            "presence": f"{self.hands:,} hands; numbers where a hand is, NaN where none is",
            "ranges": "hand lengths, angles, betas, places and quality are plausible",
            "joints": (
                f"recomputed from parameters: largest difference {1e3 * self.joint_error:.2g} mm "
                f"(limit {1e3 * JOINT_TOLERANCE_M:g} mm + {JOINT_TOLERANCE_ULPS:g} float32 steps)"
            ),
            "limits": (
                f"excess over joint limits recomputed for {self.limits_checked:,} hands: largest "
                f"difference {self.limit_error:.2g} rad (limit {LIMIT_TOLERANCE_RAD:g})"
            ),
            "repair": (
                f"displacement recomputed for {self.repairs_checked:,} pairs: largest difference "
                f"{1e3 * self.displacement_error:.2g} mm; none keeps more than "
                f"{1e6 * KEPT_VOLUME_M3:g} cm3 or {1e3 * KEPT_DEPTH_M:g} mm"
                if self.repairs_checked
                else "no repair to check"
            ),
            "pictures": (
                f"joints of {self.pictures_checked:,} pictures projected again: largest difference "
                f"{self.picture_error:.2g} px (limit {TOLERANCE_PX:g}); labels agree"
                if self.pictures_checked
                else "no picture to check"
            ),
            "splits": f"no subject or take in two splits; subjects or takes: {named}",
            "rejects": f"{sum(self.reasons.values()):,} rejects, {len(self.reasons)} reasons",
            "run record": "options, versions, seed and counts",
        }


_CHECKS: Final = (
    "files",
    "schema",
    "conventions",
    "hashes",
    "hand model",
    "counts",
    "sample ids",
    "presence",
    "ranges",
    "joints",
    "limits",
    "repair",
    "pictures",
    "splits",
    "rejects",
    "run record",
)


def _check_files(folder: Path, index: Index, collected: _Collected) -> None:
    listed = {shard.file for shard in index.shards}
    if len(listed) != len(index.shards):
        collected.fault("files", Fault("lists a shard twice", "index.json"))
    for path in sorted(folder.glob("*.h5")):
        if path.name not in listed:
            collected.fault("files", Fault("is not in the index", path.name))
    for path in temporaries(folder):
        collected.fault("files", Fault("left by a writer that was killed: delete it", path.name))


def _check_hand_model(index: Index, hands: HandPair, collected: _Collected) -> None:
    for side, name in enumerate(SIDES):
        made_with = index.conventions[f"hand_model_{name}_sha256"]
        if made_with != hands[side].sha256:
            what = (
                f"made with the {name} hand {index.conventions['hand_model'][side]!r} "
                f"({made_with[:12]}…), checked with {hands[side].name!r} "
                f"({hands[side].sha256[:12]}…): name its model with --hand-model"
            )
            collected.fault("hand model", Fault(what, "index.json", "conventions"))


def _check_across_shards(folder: Path, index: Index, collected: _Collected) -> None:
    rejected_per_source: Counter[str] = Counter()
    first_line: dict[str, int] = {}
    try:
        for line, reject in enumerate(read_rejects(folder / REJECTS), start=1):
            rejected_per_source[reject.source] += 1
            collected.reasons[reject.reason] += 1
            if not reject.reason:
                collected.fault("rejects", Fault("has no reason", REJECTS, None, line))
            if reject.sample_id in collected.shard_of_id:
                file, row = collected.shard_of_id[reject.sample_id]
                what = f"{reject.sample_id!r} was kept as well, {file} row {row}"
                collected.fault("sample ids", Fault(what, REJECTS, None, line))
            if first_line.setdefault(reject.sample_id, line) != line:
                what = f"{reject.sample_id!r} is also line {first_line[reject.sample_id]}"
                collected.fault("sample ids", Fault(what, REJECTS, None, line))
    except DataError as error:
        collected.fault("rejects", Fault(str(error), REJECTS))
    for (source, kind, name), splits in sorted(collected.splits.items()):
        if len(splits) > 1:
            what = f"{kind} {name!r} of {source} is in {' and '.join(sorted(splits))}"
            collected.fault("splits", Fault(what, "shards", "split"))
    for source in sorted({*index.counts, *collected.sources, *rejected_per_source}):
        told = index.counts.get(source, {"kept": 0, "rejected": 0})
        for what, found in (("kept", collected.sources), ("rejected", rejected_per_source)):
            if told[what] != found[source]:
                where = "the shards hold" if what == "kept" else f"{REJECTS} holds"
                text = f"{source}: {told[what]} {what}, {where} {found[source]}"
                collected.fault("counts", Fault(text, "index.json", "counts"))
    _check_run_record(folder, index, collected)


def _check_run_record(folder: Path, index: Index, collected: _Collected) -> None:
    try:
        run: dict[str, Any] = read_json(folder / RUN)
        counts = run["counts"]
        told = {"kept": counts["kept"], "rejected": dict(counts["rejected"]), "in": counts["in"]}
        missing = [key for key in _RUN_KEYS if key not in run]
    except DataError as error:
        collected.fault("run record", Fault(str(error), RUN))
        return
    except (KeyError, TypeError, ValueError) as error:
        collected.fault("run record", Fault(f"has no usable counts ({error!r})", RUN))
        return
    for key in missing:
        collected.fault("run record", Fault(f"lacks {key!r}", RUN))
    rejected = dict(sorted(collected.reasons.items()))
    found = {
        "kept": index.samples,
        "rejected": rejected,
        "in": index.samples + sum(rejected.values()),
    }
    for key, value in found.items():
        if told[key] != value:
            what = f"{key} {told[key]}, index and {REJECTS} give {value}"
            collected.fault("counts", Fault(what, RUN, "counts"))


_RUN_KEYS: Final = ("stage", "options", "seed", "inputs", "versions", "git_revision", "sessions")

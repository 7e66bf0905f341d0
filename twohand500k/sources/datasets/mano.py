"""Plain MANO arrays: pose, betas and translation of one hand or of both, conventions declared.

In: an .npz, or a folder of them at any depth. Out: one take a file, named by its path in the
folder. Numbers do not tell by which conventions they were made, so nothing is assumed: a
`Convention` is given by the caller, or stands in `convention.toml` in the file's folder or one
above it, in NAME.toml beside NAME.npz, or in the .npz under the same names, the nearer overriding
the farther. What it must say and does not is a `DataError` that lists it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from twohand500k.conventions import LEFT, N_BETAS, N_JOINTS, N_MANO_JOINTS, SIDES, WRIST
from twohand500k.errors import DataError
from twohand500k.sources.datasets.choice import Choice
from twohand500k.sources.datasets.files import MOST, missing, sha256_of
from twohand500k.sources.datasets.frames import landmarks
from twohand500k.sources.datasets.mano_convention import (
    SCALE,
    Convention,
    declared,
    load_convention,
    undeclared,
)
from twohand500k.sources.manifest import load_manifest
from twohand500k.sources.take import Array, LeftShapedirs, ManoParameters, Take, Unit

__all__ = ["Convention", "load_convention", "read"]

NAME = "mano"
_NAMES = {
    "pose": ("pose", "full_pose", "mano_pose"),
    "orientation": ("global_orient", "rot", "root_orient"),
    "fingers": ("hand_pose", "pose"),
    "betas": ("betas", "shape", "mano_betas"),
    "transl": ("transl", "trans", "translation"),
    "joints": ("joints", "joints3d", "joints_3d"),
}
# No rotation turns farther; numbers beyond are degrees.
_MOST_RAD = 4 * np.pi


def read(
    folder: Path, choice: Choice, convention: Convention | Path | str | None = None
) -> list[Take]:
    """One take a file. convention: it or its TOML file; left out, it is found beside the arrays.

    Raises DataError where there is no .npz, where one is broken, or where a convention is missing.
    """
    if convention is not None and not isinstance(convention, Convention):
        convention = load_convention(Path(convention))
    choice.splits_of(load_manifest(NAME))
    return [
        _take(path, folder if folder.is_dir() else folder.parent, choice, convention)
        for path in _found(folder)
    ]


def _found(folder: Path) -> list[Path]:
    if folder.is_file() and folder.suffix == ".npz":
        return [folder]
    paths = sorted(folder.rglob("*.npz")) if folder.is_dir() else []
    if paths:
        return paths
    others = [folder] if folder.is_file() else sorted(folder.rglob("*.np[yz]"))
    others += [] if folder.is_file() else sorted(folder.rglob("*.pkl"))
    if others:
        raise DataError(
            f"{others[0]}: pickled objects and single arrays are not read as MANO; save plain "
            "arrays once: numpy.savez('NAME.npz', right_pose=..., right_betas=..., "
            "right_transl=..., left_pose=..., left_betas=..., left_transl=...)"
        )
    raise missing(folder, "*.npz", load_manifest(NAME))


def _take(path: Path, root: Path, choice: Choice, convention: Convention | None) -> Take:
    arrays = _arrays(path)
    inputs = [sha256_of(path)]
    if convention is None:
        convention, told = declared(path, root, arrays)
        inputs += told
    hands = _both_sides(path, arrays, convention)
    recorded = ~np.isnan(hands["pose"]).all(axis=(2, 3))
    sides = recorded.any(axis=0)
    if not sides.any():
        raise DataError(f"{path}: no frame holds a hand; every pose is NaN")
    if sides[LEFT] and not convention.left_shapedirs:
        raise undeclared(str(path), ["left_shapedirs"])
    faults = _faults(hands, recorded)
    rows = np.flatnonzero(
        (faults != "") | (recorded.any(axis=1) & _wanted(choice, recorded.sum(axis=1)))
    )
    rows = rows[: choice.most] if choice.most is not None else rows
    scale = SCALE[convention.unit]
    points = hands["joints"] * scale
    transl = hands["transl"] * scale
    if convention.translation == "wrist":
        # Where the wrist is lies beta-dependent far from `transl`: left to whoever has the model.
        points[:, :, WRIST] = np.where(np.isnan(points[:, :, WRIST]), transl, points[:, :, WRIST])
        transl = np.full_like(transl, np.nan)
    broken = faults != ""
    for values in (hands["pose"], hands["betas"], transl, points):
        values[broken[:, None] | ~recorded] = np.nan
    # Which hands a frame holds that cannot be read, nobody knows.
    recorded[broken] = sides
    take = Take(
        name=path.relative_to(root).with_suffix("").as_posix(),
        subject=convention.subject,
        source=NAME,
        frame=convention.frame,
        sides=sides,
        landmarks=landmarks(load_manifest(NAME)),
        points=points,
        frames=_numbers_of_frames(path, arrays, len(points)),
        timestamps=_times(path, arrays, len(points)),
        unit=Unit(scale, "declared", convention.unit),
        files=tuple(inputs),
        notes=(_said(convention),),
        recorded=recorded,
        faults=faults,
        shape="subject" if _one_shape(hands["betas"], recorded & ~broken[:, None]) else "frame",
        tips=convention.tips,
        split=convention.split,
        mano=ManoParameters(
            pose=hands["pose"],
            betas=hands["betas"],
            transl=transl,
            relative_to=(convention.relative_to,),
            left_shapedirs=(cast(LeftShapedirs, convention.left_shapedirs or "mirrored"),),
            joints=(convention.joints,),
            agreement=convention.agreement_mm * 1e-3,
        ),
    )
    return take.rows(rows)


def _one_shape(betas: Array, used: Array) -> bool:
    """Whether each side's betas (T, 2, 10) are the same in all frames used (T, 2), and any are."""
    per_side = [betas[used[:, side], side] for side in range(2) if used[:, side].any()]
    return bool(per_side) and all(np.ptp(own, axis=0).max() < 1e-6 for own in per_side)


def _wanted(choice: Choice, n_hands: Array) -> Array:
    return np.array([choice.wants(int(n)) for n in n_hands], dtype=bool)


def _said(convention: Convention) -> str:
    left = f", left shapedirs {convention.left_shapedirs}" if convention.left_shapedirs else ""
    return (
        f"declared: relative to the {convention.relative_to} hand, translation is "
        f"{convention.translation}{left}"
    )


def _faults(hands: Mapping[str, Array], recorded: Array) -> Array:
    """Why a frame cannot be read (T,): a hand that is there in part only."""
    said = np.full(len(recorded), "", dtype="<U60")
    needed = (("pose", (2, 3)), ("betas", (2,)), ("transl", (2,)))
    for side, side_name in enumerate(SIDES):
        for name, axes in needed:
            finite = np.isfinite(hands[name]).all(axis=axes)[:, side]
            said[recorded[:, side] & ~finite & (said == "")] = f"{side_name} {name} is not finite"
            huge = (np.abs(hands[name]) > MOST).any(axis=axes)[:, side]
            said[recorded[:, side] & huge & (said == "")] = f"{side_name} {name} is beyond {MOST:g}"
        joints = hands["joints"][:, side]
        torn = np.isinf(joints).any(axis=(1, 2)) | (
            np.isnan(joints).any(axis=2) != np.isnan(joints).all(axis=2)
        ).any(axis=1)
        said[recorded[:, side] & torn & (said == "")] = f"{side_name} joints are not finite"
        huge = (np.abs(joints) > MOST).any(axis=(1, 2))
        said[recorded[:, side] & huge & (said == "")] = f"{side_name} joints are beyond {MOST:g}"
        with np.errstate(over="ignore"):
            turn = np.linalg.norm(hands["pose"][:, side], axis=-1)
        far = (turn > _MOST_RAD).any(axis=1)
        said[far & (said == "")] = f"{side_name} pose turns over 720 degrees; not in radians?"
    said[~recorded.any(axis=1) & (said == "")] = "holds no hand"
    return said


def _both_sides(
    path: Path, arrays: Mapping[str, Array], convention: Convention
) -> dict[str, Array]:
    """pose (T, 2, 16, 3), betas, transl, joints of both sides, NaN where there are none."""
    per_side: list[dict[str, Array] | None] = [
        _one_hand(path, arrays, prefix=f"{side}_") for side in SIDES
    ]
    plain = _one_hand(path, arrays, prefix="")
    if plain is not None:
        if any(hand is not None for hand in per_side):
            raise DataError(f"{path}: holds poses with a side in their names and without one")
        if plain["pose"].ndim == 4:
            per_side = [{key: value[:, side] for key, value in plain.items()} for side in (0, 1)]
        else:
            side = SIDES.index(_hand_of(path, convention))
            per_side[side] = plain
    given = [hand for hand in per_side if hand is not None]
    if not given:
        raise DataError(
            f"{path}: holds no pose, right_pose or left_pose; it has {', '.join(arrays) or 'none'}"
        )
    T = len(given[0]["pose"])
    if any(len(hand["pose"]) != T for hand in given):
        raise DataError(f"{path}: right and left have different numbers of frames")
    tails = {
        "pose": (N_MANO_JOINTS, 3),
        "betas": (N_BETAS,),
        "transl": (3,),
        "joints": (N_JOINTS, 3),
    }
    out = {name: np.full((T, 2, *tail), np.nan) for name, tail in tails.items()}
    for side, hand in enumerate(per_side):
        for name, value in (hand or {}).items():
            out[name][:, side] = value
    out["pose"] = out["pose"][:, :, convention.pose_rows]
    out["joints"] = out["joints"][:, :, convention.joint_rows]
    return out


def _hand_of(path: Path, convention: Convention) -> str:
    if not convention.hand:
        raise undeclared(f"{path}: its arrays name no side", ["hand"])
    return convention.hand


def _one_hand(path: Path, arrays: Mapping[str, Array], prefix: str) -> dict[str, Array] | None:
    """One hand's arrays, or both hands' (T, 2, ...) where there is no prefix; None without pose."""

    def named(what: str) -> Array | None:
        keys = [prefix + name for name in _NAMES[what] if prefix + name in arrays]
        if len(keys) > 1:
            raise DataError(f"{path}: {' and '.join(keys)} both say {what}")
        return _numeric(path, keys[0], arrays[keys[0]]) if keys else None

    orientation = named("orientation")
    pose = named("pose") if orientation is None else named("fingers")
    if pose is None:
        return None
    label = f"{path}: {prefix}pose"
    if orientation is not None:
        pose = _joined(label, orientation, pose)
    pose = _as_rotations(label, pose)
    both = pose.ndim == 4
    if both and prefix:
        raise DataError(f"{label} has shape {pose.shape}; one hand has (N, 48) or (N, 16, 3)")
    lead = pose.shape[:-2]
    hand = {"pose": pose}
    for what, tail in (("betas", (N_BETAS,)), ("transl", (3,))):
        value = named(what)
        if value is None:
            raise DataError(f"{path}: has {prefix}pose but no {prefix}{what}")
        hand[what] = _spread(f"{path}: {prefix}{what}", value, lead, tail, one=what == "betas")
    joints = named("joints")
    if joints is not None:
        label = f"{path}: {prefix}joints"
        hand["joints"] = _spread(label, joints, lead, (N_JOINTS, 3), one=False)
    return hand


def _joined(label: str, orientation: Array, fingers: Array) -> Array:
    """Global orientation (..., 3) and 15 finger rotations (..., 45) as one (..., 48)."""
    if fingers.shape[-2:] == (N_MANO_JOINTS - 1, 3):
        fingers = fingers.reshape(*fingers.shape[:-2], 45)
    if orientation.shape[:-1] != fingers.shape[:-1] or orientation.shape[-1] != 3:
        raise DataError(f"{label}: orientation {orientation.shape} and pose {fingers.shape} differ")
    return np.concatenate([orientation, fingers], axis=-1)


def _as_rotations(label: str, pose: Array) -> Array:
    """Pose as (N, 16, 3) or (N, 2, 16, 3)."""
    if pose.shape[-1] == 3 * N_MANO_JOINTS and pose.ndim in (2, 3):
        pose = pose.reshape(*pose.shape[:-1], N_MANO_JOINTS, 3)
    good = pose.shape[-2:] == (N_MANO_JOINTS, 3) and pose.ndim in (3, 4)
    if not good or (pose.ndim == 4 and pose.shape[1] != 2):
        raise DataError(
            f"{label} has shape {pose.shape}; (N, 48) or (N, 16, 3) axis-angle is read, with a "
            "second axis of 2 for right and left; PCA coefficients are not"
        )
    return pose


def _spread(
    label: str, value: Array, lead: tuple[int, ...], tail: tuple[int, ...], *, one: bool
) -> Array:
    """`value` as (*lead, *tail); one: it may be given once for all frames."""
    alone: list[tuple[int, ...]] = [tail, (1, *tail), (*lead[1:], *tail)] if one else []
    if value.shape != (*lead, *tail) and value.shape not in alone:
        raise DataError(f"{label} has shape {value.shape}, not {(*lead, *tail)}")
    return np.broadcast_to(value, (*lead, *tail)).copy()


def _numeric(path: Path, key: str, value: Array) -> Array:
    if value.dtype.kind not in "fiu":
        raise DataError(f"{path}: {key} holds {value.dtype}, not numbers")
    return value.astype(np.float64)


def _numbers_of_frames(path: Path, arrays: Mapping[str, Array], count: int) -> Array:
    if "frames" not in arrays:
        return np.arange(count)
    numbers = arrays["frames"]
    if numbers.shape != (count,) or numbers.dtype.kind not in "iu":
        raise DataError(f"{path}: frames must be {count} whole numbers")
    if len(np.unique(numbers)) != count:
        raise DataError(f"{path}: frames holds a number twice")
    return numbers.astype(np.int64)


def _times(path: Path, arrays: Mapping[str, Array], count: int) -> Array:
    if "timestamps" in arrays:
        times = _numeric(path, "timestamps", arrays["timestamps"])
        if times.shape != (count,):
            raise DataError(f"{path}: timestamps must be {count} numbers")
        return times
    if "fps" in arrays:
        rate = _numeric(path, "fps", arrays["fps"])
        if rate.shape != () or not rate > 0:
            raise DataError(f"{path}: fps must be one number above 0")
        return _numbers_of_frames(path, arrays, count) / float(rate)
    return np.full(count, np.nan)


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of an .npz, keys in small letters, "/" and "." in them as "_"."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {key: archive[key] for key in archive.files}
    except Exception as error:
        # zipfile, zlib and numpy raise many types for broken bytes; none of them is ours.
        why = "holds pickled objects" if "allow_pickle" in str(error) else type(error).__name__
        raise DataError(
            f"{path}: not a whole .npz of plain arrays ({why}); save it with numpy.savez"
        ) from None
    return {key.lower().replace("/", "_").replace(".", "_"): v for key, v in found.items()}

"""The demo's take: two hands of one subject clap, meet, lace and clasp, as a MoCap room sees them.

In: a pair of hand models and a seed. Out: a `DemoTake`, its truth (MANO parameters, joints) beside
what the sensor made of it, and two files: `take.c3d` for the toolkit to read, `truth.npz` to
compare with. The same seed and hand model give the same take.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from twohand500k.conventions import N_BETAS
from twohand500k.demo.choreography import KEYS, Key, pose_of
from twohand500k.demo.posing import Body, TwoHandPose, settle
from twohand500k.demo.sensor import Sensor, measure, write_c3d
from twohand500k.hand.model import HandPair
from twohand500k.hand.rotations import Array, axis_angle_from_matrix, matrix_from_axis_angle

FPS = 120.0
# Flesh gives way: capsules may share this much before a frame is taken apart again, metres.
_OVERLAP = 0.002
_MOST_REPAIRS = 24


@dataclass(frozen=True, eq=False)
class DemoTake:
    """A take and its truth. T frames at `fps`; right hand first everywhere.

    betas (10,): the subject's shape. pose (T, 2, 16, 3) rad, transl (T, 2, 3) m, joints
    (T, 2, 21, 3) m: the truth. points (T, 2, 21, 3) m: measured, NaN where lost. gap (T,) m: least
    room between the two hands' flesh, as capsules. phase (T,): what goes on.
    """

    fps: float
    seed: int
    betas: Array
    pose: Array
    transl: Array
    joints: Array
    points: Array
    gap: Array
    phase: tuple[str, ...]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `take.c3d` and `truth.npz` into `folder`; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        recording, truth = folder / "take.c3d", folder / "truth.npz"
        write_c3d(recording, self.points, self.fps)
        temporary = folder / "truth.npz.tmp"
        with temporary.open("wb") as file:
            np.savez_compressed(
                file,
                fps=self.fps,
                seed=self.seed,
                betas=self.betas,
                pose=self.pose.astype(np.float32),
                transl=self.transl.astype(np.float32),
                joints=self.joints.astype(np.float32),
                points=self.points.astype(np.float32),
                gap=self.gap.astype(np.float32),
                phase=np.array(self.phase),
            )
        os.replace(temporary, truth)
        return recording, truth

    @staticmethod
    def read(truth: Path) -> "DemoTake":
        """The take as `write` left it in truth.npz (arrays rounded to float32)."""
        with np.load(truth, allow_pickle=False) as stored:
            numbers = {
                name: stored[name].astype(np.float64)
                for name in ("betas", "pose", "transl", "joints", "points", "gap")
            }
            return DemoTake(
                fps=float(stored["fps"]),
                seed=int(stored["seed"]),
                phase=tuple(str(name) for name in stored["phase"]),
                **numbers,
            )


def make_take(
    hands: HandPair,
    seed: int = 0,
    *,
    fps: float = FPS,
    sensor: Sensor | None = None,
    keys: tuple[Key, ...] = KEYS,
) -> DemoTake:
    """Make the take: settle the key poses, run through them, breathe, and record.

    The subject's betas are drawn from the seed (standard deviation 0.8, within 1.5).
    """
    rng = np.random.default_rng([seed, 500_000])
    betas = np.clip(rng.normal(scale=0.8, size=N_BETAS), -1.5, 1.5)
    body = Body(hands, betas)
    times, poses = _settled(body, keys)
    frames = np.arange(round((keys[-1].time - keys[0].time) * fps) + 1) / fps + keys[0].time
    motion = _run_through(times, poses, frames)
    # Where two keys' path leads through flesh, its worst frame is settled and becomes a key.
    for _ in range(_MOST_REPAIRS):
        gap = body.gaps(body.joints(motion)).min(axis=(-1, -2))
        worst = int(np.argmin(gap))
        if gap[worst] >= -_OVERLAP or np.min(np.abs(times - frames[worst])) < 0.5 / fps:
            break
        times, poses = _insert(times, poses, frames[worst], settle(body, _at(motion, worst)))
        motion = _run_through(times, poses, frames)
    motion = _tremor(motion, frames, body, rng)
    gap = body.gaps(body.joints(motion)).min(axis=(-1, -2))
    pose, transl = _in_the_room(body, motion, frames, rng)
    joints = np.stack(
        [
            hands[side].with_shape(betas).with_pose(pose[:, side], transl[:, side]).joints
            for side in (0, 1)
        ],
        axis=1,
    )
    starts = np.array([key.time for key in keys])
    at = np.clip(np.searchsorted(starts, frames, side="right") - 1, 0, len(keys) - 1)
    return DemoTake(
        fps=fps,
        seed=seed,
        betas=betas,
        pose=pose,
        transl=transl,
        joints=joints,
        points=measure(joints, fps, sensor or Sensor(), rng),
        gap=gap,
        phase=tuple(keys[k].phase for k in at),
    )


def _settled(body: Body, keys: tuple[Key, ...]) -> tuple[Array, TwoHandPose]:
    """Key times (K,) and their poses, each distinct key settled once."""
    known: dict[Key, TwoHandPose] = {}
    for key in keys:
        name = replace(key, time=0.0, phase="")
        if name not in known:
            known[name] = settle(body, pose_of(key), key.touches, key.clearance)
    poses = [known[replace(key, time=0.0, phase="")] for key in keys]
    return np.array([key.time for key in keys]), TwoHandPose(
        np.stack([pose.angles for pose in poses]),
        np.stack([pose.orientation for pose in poses]),
        np.stack([pose.wrist for pose in poses]),
    )


def _run_through(times: Array, poses: TwoHandPose, frames: Array) -> TwoHandPose:
    """Shape-preserving cubics through the keys: no overshoot past a limit or through a contact.

    Orientations run in the tangent space at the first key's; the take never turns a hand by pi.
    """
    base = matrix_from_axis_angle(poses.orientation[0])
    turned = axis_angle_from_matrix(
        np.swapaxes(base, -1, -2) @ matrix_from_axis_angle(poses.orientation)
    )
    turn = PchipInterpolator(times, turned, axis=0)(frames)
    return TwoHandPose(
        PchipInterpolator(times, poses.angles, axis=0)(frames),
        axis_angle_from_matrix(base @ matrix_from_axis_angle(turn)),
        PchipInterpolator(times, poses.wrist, axis=0)(frames),
    )


def _at(motion: TwoHandPose, frame: int) -> TwoHandPose:
    return TwoHandPose(motion.angles[frame], motion.orientation[frame], motion.wrist[frame])


def _insert(
    times: Array, poses: TwoHandPose, time: float, pose: TwoHandPose
) -> tuple[Array, TwoHandPose]:
    at = int(np.searchsorted(times, time))
    return np.insert(times, at, time), TwoHandPose(
        np.insert(poses.angles, at, pose.angles, axis=0),
        np.insert(poses.orientation, at, pose.orientation, axis=0),
        np.insert(poses.wrist, at, pose.wrist, axis=0),
    )


def _waves(
    frames: Array, shape: tuple[int, ...], hertz: tuple[float, float], rng: np.random.Generator
) -> Array:
    """Smooth noise (T, *shape) of variance 1: five sines each, of drawn frequency and phase."""
    frequency = rng.uniform(*hertz, size=(5, *shape))
    phase = rng.uniform(0, 2 * np.pi, size=(5, *shape))
    time = frames.reshape(-1, 1, *(1 for _ in shape))
    return np.sin(2 * np.pi * frequency * time + phase).sum(axis=1) / np.sqrt(2.5)


def _tremor(
    motion: TwoHandPose, frames: Array, body: Body, rng: np.random.Generator
) -> TwoHandPose:
    """Small restlessness of every joint (0.5 degrees) and of the wrists (0.2 mm), within limits."""
    limits = body.anatomy.limits
    moves = np.any(motion.angles != motion.angles[0], axis=(0, 1))
    angles = motion.angles + moves * np.radians(0.5) * _waves(
        frames, motion.angles.shape[1:], (0.3, 3.0), rng
    )
    return TwoHandPose(
        np.clip(angles, limits[..., 0], limits[..., 1]),
        motion.orientation,
        motion.wrist + 0.0002 * _waves(frames, motion.wrist.shape[1:], (0.5, 6.0), rng),
    )


def _in_the_room(
    body: Body, motion: TwoHandPose, frames: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """MANO pose and transl with both hands carried about the room by the subject's slow sway."""
    pose, transl = body.mano(motion)
    turn = _waves(frames, (3,), (0.05, 0.25), rng) * np.radians([7.0, 14.0, 5.0])
    place = _waves(frames, (3,), (0.05, 0.3), rng) * np.array([0.03, 0.025, 0.03])
    place = place + np.array([0.2, 1.15, 0.4])  # hands at chest height in the room's frame
    R = matrix_from_axis_angle(turn)
    root = np.stack([body.hands[side].with_shape(body.betas).rest_joints[0] for side in (0, 1)])
    wrist = np.einsum("tab,tsb->tsa", R, root + transl) + place[:, None]
    pose = pose.copy()
    pose[:, :, 0] = axis_angle_from_matrix(R[:, None] @ matrix_from_axis_angle(pose[:, :, 0]))
    return pose, wrist - root

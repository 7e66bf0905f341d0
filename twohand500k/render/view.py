"""Where a picture is taken from, and the crop it is.

In: a pair's skins in any frame, a generator. Out: a `View`: the rigid motion into the camera's
frame (x right, y down, z forward) and the intrinsics of the 256 x 256 crop. The camera of which
this is a crop looks elsewhere: hands lie anywhere in a photograph, so the crop's principal point
lies outside of it more often than not, and hands are seen obliquely as they are in photographs.
"""

from dataclasses import dataclass

import numpy as np

from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.shards.schema import IMAGE_SIZE

Array = np.ndarray

# The crop's side over the larger side of the hands' box, and how far its middle strays, in sides.
MARGIN = (1.15, 1.55)
STRAY = 0.05
# Metres from the camera to the pair's middle, and degrees from the optical axis to it.
DISTANCE = (0.4, 1.0)
OFF_AXIS_DEG = 25.0
# How far a head's camera looks down, aside, and is tilted, degrees: a range, two deviations.
_HEAD_DOWN_DEG = (10.0, 70.0)
_HEAD_ASIDE_DEG, _HEAD_ROLL_DEG = 20.0, 12.0
# Metres from wrist to elbow, and the least between the elbows that tells right from left.
_FOREARM, _ELBOWS_APART = 0.25, 0.04
# Cosine above which an arm points at the camera; views tried until none does.
_AT_CAMERA, _TRIED = np.cos(np.radians(42.0)), 24


@dataclass(frozen=True, eq=False)
class View:
    """x_camera = R @ x + t m; (u, v, 1) ~ K @ x_camera, pixels of the crop."""

    R: Array
    t: Array
    K: Array

    @property
    def T_camera_world(self) -> Array:
        """(4, 4)."""
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = self.R, self.t
        return T


def project(K: Array, points: Array) -> Array:
    """Pixels (..., 2) of points (..., 3) m in the camera's frame."""
    pixels = points @ K.T
    return np.asarray(pixels[..., :2] / pixels[..., 2:])


@dataclass(frozen=True, eq=False)
class Body:
    """Which way the person looks whose hands these are: unit forward (3,) and right (3,)."""

    forward: Array
    right: Array


def body_of(wrists: Array, away: Array) -> Body | None:
    """The body that two arms come from: wrists (2, 3) m, away (2, 3) the arms' directions at them.

    It stands where the arms lead, its right where the right elbow is. None where elbows meet, so
    that they tell of no side, or arms come from opposite directions.
    """
    elbows = wrists + _FOREARM * away
    back = away.mean(axis=0)
    across = elbows[0] - elbows[1]
    back_length = np.linalg.norm(back)
    if back_length < 0.3:
        return None
    forward = -back / back_length
    across = across - (across @ forward) * forward
    length = float(np.linalg.norm(across))
    return Body(forward, across / length) if length > _ELBOWS_APART else None


def draw_view(
    points: Array,
    wrists: Array,
    away: Array,
    rng: np.random.Generator,
    *,
    upright: bool = False,
    body: Body | None = None,
) -> View:
    """A view of points (n, 3) m: from anywhere on the sphere, at any roll, each as likely.

    wrists (k, 3) m, away (k, 3): the arms' directions at them. No arm points at the camera: people
    have elbows. upright: the roll is not free, arms come from below or from the sides, as in
    pictures people take of each other. body: the hands are seen by the person's own eyes, or by a
    camera on the head.
    """
    middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
    for _ in range(_TRIED):
        R = _turn(rng) if body is None else _from_the_head(body, rng)
        if upright and body is None:
            leaves = R @ away.mean(axis=0)
            roll = np.arctan2(leaves[0], leaves[1]) + rng.uniform(-1.0, 1.0) * np.radians(75.0)
            R = matrix_from_axis_angle(np.array([0.0, 0.0, roll])) @ R
        distance = rng.uniform(*DISTANCE)
        off = np.tan(np.radians(OFF_AXIS_DEG)) * np.sqrt(rng.random())
        angle = rng.uniform(0, 2 * np.pi)
        place = distance * np.array([off * np.cos(angle), off * np.sin(angle), 1.0])
        t = place - R @ middle
        to_camera = -R.T @ t - wrists
        to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
        if ((to_camera * away).sum(axis=1) < _AT_CAMERA).all():
            break
    return View(R, t, crop_of(points @ R.T + t, rng.uniform(*MARGIN), STRAY * _disc(rng)))


def _from_the_head(body: Body, rng: np.random.Generator) -> Array:
    """The rotation into a head's camera: it looks down at the hands, the right hand's arm comes
    from below on the right."""
    up = np.cross(body.right, body.forward)
    down, aside, roll = np.radians(
        [
            rng.uniform(*_HEAD_DOWN_DEG),
            rng.normal(0, _HEAD_ASIDE_DEG),
            rng.normal(0, _HEAD_ROLL_DEG),
        ]
    )
    level = np.cos(aside) * body.forward + np.sin(aside) * body.right
    looks = np.cos(down) * level - np.sin(down) * up
    right = np.cross(looks, up)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(looks, right), looks])
    return np.asarray(matrix_from_axis_angle(np.array([0.0, 0.0, roll])) @ R)


def crop_of(
    points: Array, margin: float, stray: Array | None = None, K: Array | None = None
) -> Array:
    """Intrinsics (3, 3) of the square crop about points (n, 3) m in the camera's frame.

    margin: its side over the larger side of the points' box in the picture. stray (2,): its middle
    off the box's, in sides. K: of the picture that is cropped, by default one of unit focal length.
    """
    K = np.eye(3) if K is None else K
    pixels = project(K, points)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    side = margin * float((high - low).max())
    middle = 0.5 * (low + high) + (0.0 if stray is None else side * stray)
    to_crop = np.array(
        [[1, 0, side / 2 - middle[0]], [0, 1, side / 2 - middle[1]], [0, 0, side / IMAGE_SIZE]]
    )
    crop = to_crop @ K
    return np.asarray(crop / crop[2, 2])


def _turn(rng: np.random.Generator) -> Array:
    """A rotation, each as likely (Shoemake)."""
    q = rng.standard_normal(4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _disc(rng: np.random.Generator) -> Array:
    angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
    return reach * np.array([np.cos(angle), np.sin(angle)])

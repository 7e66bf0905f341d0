"""Two hands in one picture: what is inside both drawn red, and where to look from.

In: a hand pair and its two posed skins (V, 3), metres. Out: pictures and cameras. The red is the
intersection of the closed skins, drawn as if the skin over it were glass; it is for the eye alone
(a fist counts its own overlap twice), the numbers are the judge's.
"""

from collections.abc import Sequence

import manifold3d
import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.rotations import Array
from twohand500k.pictures.camera import Camera
from twohand500k.pictures.render import BACKDROP, SKIN, Colour, Surface, render_meshes
from twohand500k.pictures.surface import boundary_loops

Skins = tuple[Array, Array]

RED: Colour = (0.93, 0.10, 0.12)
_SHINES_THROUGH = 0.8
# A close-up reaches so far from its middle, at least and at most, metres.
CLOSE_UP = (0.028, 0.06)


def overlap_of(hands: HandPair, skins: Skins) -> manifold3d.Manifold | None:
    """What is inside both hands; None if there is nothing."""
    right, left = (
        manifold3d.Manifold(
            manifold3d.Mesh(
                np.ascontiguousarray(skin, dtype=np.float32),
                np.ascontiguousarray(hands[side].closed_faces, dtype=np.uint32),
            )
        )
        for side, skin in enumerate(skins)
    )
    shared = right ^ left
    return None if shared.is_empty() else shared


def draw_pair(
    hands: HandPair,
    skins: Skins,
    camera: Camera,
    size: tuple[int, int],
    background: Colour = BACKDROP,
) -> np.ndarray:
    """A pair as (height, width, 3) uint8, size = (width, height); its overlap shines through."""
    surfaces = [Surface(skins[s], hands[s].faces, SKIN[s]) for s in (RIGHT, LEFT)]
    picture = render_meshes(surfaces, camera, size, background=background)
    overlap = overlap_of(hands, skins)
    if overlap is None:
        return picture
    mesh = overlap.to_mesh()
    red = Surface(_vertices(mesh), mesh.tri_verts, RED, cap=False)
    shown = render_meshes([red], camera, size, background=None).astype(np.float64)
    cover = _SHINES_THROUGH * shown[..., 3:] / 255
    return np.round(shown[..., :3] * cover + picture * (1 - cover)).astype(np.uint8)


def pair_cameras(hands: HandPair, states: Sequence[Skins], aspect: float) -> tuple[Camera, Camera]:
    """One view of both hands through all `states`, and one of the first's largest overlap, from
    where least lies before it. aspect = width / height.

    The direction is one of two hundred: few points of the skins between viewer and overlap, the
    hands spread wide, seen neither from their fingertips nor along their arms.
    """
    first = states[0]
    points = np.concatenate(first)
    middle, reach = _place(hands, first)
    wrists = [skin[boundary_loops(hands[s].faces)[0]] for s, skin in enumerate(first)]
    up = points.mean(axis=0) - np.concatenate(wrists).mean(axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    around, flat = points - middle, points - points.mean(axis=0)
    best, best_score = np.array([0.0, 0.0, 1.0]), -np.inf
    for direction in _sphere(200):
        ahead = around @ direction
        aside = np.linalg.norm(around - ahead[:, None] * direction, axis=1)
        hidden = np.count_nonzero((aside < 0.010) & (ahead > 0.008))
        across = flat - (flat @ direction)[:, None] * direction
        spread = np.sqrt(np.linalg.eigvalsh(across.T @ across / len(across))[1:].prod())
        score = spread / 0.002 - 0.06 * hidden - 3 * abs(direction @ up)
        if score > best_score:
            best, best_score = direction, score
    everything = np.concatenate([skin for skins in states for skin in skins])
    corners = middle + reach * np.concatenate([np.eye(3), -np.eye(3)])
    return (
        Camera.framing(everything, best, up=up, aspect=aspect),
        Camera.framing(corners, best, up=up, fov_deg=5.0, aspect=aspect, margin=1.0),
    )


def _vertices(mesh: manifold3d.Mesh) -> Array:
    return np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3]


def _place(hands: HandPair, skins: Skins) -> tuple[Array, float]:
    """The middle (3,) of the largest overlap and how far a close-up of it reaches, m; where there
    is none, where the skins are nearest."""
    overlap = overlap_of(hands, skins)
    if overlap is not None:
        largest = max(overlap.decompose(), key=lambda part: part.volume())
        points = _vertices(largest.to_mesh())
        low, high = points.min(axis=0), points.max(axis=0)
        reach = float(np.clip(0.6 * np.linalg.norm(high - low), *CLOSE_UP))
        return (low + high) / 2, reach
    right, left = skins[RIGHT], skins[LEFT]
    distance = np.linalg.norm(right[:, None] - left[None], axis=-1)
    a, b = np.unravel_index(distance.argmin(), distance.shape)
    return (right[a] + left[b]) / 2, CLOSE_UP[0]


def _sphere(count: int) -> Array:
    """Directions (count, 3) spread evenly: a Fibonacci spiral."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)

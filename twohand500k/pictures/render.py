"""Shaded pictures of hands on any machine: a CPU ray caster, no OpenGL, no display.

In: surfaces (vertices, faces, colour), optionally bones to draw over and through them, a `Camera`.
Out: an (height, width, 3 or 4) uint8 picture. Rays go through Embree (`embreex`); every hit is lit
by a soft key light with its shadow, a fill light, and a sky whose visibility from each point of the
surface is counted by rays, so that contacts darken as they do in a photograph (counted at the
points of the refined mesh, a millimetre or two apart on a hand). The same call gives the same
picture bit for bit: sample patterns are fixed, nothing is drawn at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike

from twohand500k.hand.mesh import vertex_normals
from twohand500k.hand.rotations import Array
from twohand500k.pictures.camera import Camera
from twohand500k.pictures.surface import boundary_loops, refine, rods

Colour = tuple[float, float, float]

# sRGB, 0..1. Two skins that differ in lightness as well as in hue, so grey prints keep them apart.
SKIN: tuple[Colour, Colour] = ((0.89, 0.68, 0.58), (0.58, 0.40, 0.32))
BONES: tuple[Colour, Colour] = ((0.86, 0.16, 0.24), (0.10, 0.45, 0.88))
WHITE: Colour = (1.0, 1.0, 1.0)
BACKDROP: Colour = (0.945, 0.95, 0.955)

_SKY_RAYS = 40
_KEY_RAYS = 4
_LIFT = 1.5e-4  # metres; a ray starts this far off the surface, clear of float32 self-hits


@dataclass(frozen=True, eq=False)
class Surface:
    """A skin to draw. vertices (V, 3) m; faces (F, 3), outward counter-clockwise.

    colour: one sRGB triple in 0..1, or (V, 3) for a colour per vertex (a map of residuals, say).
    cap: close open boundaries (the wrist) with a flat cap.
    """

    vertices: Array
    faces: np.ndarray
    colour: "Colour | Array" = SKIN[0]
    cap: bool = True


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Bones to draw. points (K, 3) m, NaN = missing; edges (E, 2) index pairs; radius in metres."""

    points: Array
    edges: np.ndarray
    colour: Colour = BONES[0]
    radius: float = 0.0016


def render_meshes(
    surfaces: "Sequence[Surface | tuple]",
    camera: Camera,
    size: tuple[int, int] = (400, 400),
    *,
    skeletons: Sequence[Skeleton] = (),
    see_through: float = 0.55,
    background: Colour | None = WHITE,
    samples: int = 2,
) -> np.ndarray:
    """Draw `surfaces` as (height, width, 3) uint8, or (height, width, 4) if `background` is None.

    surfaces: `Surface` records or (vertices, faces, colour) tuples, metres. size = (width, height)
    in pixels. skeletons are drawn whole: where skin lies in front of a bone, the bone shows through
    it with strength `see_through` (0 hides it, 1 draws it over the skin). samples: rays per pixel
    along each side. Raises ValueError on vertices that are not finite.
    """
    level = 2 if min(size) <= 360 else 3  # finer facets would not show in a small picture
    meshes = [
        _prepare(item if isinstance(item, Surface) else Surface(*item), level) for item in surfaces
    ]
    bones = [_prepare_bones(item) for item in skeletons if np.isfinite(item.points).any()]
    directions = camera.rays(size, samples)
    shape = directions.shape[:2]
    directions = directions.reshape(-1, 3)
    skin, skin_depth = _draw(meshes, camera, directions, shape[1])
    rgb, alpha = skin[:, :3], skin[:, 3:]
    if bones:
        bone, bone_depth = _draw(bones, camera, directions, shape[1])
        hidden = (bone_depth > skin_depth)[:, None]
        cover = bone[:, 3:] * np.where(hidden, np.float32(see_through), np.float32(1.0))
        rgb = bone[:, :3] * cover + rgb * (1 - cover)
        alpha = np.maximum(alpha, cover)
        # where a bone stands alone, outside the skin, its colour is whole
        alone = (skin[:, 3] == 0) & (bone[:, 3] > 0)
        rgb[alone] = bone[alone, :3]
        alpha[alone] = 1.0
    premultiplied = np.concatenate([rgb * alpha, alpha], axis=1)
    # average in linear light over the samples x samples rays of a pixel
    pixel = premultiplied.reshape(size[1], samples, size[0], samples, 4).mean(axis=(1, 3))
    if background is not None:
        linear = pixel[..., :3] + (1 - pixel[..., 3:]) * _linear(np.array(background))
        return _to_uint8(_srgb(linear))
    colour = pixel[..., :3] / np.maximum(pixel[..., 3:], 1e-6)
    return np.concatenate([_to_uint8(_srgb(colour)), _to_uint8(pixel[..., 3:])], axis=-1)


@dataclass(frozen=True, eq=False)
class _Mesh:
    """Ready to cast: points, unit normals, linear colour per point, faces; how shiny it is."""

    points: Array
    normals: Array
    colours: Array
    faces: np.ndarray
    is_skin: bool


def _prepare(surface: Surface, level: int) -> _Mesh:
    vertices = np.asarray(surface.vertices, dtype=np.float64)
    faces = np.asarray(surface.faces, dtype=np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must be (V, 3), got shape {vertices.shape}")
    if not np.isfinite(vertices).all():
        raise ValueError("cannot draw vertices that are not finite")
    colour = np.broadcast_to(np.asarray(surface.colour, dtype=np.float64), vertices.shape)
    linear = _linear(colour)
    normals = vertex_normals(vertices, faces)
    points, smooth, fine, parent, bary = refine(vertices, normals, faces, level)
    carried = np.einsum("pk,pkc->pc", bary, linear[faces[parent]])
    parts = [(points, smooth, carried, fine)]
    for loop in boundary_loops(faces) if surface.cap else []:
        rim = vertices[loop]
        centre = rim.mean(axis=0)
        # the loop runs in the faces' sense, so the cap runs against it
        fan = np.cross(np.roll(rim, -1, axis=0) - centre, rim - centre).sum(axis=0)
        fan /= max(float(np.linalg.norm(fan)), 1e-30)
        count = len(loop)
        around = np.arange(count)
        parts.append(
            (
                np.concatenate([rim, centre[None]]),
                np.tile(fan, (count + 1, 1)),
                np.concatenate([linear[loop], linear[loop].mean(axis=0, keepdims=True)]),
                np.stack([np.roll(around, -1), around, np.full(count, count)], axis=1),
            )
        )
    start = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
    return _Mesh(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] + at for part, at in zip(parts, start, strict=True)]),
        is_skin=True,
    )


def _prepare_bones(skeleton: Skeleton) -> _Mesh:
    points, normals, faces = rods(
        np.asarray(skeleton.points, dtype=np.float64), skeleton.edges, skeleton.radius
    )
    colours = np.broadcast_to(_linear(np.array(skeleton.colour)), points.shape)
    return _Mesh(points, normals, colours, faces, is_skin=False)


def _draw(
    meshes: list[_Mesh], camera: Camera, directions: np.ndarray, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB and coverage (N, 4) float32, and depth (N,) m, for rays (N, 3) from the eye.

    row: how many rays make one row of the picture.
    """
    out = np.zeros((len(directions), 4), dtype=np.float32)
    depth = np.full(len(directions), np.inf, dtype=np.float32)
    meshes = [mesh for mesh in meshes if len(mesh.faces)]
    if not meshes:
        return out, depth
    start = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
    # Embree works in float32: keep the numbers small by casting about the subject's middle.
    everything = np.concatenate([mesh.points for mesh in meshes])
    origin = (everything.min(axis=0) + everything.max(axis=0)) / 2
    points = (everything - origin).astype(np.float32)
    normals = np.concatenate([mesh.normals for mesh in meshes]).astype(np.float32)
    colours = np.concatenate([mesh.colours for mesh in meshes]).astype(np.float32)
    faces = np.concatenate(
        [mesh.faces + at for mesh, at in zip(meshes, start, strict=True)]
    ).astype(np.int32)
    face_is_skin = np.concatenate([np.full(len(mesh.faces), mesh.is_skin) for mesh in meshes])
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(points[faces]))
    eye = (camera.eye - origin).astype(np.float32)
    axes = camera.axes.astype(np.float32)

    seen = _box_mask(points, eye, axes, directions)
    rays = np.ascontiguousarray(directions[seen])
    hit = scene.run(np.broadcast_to(eye, rays.shape).copy(), rays, output=True)
    struck = hit["primID"] >= 0
    index = np.flatnonzero(seen)[struck]
    face = hit["primID"][struck]
    u, v = hit["u"][struck], hit["v"][struck]
    distance = hit["tfar"][struck]
    rays = rays[struck]
    bary = np.stack([1 - u - v, u, v], axis=1)
    corner = faces[face]
    if any(mesh.is_skin for mesh in meshes):
        sky = _sky_light(scene, points, normals, colours, axes)
    else:  # a drawing of bones needs no sky
        sky = np.full_like(points, 0.8)
    position = eye + rays * distance[:, None]
    # one gather for all that is carried by the vertices: normal, colour, sky light
    carried = np.concatenate([normals, colours, sky], axis=1)
    carried = (
        bary[:, :1] * carried[corner[:, 0]]
        + bary[:, 1:2] * carried[corner[:, 1]]
        + bary[:, 2:] * carried[corner[:, 2]]
    )
    normal, albedo, ambient = (np.ascontiguousarray(part) for part in np.split(carried, 3, axis=1))
    normal /= np.maximum(np.sqrt(np.einsum("nc,nc->n", normal, normal)), 1e-12)[:, None]
    facing = np.einsum("nc,nc->n", normal, rays)
    # a smooth normal may lean away from the viewer at the outline; the inside of a skin is turned
    geometric = -hit["Ng"][struck]
    geometric /= np.maximum(np.sqrt(np.einsum("nc,nc->n", geometric, geometric)), 1e-20)[:, None]
    geometric *= np.sign(np.einsum("nc,nc->n", geometric, normal) + 1e-12)[:, None]
    inside = np.einsum("nc,nc->n", geometric, rays) > 0
    normal[inside] *= -1
    geometric[inside] *= -1
    facing = np.minimum(np.einsum("nc,nc->n", normal, rays), -0.02)
    ambient[inside] *= 0.35
    colour = _shade(
        scene,
        position,
        normal,
        geometric,
        -facing,
        rays,
        albedo,
        ambient,
        face_is_skin[face],
        axes,
        (index % row, index // row),
    )
    out[index, :3] = colour
    out[index, 3] = 1.0
    depth[index] = distance
    return out, depth


def _box_mask(
    points: np.ndarray, eye: np.ndarray, axes: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Which rays (N, 3) can meet the points' outline box at all, (N,) bool."""
    local = (points - eye) @ axes.T
    if (local[:, 2] > -1e-3).any():
        return np.ones(len(directions), dtype=bool)
    slope = local[:, :2] / -local[:, 2:]
    low, high = slope.min(axis=0) - 1e-4, slope.max(axis=0) + 1e-4
    ray = directions @ axes.T
    ray = ray[:, :2] / -ray[:, 2:]
    return np.all((ray >= low) & (ray <= high), axis=1)


def _hemisphere(count: int) -> np.ndarray:
    """Cosine-weighted directions (count, 3) about +z on a Fibonacci spiral."""
    k = np.arange(count) + 0.5
    radius = np.sqrt(k / count)
    turn = np.pi * (1 + 5**0.5) * k
    return np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1 - k / count)], axis=1
    ).astype(np.float32)


def _sky_light(
    scene: EmbreeScene,
    points: np.ndarray,
    normals: np.ndarray,
    colours: np.ndarray,
    axes: np.ndarray,
) -> np.ndarray:
    """Sky light (P, 3) arriving at every point of the surface, occluders taken into account.

    What a blocked ray loses comes back in part with the colour of the skin: light between two
    fingers is red, not grey. Points that coincide are lit once.
    """
    key = np.round(points * 2e5).astype(np.int64)  # 5 micrometres
    _, first, back = np.unique(
        (key[:, 0] * 2_000_003 + key[:, 1]) * 2_000_003 + key[:, 2],
        return_index=True,
        return_inverse=True,
    )
    at, normal, own = points[first], normals[first], colours[first]
    pattern = _hemisphere(_SKY_RAYS)
    # a frame about each normal, turned by a fixed sequence so that the pattern leaves no bands
    helper = np.where(np.abs(normal[:, :1]) < 0.7, _f32([[1, 0, 0]]), _f32([[0, 1, 0]]))
    tangent = np.cross(normal, helper)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    other = np.cross(normal, tangent)
    frame = np.stack([tangent, other, normal], axis=1)
    direction = (pattern @ frame).astype(np.float32)
    start = np.repeat(at + normal * np.float32(4 * _LIFT), _SKY_RAYS, axis=0)
    flat = np.ascontiguousarray(direction.reshape(-1, 3))
    hit = scene.run(start, flat, query="OCCLUDED") >= 0
    open_sky = ~hit.reshape(-1, _SKY_RAYS)
    up = np.float32(0.5) + np.float32(0.5) * (direction @ axes[1])
    zenith = _f32([1.0, 1.02, 1.06])
    ground = _f32([0.52, 0.48, 0.46])
    weight = (open_sky * up).mean(axis=1)[:, None]
    free = open_sky.mean(axis=1, dtype=np.float32)[:, None]
    light = ground * (free - weight) + zenith * weight + np.float32(0.35) * own * (1 - free)
    return light[back].astype(np.float32)


def _shade(
    scene: EmbreeScene,
    position: np.ndarray,
    normal: np.ndarray,
    geometric: np.ndarray,
    facing: np.ndarray,
    rays: np.ndarray,
    albedo: np.ndarray,
    ambient: np.ndarray,
    is_skin: np.ndarray,
    axes: np.ndarray,
    sample: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Linear RGB (N, 3): key light with a soft shadow, fill, sky, a broad and a narrow highlight.

    sample: column and row of each ray in the picture, which place its rays to the key light.
    """
    key = _f32([-0.50, 0.62, 0.60]) @ axes
    fill = _f32([0.80, 0.05, 0.55]) @ axes
    key, fill = key / np.linalg.norm(key), fill / np.linalg.norm(fill)
    towards_key = normal @ key
    lit = np.flatnonzero(towards_key > -0.35)
    shadow = np.zeros(len(normal), dtype=np.float32)
    if len(lit):
        across = np.cross(key, axes[1])
        across /= np.linalg.norm(across)
        along = np.cross(key, across)
        # A square light 0.2 wide seen from 1 away, cut into 4 x 4 cells: every ray aims at four of
        # them, the four rays of a 2 x 2 block at all sixteen, each block with its own offset.
        # Where light grazes, facets of a smooth skin would shade one another: start further off.
        lift = np.float32(_LIFT) * (2.5 + 8 * (1 - np.clip(towards_key[lit], 0, 1)))
        start = np.repeat(position[lit] + geometric[lit] * lift[:, None], _KEY_RAYS, axis=0)
        column, row = sample[0][lit], sample[1][lit]
        offset = _scatter(column // 2, row // 2)
        turn = np.arange(_KEY_RAYS)[None, :]
        x = ((column % 2 + 2 * (row % 2))[:, None] + turn) % 4 + offset[:, :1]
        y = turn + offset[:, 1:]
        aim = (
            key
            + (0.2 / 4 * (x.reshape(-1, 1) - 2)).astype(np.float32) * across
            + (0.2 / 4 * (y.reshape(-1, 1) - 2)).astype(np.float32) * along
        )
        aim /= np.linalg.norm(aim, axis=1, keepdims=True)
        blocked = scene.run(start, aim, query="OCCLUDED") >= 0
        shadow[lit] = 1 - blocked.reshape(-1, _KEY_RAYS).mean(axis=1, dtype=np.float32)
    # light that enters skin leaves it a little further on, red furthest: wrap by channel
    wrap = np.where(is_skin[:, None], _f32([0.26, 0.13, 0.09]), np.float32(0.05))
    key_diffuse = np.clip((towards_key[:, None] + wrap) / (1 + wrap), 0, None)
    fill_diffuse = np.clip(normal @ fill * np.float32(0.75) + np.float32(0.25), 0, None)[:, None]
    openness = ambient.mean(axis=1, keepdims=True)
    light = (
        _f32([1.16, 1.12, 1.06]) * key_diffuse * shadow[:, None]
        + _f32([0.26, 0.28, 0.32]) * fill_diffuse * openness
        + np.float32(0.58) * ambient
    )
    # bones are a drawing, not a photograph: keep them readable in deep shadow
    light = np.where(is_skin[:, None], light, np.float32(0.45) + np.float32(0.5) * light)
    colour = albedo * light
    for source, strength in ((key, shadow), (fill, np.float32(0.35) * openness[:, 0])):
        half = source - rays
        half /= np.sqrt(np.einsum("nc,nc->n", half, half))[:, None]
        cosine = np.clip(np.einsum("nc,nc->n", normal, half), 0, 1)
        above = np.clip(normal @ source * 4, 0, 1)
        broad = (cosine * cosine) ** 2
        broad = (broad * broad) ** 2
        sheen = np.float32(0.055) * broad + np.float32(0.05) * (broad * broad) ** 2
        colour += (sheen * above * strength)[:, None]
    grazing = (1 - np.clip(facing, 0, 1)) ** 2
    colour += (np.float32(0.10) * grazing * grazing * openness[:, 0])[:, None]
    # a shoulder above 0.8, so that highlights roll off instead of clipping
    over = np.maximum(colour - np.float32(0.8), 0)
    return np.minimum(colour, np.float32(0.8)) + np.float32(0.2) * (1 - np.exp(-over * 5))


def _scatter(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Two numbers in 0..1 (N, 2) that look random but depend on the place alone."""
    key = column.astype(np.uint32) * np.uint32(0x9E3779B1) ^ row.astype(np.uint32) * np.uint32(
        0x85EBCA77
    )
    key = (key ^ (key >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    key = (key ^ (key >> np.uint32(12))) * np.uint32(0x297A2D39)
    key ^= key >> np.uint32(15)
    return np.stack([key & np.uint32(0xFFFF), key >> np.uint32(16)], axis=1) / 65536.0


def _f32(numbers: Sequence) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def _linear(srgb: ArrayLike) -> Array:
    srgb = np.asarray(srgb, dtype=np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)


def _srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _to_uint8(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)

"""One picture: a pair, a view, a look, put together, rasterised, shaded, photographed.

In: the hands of one sample, an id and a seed. Out: a `Picture`, the image and every label of it.
"""

from dataclasses import dataclass, field

import numpy as np

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.hand import HandPair
from twohand500k.hand.rigid import moved_rigidly
from twohand500k.hand.rotations import matrix_from_axis_angle
from twohand500k.render import labels, shading
from twohand500k.render.arms import Arm, draw_arm, draw_sleeve
from twohand500k.render.ground import draw_ground
from twohand500k.render.lens import photograph
from twohand500k.render.looks import Look, albedo_of, draw_look, draw_stuff
from twohand500k.render.occlusion import balls_along, bone_thickness, open_sky
from twohand500k.render.raster import NOTHING, rasterise
from twohand500k.render.surface import (
    ALONG,
    CREASE,
    DORSAL,
    NAIL_ACROSS,
    NAIL_ALONG,
    PALMAR,
    RED,
    HandSurface,
)
from twohand500k.render.things import draw_thing
from twohand500k.render.view import View, body_of, draw_view, project
from twohand500k.shards.schema import IMAGE_SIZE

Array = np.ndarray

# Cells of the raster along a pixel's side; the shader is written for two.
FINE = 2
# Parts of a scene: hands, their arms, sleeves, then things. A label map holds them.
_ARM, _SLEEVE, _THINGS = 2, 4, 6
_SHADOW_CELLS = 320
# Rings of an arm that take light from the hands.
_NEAR_RINGS = 7
_PIXEL_MARKS = (CREASE, ALONG, DORSAL, NAIL_ALONG, NAIL_ACROSS)


@dataclass(frozen=True, eq=False)
class Pair:
    """The hands of a sample in its dataset's frame: pose (2, 16, 3), betas (2, 10), transl (2, 3),
    present (2,) bool."""

    pose: Array
    betas: Array
    transl: Array
    present: Array


@dataclass(frozen=True, eq=False)
class Picture:
    """image (256, 256, 3) u1, mask (2, 64, 64) u1, uv (2, 21, 2) px, visible (2, 21), hidden (2,),
    the view, and the pair in the camera's frame: pose, transl, joints; NaN for a hand not there."""

    image: Array
    mask: Array
    uv: Array
    visible: Array
    hidden: Array
    view: View
    pose: Array
    transl: Array
    joints: Array


@dataclass(frozen=True)
class PictureOptions:
    """What may be asked of pictures. occluded: share that has things before the hands. upright:
    share in which arms come from below or the sides instead of anywhere. ego: share seen by the
    person's own eyes."""

    occluded: float = 0.25
    upright: float = 0.0
    ego: float = 0.0


@dataclass
class _Scene:
    """Meshes so far; closed skins first."""

    points: list[Array] = field(default_factory=list)
    attributes: list[Array] = field(default_factory=list)
    faces: list[Array] = field(default_factory=list)
    part: list[Array] = field(default_factory=list)
    materials: list[Array] = field(default_factory=list)
    size: int = 0

    def add(self, points: Array, attributes: Array, faces: Array, parts: Array) -> None:
        self.points.append(points)
        self.attributes.append(attributes)
        self.faces.append((faces + self.size).astype(np.int32))
        self.part.append(parts.astype(np.int32))
        self.size += len(points)


def draw_picture(
    hands: HandPair, pair: Pair, options: PictureOptions, rng: np.random.Generator
) -> Picture:
    """A picture of a pair. Its draws come from `rng` in a fixed order."""
    sides = [side for side in (RIGHT, LEFT) if pair.present[side]]
    posed = {
        s: hands[s].with_shape(pair.betas[s]).with_pose(pair.pose[s], pair.transl[s]) for s in sides
    }
    surfaces = {s: HandSurface.of(hands[s]) for s in sides}
    kind = rng.random()
    away = np.array([posed[s].T_world_joint[0, :3, 0] * (1 if s == RIGHT else -1) for s in sides])
    wrists = np.stack([posed[s].joints[0] for s in sides])
    # Where there is no telling where the body is, at least no arm comes from above.
    body = body_of(wrists, away) if kind < options.ego and len(sides) == 2 else None
    view = draw_view(
        np.concatenate([posed[s].vertices for s in sides]), wrists, away, rng,
        upright=kind < options.ego + options.upright, body=body,
    )  # fmt: skip
    pose, transl, joints, skins = seen_from(hands, pair, view)
    look = draw_look(rng)
    radii = {s: bone_thickness(hands[s], pair.betas[s]) for s in sides}
    scene = _Scene()
    arms = _add_hands(scene, surfaces, skins, joints, pose, radii, look, rng)
    closed = sum(map(len, scene.faces))
    _add_sleeves(scene, arms, skins, look, rng)
    behind = max(float(skins[s][:, 2].max()) for s in sides)
    covered = rng.random() < options.occluded
    if covered:
        _add_things(scene, np.concatenate([skins[s] for s in sides]), rng)
    points = np.concatenate(scene.points)
    faces, part = np.concatenate(scene.faces), np.concatenate(scene.part)
    xy, inverse_depth = on_raster(view.K, points, FINE)
    size = FINE * IMAGE_SIZE
    face, nearest = rasterise(xy, inverse_depth, faces, (size, size), closed)
    shadow = _shadow(look.light, points, faces, np.concatenate([skins[s] for s in sides]))
    radiance = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3))
    cover = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    light = look.light.packed.copy()
    light[-1] *= float(np.linalg.norm(shadow.axes[0]))  # metres to cells
    shading.shade(
        faces, part, xy, inverse_depth, np.concatenate(scene.attributes).astype(np.float32),
        np.array(scene.materials), light, shadow.nearness, shadow.axes, shadow.offset,
        shading.noise_volume(), face, nearest, 0.004, radiance, cover,
    )  # fmt: skip
    ground = draw_ground(look, view.K, behind, shadow, IMAGE_SIZE, rng)
    radiance += (1.0 - cover)[..., None] * ground
    label = np.where(face == NOTHING, -1, part[face])
    mask, uv, visible, hidden = labelled(
        hands, view, {s: skins[s] for s in sides}, joints, radii, label, nearest
    )
    subject = labels.share_of(label < _SLEEVE, FINE) * cover
    image = photograph(radiance, subject, rng, dark=look.studio)
    return Picture(image, mask, uv, visible, hidden, view, pose, transl, joints)


def seen_from(
    hands: HandPair, pair: Pair, view: View
) -> tuple[Array, Array, Array, dict[int, Array]]:
    """Pose, transl, joints of the pair in the camera's frame, as they are stored (float32), and the
    skins (V, 3) of those there are; NaN where a hand is absent."""
    J0 = np.stack([hands[s].with_shape(pair.betas[s]).rest_joints[0] for s in (RIGHT, LEFT)])
    pose, transl = moved_rigidly(pair.pose, pair.transl, J0, view.R, view.t)
    pose, transl = (a.astype(np.float32).astype(np.float64) for a in (pose, transl))
    joints = np.full((2, 21, 3), np.nan)
    skins: dict[int, Array] = {}
    for s in (RIGHT, LEFT):
        if not pair.present[s]:
            pose[s] = transl[s] = np.nan
            continue
        moved = hands[s].with_shape(pair.betas[s]).with_pose(pose[s], transl[s])
        joints[s], skins[s] = moved.joints, moved.vertices
    return pose, transl, joints, skins


def labelled(
    hands: HandPair,
    view: View,
    skins: dict[int, Array],
    joints: Array,
    radii: dict[int, Array],
    label: Array,
    nearest: Array,
) -> tuple[Array, Array, Array, Array]:
    """mask, uv, visible and hidden of a picture with this label map and nearness (H, W)."""
    uv = np.full((2, 21, 2), np.nan)
    visible = np.zeros((2, 21), dtype=bool)
    hidden = np.full(2, np.nan)
    owner = np.where(label >= _SLEEVE, -1, label % 2)
    owner[label < 0] = -1
    for s, skin in skins.items():
        uv[s] = project(view.K, joints[s])
        visible[s] = labels.visible_joints(
            uv[s], joints[s][:, 2], labels.flesh_before(radii[s]), s, owner, nearest
        )
        # Half a cell a pixel is enough for a share.
        half = np.diag([0.5, 0.5, 1.0]) @ view.K
        half[:2, 2] += labels.BEYOND * IMAGE_SIZE / 2
        n = int(IMAGE_SIZE / 2 * (1 + 2 * labels.BEYOND))
        xy, inverse_depth = on_raster(half, skin, 1)
        alone, _ = rasterise(xy, inverse_depth, hands[s].closed_faces.astype(np.int32), (n, n))
        hidden[s] = labels.hidden_share(alone != NOTHING, label, s)
    return labels.masks_of(label), uv, visible, hidden


def on_raster(K: Array, points: Array, fine: int) -> tuple[Array, Array]:
    """Cells (P, 2) of a raster `fine` times as fine as K's pixels, and 1 / depth (P,), of points
    (P, 3) m; NaN for what is not well before the camera."""
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = fine * project(K, points)
        inverse = 1.0 / points[:, 2]
    xy[points[:, 2] < 0.02] = np.nan
    return xy, inverse


def _add_hands(
    scene: _Scene,
    surfaces: dict[int, HandSurface],
    skins: dict[int, Array],
    joints: Array,
    pose: Array,
    radii: dict[int, Array],
    look: Look,
    rng: np.random.Generator,
) -> dict[int, Arm]:
    """Both hands with their arms, and where those are. Materials 0..3 are theirs."""
    arms: dict[int, Arm] = {}
    balls = {s: balls_along(joints[s], radii[s]) for s in skins}
    scene.materials = [look.skin[s].material for s in (RIGHT, LEFT)] * 2
    for s, surface in surfaces.items():
        others = [skins[o][::3] for o in skins if o != s]
        others += [arms[o].middle for o in arms]
        R = matrix_from_axis_angle(pose[s, 0])
        gathered = np.concatenate(others) if others else np.empty((0, 3))
        arms[s] = draw_arm(surface, skins[s], R, gathered, rng)
    centres = np.concatenate(
        [balls[s][0] for s in skins] + [arms[s].middle[2 : 2 + _NEAR_RINGS] for s in arms]
    )
    sizes = np.concatenate(
        [balls[s][1] for s in skins] + [np.full(_NEAR_RINGS, 0.026) for _ in arms]
    )
    for s, surface in surfaces.items():
        skin = look.skin[s]
        control = np.concatenate([skins[s], arms[s].rings])
        points, normals = surface.points(control, skin.relief)
        n_control = len(control)
        sky = open_sky(control, normals[:n_control], centres, sizes)
        attributes = np.empty((len(points), shading.N_ATTRIBUTES))
        attributes[:, :3], attributes[:, 3:6] = normals, points
        # The left hand's texture is the right's seen in a mirror, drawn from another place.
        sign = np.array([1.0 if surface.model.side == "right" else -1.0, 1.0, 1.0])
        attributes[:, 6:9] = surface.rest * sign
        attributes[:, 9:12] = albedo_of(skin, surface.marks[:, PALMAR], surface.marks[:, RED])
        attributes[:, 12] = surface.spread(sky)
        attributes[:, 13:] = surface.marks[:, _PIXEL_MARKS]
        parts = np.full(len(surface.faces), s)
        parts[surface.n_hand :] = _ARM + s
        scene.add(points, attributes, surface.faces, parts)
    return arms


def _add_sleeves(
    scene: _Scene, arms: dict[int, Arm], skins: dict[int, Array], look: Look,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    scene.materials += [look.cloth, look.cloth]
    for s, arm in arms.items():
        if look.sleeve[s] is None:
            continue
        others = [skins[o][::4] for o in skins if o != s] + [arms[o].middle for o in arms if o != s]
        gathered = np.concatenate(others) if others else np.empty((0, 3))
        sleeve = draw_sleeve(arm, gathered, look.cuff[s], rng)
        if sleeve is not None:
            _add_plain(scene, sleeve.points, sleeve.rest, sleeve.faces, _SLEEVE + s, None)


def _add_things(scene: _Scene, hands: Array, rng: np.random.Generator) -> None:
    for k in range(int(rng.integers(1, 4))):
        thing = draw_thing(hands, rng)
        scene.materials.append(draw_stuff(rng))
        _add_plain(scene, thing.points, thing.rest, thing.faces, _THINGS + k, thing.normals)


def _add_plain(
    scene: _Scene, points: Array, rest: Array, faces: Array, part: int, normals: Array | None
) -> None:
    """A mesh of one colour, its material's."""
    from twohand500k.render.surface import point_normals

    attributes = np.zeros((len(points), shading.N_ATTRIBUTES))
    attributes[:, :3] = point_normals(points, faces) if normals is None else normals
    attributes[:, 3:6], attributes[:, 6:9] = points, rest
    material = scene.materials[part]
    attributes[:, 9:12] = material[shading.NAIL : shading.NAIL + 3]
    if material[shading.PATTERN] == shading.PLAIN:
        attributes[:, 9:12] = material[shading.OTHER : shading.OTHER + 3]
    attributes[:, 12] = 0.9
    scene.add(points, attributes, faces, np.full(len(faces), part))


def _shadow(light: shading.Light, points: Array, faces: Array, hands: Array) -> shading.Shadow:
    """What the key light sees, about the hands."""
    u = np.cross(light.key, np.eye(3)[np.argmin(np.abs(light.key))])
    u /= np.linalg.norm(u)
    axes = np.stack([u, np.cross(light.key, u), light.key])
    flat = hands @ axes[:2].T
    low, high = flat.min(axis=0) - 0.05, flat.max(axis=0) + 0.05
    scale = _SHADOW_CELLS / float((high - low).max())
    axes[:2] *= scale
    offset = -scale * low
    xy = points @ axes[:2].T + offset
    nearness = points @ axes[2]
    _, nearest = rasterise(xy, nearness, faces, (_SHADOW_CELLS, _SHADOW_CELLS))
    return shading.Shadow(nearest, axes, offset)

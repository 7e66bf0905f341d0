"""One picture: the rasteriser against a naive twin, labels against planted scenes, views."""

import numpy as np
import pytest
from splice_fixture import Hands, bank, hands

from twohand500k.conventions import LEFT, RIGHT
from twohand500k.pipeline import rng_for
from twohand500k.render import Pair, PictureOptions, draw_picture
from twohand500k.render.labels import BEYOND, hidden_share, masks_of, share_of
from twohand500k.render.occlusion import bone_thickness
from twohand500k.render.picture import labelled, on_raster, seen_from
from twohand500k.render.raster import NOTHING, rasterise
from twohand500k.render.stage import pair_of
from twohand500k.render.view import View, body_of, draw_view, project
from twohand500k.shards import Dataset
from twohand500k.shards.schema import IMAGE_SIZE


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    folder = bank(tmp_path_factory.mktemp("pairs") / "b", Hands("drawn", "both", "train", 6))
    samples = Dataset(folder).samples()
    out = [pair_of(samples, row) for row in range(len(samples))]
    for pair in out:
        # Side by side: a span apart.
        pair.transl[RIGHT], pair.transl[LEFT] = [0.0, 0, 0], [0.0, 0, 0.12]
    return out


def straight(pair: Pair) -> View:
    """A camera half a metre before a pair."""
    K = np.array([[420.0, 0, 128], [0, 420.0, 128], [0, 0, 1]])
    points = np.concatenate(
        [
            hands()[s].with_shape(pair.betas[s]).with_pose(pair.pose[s], pair.transl[s]).vertices
            for s in (RIGHT, LEFT)
        ]
    )
    middle = 0.5 * (points.min(0) + points.max(0))
    return View(np.eye(3), np.array([0, 0, 0.5]) - middle, K)


# The rasteriser


def test_the_rasteriser_against_points_in_triangles() -> None:
    rng = np.random.default_rng(4)
    xy = rng.uniform(-5, 45, (60, 2))
    near = rng.uniform(1, 2, 60)
    faces = rng.integers(0, 60, (40, 3))
    faces = faces[(np.diff(np.sort(faces, axis=1), axis=1) > 0).all(1)].astype(np.int32)
    face, nearest = rasterise(xy, near, faces, (40, 40))
    for i in range(40):
        for j in range(40):
            best, depth = NOTHING, -np.inf
            for f, (a, b, c) in enumerate(faces):
                M = np.array([xy[b] - xy[a], xy[c] - xy[a]]).T
                s, t = np.linalg.solve(M, np.array([j + 0.5, i + 0.5]) - xy[a])
                if min(s, t, 1 - s - t) < 0:
                    continue
                z = near[a] + s * (near[b] - near[a]) + t * (near[c] - near[a])
                if z > depth:
                    best, depth = f, z
            assert face[i, j] == best
            if best != NOTHING:
                assert nearest[i, j] == pytest.approx(depth, abs=1e-5)


def test_a_face_with_a_corner_that_cannot_be_seen_is_left_out() -> None:
    xy = np.array([[0.0, 0], [9, 0], [0, 9], [np.nan, np.nan]])
    faces = np.array([[0, 1, 3], [0, 1, 2]], dtype=np.int32)
    face, _ = rasterise(xy, np.ones(4), faces, (10, 10))
    assert set(np.unique(face)) == {NOTHING, 1}


def test_only_the_outside_of_a_closed_skin_is_seen(pairs: list[Pair]) -> None:
    """Both ways of drawing a closed skin agree: its front hides its back."""
    _, _, _, skins = seen_from(hands(), pairs[0], straight(pairs[0]))
    xy, near = on_raster(straight(pairs[0]).K, skins[RIGHT], 1)
    faces = hands().right.closed_faces.astype(np.int32)
    both, _ = rasterise(xy, near, faces, (256, 256))
    front, _ = rasterise(xy, near, faces, (256, 256), len(faces))
    assert (both != NOTHING).sum() > 2000
    assert ((both == NOTHING) != (front == NOTHING)).sum() <= 2


def test_shares_of_squares() -> None:
    flags = np.random.default_rng(0).random((128, 256)) < 0.3
    for n in (2, 4, 8):
        naive = flags.reshape(128 // n, n, 256 // n, n).mean((1, 3))
        np.testing.assert_allclose(share_of(flags, n), naive, atol=1e-12)


# Labels


def labels_of(
    pair: Pair, view: View, box: tuple[float, ...] | None = None
) -> tuple[np.ndarray, ...]:
    """mask, uv, visible, hidden of two bare hands; box: what lies before everything, cells."""
    _, _, joints, skins = seen_from(hands(), pair, view)
    faces = [hands()[s].closed_faces + k * 778 for k, s in enumerate(skins)]
    xy, near = on_raster(view.K, np.concatenate(list(skins.values())), 2)
    face, nearest = rasterise(
        xy, near, np.concatenate(faces).astype(np.int32), (2 * IMAGE_SIZE, 2 * IMAGE_SIZE)
    )
    owner = np.repeat(list(skins), [len(f) for f in faces])
    label = np.where(face == NOTHING, -1, owner[face])
    if box is not None:
        u0, v0, u1, v1 = (int(2 * c) for c in box)
        label[v0:v1, u0:u1], nearest[v0:v1, u0:u1] = 6, 10.0
    radii = {s: bone_thickness(hands()[s], pair.betas[s]) for s in skins}
    return labelled(hands(), view, skins, joints, radii, label, nearest)


def test_joints_behind_a_thing_cannot_be_seen(pairs: list[Pair]) -> None:
    for pair in pairs:
        view = straight(pair)
        _, uv, visible, hidden = labels_of(pair, view)
        inside = ((uv > 0) & (uv < IMAGE_SIZE)).all(-1)
        assert not (visible & ~inside).any()
        # A hand from the front shows most of its joints; nothing is before it but itself.
        assert visible.sum() > 12 and hidden.max() < 0.6
        seen = np.argwhere(visible)
        side, joint = seen[len(seen) // 2]
        u, v = uv[side, joint]
        _, _, after, more = labels_of(pair, view, (u - 6, v - 6, u + 6, v + 6))
        assert not after[side, joint]
        apart = np.abs(uv - [u, v]).max(-1)
        assert not after[apart < 5].any()
        assert (after[apart > 8] == visible[apart > 8]).all()
        assert more[side] > hidden[side]


def test_a_joint_inside_the_other_hand_or_behind_it_cannot_be_seen(pairs: list[Pair]) -> None:
    pair = pairs[1]
    view = straight(pair)
    behind = Pair(pair.pose, pair.betas, pair.transl.copy(), pair.present)
    _, _, joints, _ = seen_from(hands(), pair, view)
    # The left hand ten centimetres behind the right one, on the same rays.
    behind.transl[LEFT] += joints[RIGHT, 9] - joints[LEFT, 9] + [0, 0, 0.10]
    _, uv, visible, hidden = labels_of(behind, view)
    alone = Pair(behind.pose, behind.betas, behind.transl, np.array([False, True]))
    _, _, would, _ = labels_of(alone, view)
    assert hidden[LEFT] > 0.2 and hidden[RIGHT] < 0.1
    assert (visible[LEFT] <= would[LEFT]).all() and visible[LEFT].sum() < would[LEFT].sum()
    assert np.isnan(uv[RIGHT]).sum() == 0


def test_how_much_is_hidden_counts_what_the_picture_cuts_off() -> None:
    n = int(128 * (1 + 2 * BEYOND))
    alone = np.zeros((n, n), dtype=bool)
    first = int(128 * BEYOND)
    alone[first : first + 64, first - 32 : first + 32] = True
    label = np.full((512, 512), -1)
    label[:256, :128] = RIGHT
    assert hidden_share(alone, label, RIGHT) == pytest.approx(0.5)
    label[:128, :128] = LEFT
    assert hidden_share(alone, label, RIGHT) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="outline"):
        hidden_share(np.zeros_like(alone), label, RIGHT)


def test_masks_are_shares_of_what_is_seen() -> None:
    label = np.full((512, 512), -1)
    label[:8, :4], label[:8, 4:8] = RIGHT, LEFT
    label[8:16, :8] = 4
    mask = masks_of(label)
    assert mask[RIGHT, 0, 0] == 128 and mask[LEFT, 0, 0] == 128
    assert mask[:, 1:].sum() == 0


def test_thickness_to_first_order(pairs: list[Pair]) -> None:
    from twohand500k.hand.capsules import bone_radii

    for pair in pairs:
        exact = bone_radii(hands().left, pair.betas[LEFT])
        assert np.abs(bone_thickness(hands().left, pair.betas[LEFT]) - exact).max() < 1e-3


# Whole pictures


@pytest.mark.parametrize("options", [PictureOptions(), PictureOptions(occluded=1.0, ego=1.0)])
def test_a_picture_and_its_labels(pairs: list[Pair], options: PictureOptions) -> None:
    for k, pair in enumerate(pairs):
        picture = draw_picture(hands(), pair, options, rng_for(0, f"p{k}"))
        again = draw_picture(hands(), pair, options, rng_for(0, f"p{k}"))
        assert (picture.image == again.image).all() and (picture.mask == again.mask).all()
        assert np.abs(project(picture.view.K, picture.joints) - picture.uv).max() < 1e-9
        assert (picture.mask.astype(int).sum(0) <= 256).all() and picture.image.std() > 3
        assert (picture.joints[..., 2] > 0.1).all()
        assert ((picture.hidden >= 0) & (picture.hidden <= 1)).all()
        inside = ((picture.uv >= 0) & (picture.uv < IMAGE_SIZE)).all(-1)
        assert not (picture.visible & ~inside).any()
        # Whoever has a joint to be seen has something to be seen.
        assert (picture.mask.any((1, 2)) | ~picture.visible.any(1)).all()


def test_one_hand_alone(pairs: list[Pair]) -> None:
    pair = Pair(pairs[2].pose, pairs[2].betas, pairs[2].transl, np.array([True, False]))
    picture = draw_picture(hands(), pair, PictureOptions(ego=1.0), rng_for(0, "one"))
    assert np.isnan(picture.uv[LEFT]).all() and np.isnan(picture.hidden[LEFT])
    assert not picture.mask[LEFT].any() and not picture.visible[LEFT].any()
    assert picture.mask[RIGHT].any()


# Views


def test_from_ones_own_head_the_right_arm_comes_from_below_on_the_right() -> None:
    rng = np.random.default_rng(2)
    wrists = np.array([[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0]])
    away = np.array([[0.5, 0.1, 0.8], [-0.5, 0.1, 0.8]])
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    body = body_of(wrists, away)
    assert body is not None and body.forward @ [0, 0, -1] > 0.9 and body.right @ [1, 0, 0] > 0.99
    points = rng.normal(0, 0.05, (50, 3))
    right, below = 0, 0
    for _ in range(100):
        view = draw_view(points, wrists, away, rng, body=body)
        assert np.abs(view.R @ view.R.T - np.eye(3)).max() < 1e-12
        assert np.linalg.det(view.R) > 0
        elbows = project(view.K, (wrists + 0.2 * away) @ view.R.T + view.t)
        middle = project(view.K, (points @ view.R.T + view.t).mean(0)[None])[0]
        right += elbows[0, 0] > elbows[1, 0]
        below += elbows.mean(0)[1] > middle[1]
    assert right == 100 and below > 95


def test_where_arms_tell_of_no_side_there_is_no_body() -> None:
    wrists = np.array([[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0]])
    assert body_of(wrists, np.array([[1.0, 0, 0], [-1.0, 0, 0]])) is None
    crossed = np.array([[-0.2, 0, 0.98], [0.2, 0, 0.98]])
    assert body_of(wrists, crossed) is None


def test_upright_arms_do_not_come_from_above_and_none_points_at_the_camera() -> None:
    rng = np.random.default_rng(3)
    wrists, away = np.array([[0.0, 0, 0]]), np.array([[0.0, 0.6, 0.8]])
    points = rng.normal(0, 0.04, (40, 3)) - 0.1 * away
    for _ in range(100):
        view = draw_view(points, wrists, away, rng, upright=True)
        camera = -view.R.T @ view.t
        to_camera = (camera - wrists[0]) / np.linalg.norm(camera - wrists[0])
        assert to_camera @ away[0] < np.cos(np.radians(42))
        leaves = (view.R @ away[0])[:2]
        assert leaves[1] > np.linalg.norm(leaves) * np.cos(np.radians(76))
        # The crop holds every point.
        uv = project(view.K, points @ view.R.T + view.t)
        assert ((uv > 0) & (uv < IMAGE_SIZE)).all()

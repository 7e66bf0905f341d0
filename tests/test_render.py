"""The ray caster, cameras, overlays and sheets: geometry that can be checked against a formula."""

import numpy as np
import pytest
from PIL import Image

from twohand500k.conventions import JOINT_PARENTS, N_JOINTS
from twohand500k.hand import load_hands
from twohand500k.hand.mesh import vertex_normals
from twohand500k.pictures import (
    BONES,
    SKIN,
    Camera,
    FittedFrames,
    Skeleton,
    Surface,
    contact_sheet,
    overlay_sheet,
    pick_moments,
    render_meshes,
    save_png,
    skeleton_edges,
)
from twohand500k.pictures.surface import boundary_loops, refine, rods

RED, GREEN, GREY = (0.9, 0.1, 0.1), (0.1, 0.8, 0.1), (0.7, 0.7, 0.7)


def sphere(radius: float = 0.05, centre=(0.0, 0.0, 0.0), n: int = 16):
    """A latitude-longitude sphere, outward counter-clockwise."""
    vertices, _, faces = rods(np.zeros((1, 3)), np.zeros((0, 2), dtype=int), 1.0, sides=2 * n)
    return vertices / 1.45 * radius + np.array(centre), faces


def plate(z: float, half: float = 0.05, n: int = 20):
    """A square of n x n cells facing +z."""
    y, x = np.meshgrid(*[np.linspace(-half, half, n + 1)] * 2, indexing="ij")
    vertices = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, z)])
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate(
        [np.column_stack([a, a + 1, a + n + 2]), np.column_stack([a, a + n + 2, a + n + 1])]
    )
    return vertices, faces


def front(distance: float = 1.0, fov_deg: float = 18.0) -> Camera:
    return Camera.look_at((0, 0, distance), (0, 0, 0), fov_deg=fov_deg)


# --- cameras


@pytest.mark.parametrize("size", [(200, 200), (320, 180), (180, 320)])
def test_framing_has_every_point_in_view_and_stands_no_further_than_it_must(size):
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.normal(size=(50, 3)) * rng.uniform(0.01, 0.3, 3) + rng.normal(size=3)
        camera = Camera.framing(points, rng.normal(size=3), aspect=size[0] / size[1], margin=1.0)
        pixel = camera.project(points, size)
        assert np.all(pixel[:, 2] > 0)
        assert np.all(pixel[:, :2] > -1) and np.all(pixel[:, :2] < np.array(size) + 1)
        spans = np.ptp(pixel[:, :2], axis=0) / np.array(size)
        assert spans.max() > 0.93


def test_framing_ignores_missing_points_and_refuses_none():
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [np.nan, 0, 0]])
    assert np.isfinite(Camera.framing(points, (0, 0, 1)).eye).all()
    with pytest.raises(ValueError, match="no finite point"):
        Camera.framing(np.full((3, 3), np.nan), (0, 0, 1))


def test_the_ray_through_a_projected_point_meets_that_point():
    rng = np.random.default_rng(1)
    size = (121, 91)
    camera = Camera.look_at((0.4, 0.3, 0.9), (0.01, 0, 0), up=(0.1, 1, 0), fov_deg=30)
    rays = camera.rays(size, 1)
    for point in rng.uniform(-0.08, 0.08, (50, 3)):
        x, y, depth = camera.project(point, size)
        ray = rays[int(y), int(x)]
        towards = (point - camera.eye) / np.linalg.norm(point - camera.eye)
        pixel_angle = np.radians(30) / 91
        assert np.arccos(np.clip(ray @ towards, -1, 1)) < pixel_angle
        assert depth == pytest.approx((point - camera.eye) @ -camera.axes[2])


def test_up_is_up_and_right_is_right():
    camera = front()
    x, y, _ = camera.project(np.array([[0.05, 0, 0], [0, 0.05, 0]]), (100, 100)).T
    assert x[0] > 50 and y[0] == pytest.approx(50)
    assert y[1] < 50 and x[1] == pytest.approx(50)


# --- surfaces


def test_refinement_keeps_vertices_and_leaves_no_gap():
    hand = load_hands("open").right
    vertices = hand.v_template
    normals = vertex_normals(vertices, hand.faces)
    points, smooth, faces, parent, bary = refine(vertices, normals, hand.faces, 3)
    corners = np.isclose(bary.max(axis=1), 1.0)
    given = vertices[hand.faces[parent[corners], np.argmax(bary[corners], axis=1)]]
    np.testing.assert_allclose(points[corners], given, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(smooth, axis=1), 1, atol=1e-9)
    # welded, the refined skin has the same one boundary as the given one: the wrist
    _, weld = np.unique(np.round(points * 1e9).astype(np.int64), axis=0, return_inverse=True)
    loops = boundary_loops(weld.ravel()[faces])
    assert [len(loop) for loop in loops] == [3 * 16]


def test_refinement_of_a_flat_mesh_is_flat_and_of_a_sphere_is_rounder():
    vertices, faces = plate(0.02)
    points, *_ = refine(vertices, vertex_normals(vertices, faces), faces, 4)
    np.testing.assert_allclose(points[:, 2], 0.02, atol=1e-15)
    vertices, faces = sphere(1.0, n=6)
    coarse = np.abs(np.linalg.norm(vertices[faces].mean(axis=1), axis=1) - 1).max()
    points, *_ = refine(vertices, vertex_normals(vertices, faces), faces, 3)
    fine = np.abs(np.linalg.norm(points, axis=1) - 1).max()
    assert fine < 0.15 * coarse


def test_normals_of_a_sphere_point_outward():
    vertices, faces = sphere(0.1)
    np.testing.assert_array_less(0.99, np.sum(vertex_normals(vertices, faces) * vertices, 1) / 0.1)


def test_rods_leave_out_what_is_missing():
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [np.nan] * 3, [0.3, 0, 0]])
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    vertices, normals, faces = rods(points, edges, 0.01)
    assert np.isfinite(vertices).all() and np.isfinite(normals).all()
    middle = (vertices[:, 0] > 0.12) & (vertices[:, 0] < 0.28)
    assert not middle.any(), "a rod was drawn to a missing point"
    assert (vertices[:, 0] > 0.29).any() and faces.max() == len(vertices) - 1


# --- pictures


def test_a_sphere_covers_as_many_pixels_as_the_formula_says():
    distance, radius, size = 0.6, 0.05, (160, 160)
    picture = render_meshes(
        [(*sphere(radius, n=24), GREY)], front(distance), size, background=None, samples=2
    )
    angle = np.arcsin(radius / distance)
    disc = np.pi * (np.tan(angle) / np.tan(np.radians(9)) * 80) ** 2
    assert picture.shape == (160, 160, 4)
    assert picture[..., 3].sum() / 255 == pytest.approx(disc, rel=0.01)
    assert picture[0, 0, 3] == 0 and picture[80, 80, 3] == 255


def test_the_same_call_gives_the_same_bytes():
    hands = load_hands("open")
    surface = Surface(hands.right.v_template, hands.right.faces)
    camera = Camera.framing(surface.vertices, (0, 1, 0.3))
    first, second = (render_meshes([surface], camera, (120, 90)) for _ in range(2))
    assert first.shape == (90, 120, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_the_picture_does_not_depend_on_where_in_the_world_it_is_taken():
    ball, faces = sphere()
    away = np.array([4.0, -7.0, 3.0])
    here = render_meshes([(ball, faces, GREY)], front(0.6), (80, 80))
    camera = Camera.look_at(away + np.array([0, 0, 0.6]), away)
    there = render_meshes([(ball + away, faces, GREY)], camera, (80, 80))
    assert np.abs(here.astype(int) - there).mean() < 1.0


def test_what_is_nearer_hides_what_is_further():
    picture = render_meshes(
        [(*plate(0.0), RED, False), (*plate(0.1, 0.02), GREEN, False)], front(), (101, 101)
    ).astype(int)
    centre, beside = picture[50, 50], picture[50, 38]
    assert centre[1] > centre[0] and beside[0] > beside[1]


def test_a_body_throws_a_shadow_and_contact_darkens():
    camera = front(0.4)  # 8 pixels a centimetre
    lit = render_meshes([(*plate(0.0), GREY, False)], camera, (101, 101)).astype(float)
    shaded = render_meshes(
        [(*plate(0.0), GREY, False), (*sphere(0.012, (-0.025, 0.031, 0.03)), GREY)],
        camera,
        (101, 101),
    ).astype(float)
    assert lit[50, 50].mean() - shaded[50, 50].mean() > 25, "the ball stands in the key light"
    # a wall on the right, away from the key light: it blocks sky and throws no shadow to the left
    wall, faces = plate(0.0)
    wall = np.column_stack([0.02 - wall[:, 2], wall[:, 1], wall[:, 0] + 0.05])
    near = render_meshes(
        [(*plate(0.0), GREY, False), (wall, faces[:, ::-1], GREY, False)], camera, (101, 101)
    ).astype(float)
    ratio = near[50, 30:66].mean(axis=1) / lit[50, 30:66].mean(axis=1)
    assert ratio[-1] < 0.95 and np.all(np.diff(ratio) < 0.004), "no darker towards the corner"
    assert np.ptp(lit[25:75, 25:75].mean(axis=2)) < 6, "an open plate has no spots"


def test_bones_show_through_as_much_as_they_are_told():
    bone = Skeleton(np.array([[-0.02, 0, 0], [0.02, 0, 0.0]]), np.array([[0, 1]]), (0, 0, 1), 0.004)
    ball = [(*sphere(), RED)]
    plain, hidden, half, over = (
        render_meshes(ball, front(0.6), (81, 81), skeletons=s, see_through=t)[40, 40].astype(int)
        for s, t in (((), 0.5), ((bone,), 0.0), ((bone,), 0.5), ((bone,), 1.0))
    )
    np.testing.assert_array_equal(plain, hidden)
    assert plain[2] < half[2] < over[2] and plain[0] > half[0] > over[0]
    outside = Skeleton(bone.points + np.array([0, 0, 0.2]), bone.edges, (0, 0, 1), 0.004)
    front_pixel = render_meshes(ball, front(0.6), (81, 81), skeletons=[outside], see_through=0)
    assert front_pixel[40, 40, 2] > 120, "a bone in front of the skin is drawn whole"


def test_the_open_wrist_is_drawn_closed():
    hand = load_hands("open").right
    camera = Camera.framing(hand.v_template, (1, 0.15, 0.1))  # from the forearm, into the wrist
    capped = render_meshes([Surface(hand.v_template, hand.faces)], camera, (100, 100)).astype(int)
    rim = hand.v_template[boundary_loops(hand.faces)[0]]
    x, y, _ = camera.project(rim.mean(axis=0), (100, 100))
    cap = capped[int(y), int(x)]
    # the inside of the far skin is lit by 0.35 of the sky; a cap facing the viewer is far brighter
    assert cap.mean() > 90


def test_right_and_left_differ_in_grey_too():
    grey = [np.dot(colour, (0.299, 0.587, 0.114)) for colour in SKIN]
    assert grey[0] - grey[1] > 0.15
    assert BONES[0] != BONES[1]


def test_vertices_that_are_not_finite_are_refused():
    vertices, faces = plate(0)
    with pytest.raises(ValueError, match="not finite"):
        render_meshes([(vertices * np.nan, faces, RED)], front())


# --- skeletons, moments, sheets


def test_edges_of_whole_and_broken_skeletons():
    whole = skeleton_edges(range(N_JOINTS))
    assert {(int(a), int(b)) for a, b in whole} == {(JOINT_PARENTS[k], k) for k in range(1, 21)}
    no_wrist = skeleton_edges(range(1, N_JOINTS))
    assert len(no_wrist) == 15
    sparse = [0, 5, 7, 8, 8]  # the index without its second joint, two markers on the tip
    assert {(int(a), int(b)) for a, b in skeleton_edges(sparse)} == {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert skeleton_edges([]).shape == (0, 2)


def test_moments_hold_the_tightest_and_the_worst_and_do_not_crowd():
    rng = np.random.default_rng(2)
    n = 300
    joints = rng.normal(scale=0.02, size=(n, 2, 21, 3))
    joints[:, 1, :, 0] += 0.5
    joints[120, 1] = joints[120, 0] + [0.001, 0, 0]
    joints[10, 1] = np.nan  # a hand that is not there
    error = np.full((n, 2), 0.001)
    error[210, 0] = 0.03
    error[10, 1] = np.nan
    rows = pick_moments(joints, error, 6)
    assert 120 in rows and 210 in rows
    assert len(rows) == 6 and rows == sorted(rows)
    assert np.diff(rows).min() >= n / 24
    assert pick_moments(joints[:0], None, 6) == []
    assert len(pick_moments(joints[:2], None, 6)) <= 2


def fitted(n: int) -> tuple:
    hands = load_hands("open")
    rng = np.random.default_rng(3)
    pose = rng.normal(scale=0.1, size=(n, 2, 16, 3))
    transl = rng.normal(scale=0.02, size=(n, 2, 3))
    transl += np.array([[0.05, 0, 0], [-0.05, 0, 0.05]])
    betas = np.zeros((n, 2, 10))
    points = np.stack(
        [hands[s].with_shape().with_pose(pose[:, s], transl[:, s]).joints for s in (0, 1)], axis=1
    )
    points[0, 0, 4] = np.nan
    pose[1, 1] = np.nan
    edges = skeleton_edges(range(21))
    names = [f"frame {k}" for k in range(n)]
    error = np.full((n, 2), 0.001)
    return hands, FittedFrames(betas, pose, transl, points, edges, names, error)


def test_an_overlay_sheet_draws_what_is_there():
    hands, frames = fitted(4)
    assert frames.present.tolist() == [[True, True], [True, False], [True, True], [True, True]]
    sheet = overlay_sheet(hands, frames, rows=[0, 1], size=(90, 80), title="two")
    assert sheet.dtype == np.uint8 and sheet.shape[1] == 2 * 96 + 6
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 500
    with pytest.raises(ValueError, match="no fitted frame"):
        overlay_sheet(hands, frames, rows=[])


def test_a_contact_sheet_checks_its_tiles():
    tile = np.zeros((40, 60, 3), dtype=np.uint8)
    sheet = contact_sheet([tile] * 3, ["a", "b\nmore", "c"], columns=2, title="t")
    assert sheet.shape[1] == 2 * 66 + 6
    with pytest.raises(ValueError, match="one size"):
        contact_sheet([tile, tile[:10]])
    with pytest.raises(ValueError, match="3 images but 2 labels"):
        contact_sheet([tile] * 3, ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_a_png_comes_back_as_it_was_written_and_a_failed_one_leaves_nothing(tmp_path):
    picture = np.random.default_rng(4).integers(0, 255, (20, 30, 4), dtype=np.uint8)
    path = save_png(tmp_path / "sub" / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), picture)
    with pytest.raises(Exception, match=r".+"):
        save_png(tmp_path / "sub" / "b.png", np.zeros((3, 3, 7), dtype=np.uint8))
    assert sorted(p.name for p in (tmp_path / "sub").iterdir()) == ["a.png"]

"""Where hands are, from a crop: with answers that are known to be right, and spoilt ones."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from recon_fixture import HEIGHT, WIDTH, K, TrueAnswers, Truth, laplacians, truth_of  # noqa: E402

from interaction_prior.images import straight_views  # noqa: E402
from interaction_prior.reconstruction import HandsInImage, Reconstructor  # noqa: E402
from interaction_prior.reconstruction.crop import (  # noqa: E402
    assumed_K,
    crop_around,
    shown,
)
from interaction_prior.reconstruction.peaks import peaks_of  # noqa: E402
from interaction_prior.reconstruction.placement import NEAREST_M, place  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.hand.rotations import matrix_from_axis_angle  # noqa: E402

# The middle of the picture, its right side, a corner, far off.
PLACES = np.array([[0.0, 0.0, 0.6], [0.25, 0.02, 0.6], [-0.2, -0.14, 0.5], [0.1, 0.1, 1.4]])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return truth_of(PLACES)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def answered(truth: Truth, **spoilt) -> tuple[list[HandsInImage], TrueAnswers]:
    boxes = [truth.box(row) for row in range(len(truth.pose))]
    network = TrueAnswers(truth, [(r, crop_around(b, K)) for r, b in enumerate(boxes)], **spoilt)
    look = Reconstructor(network, truth.hands)
    return look.reconstruct_many([picture()] * len(boxes), boxes, [K] * len(boxes)), network


def angle_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    R = np.swapaxes(matrix_from_axis_angle(a), -1, -2) @ matrix_from_axis_angle(b)
    return np.degrees(np.arccos(np.clip((np.trace(R, axis1=-2, axis2=-1) - 1) / 2, -1, 1)))


def test_a_true_answer_gives_the_true_hands_anywhere_in_the_picture(truth: Truth) -> None:
    found, _ = answered(truth)
    for row, hands in enumerate(found):
        wrist = hands.joints[:, 0]
        assert np.linalg.norm(wrist - truth.wrist[row], axis=-1).max() < 1e-4
        assert np.abs(hands.joints - truth.joints[row]).max() < 1e-4
        assert angle_deg(hands.pose, truth.pose[row]).max() < 0.05
        np.testing.assert_allclose(hands.betas, truth.betas[row], atol=1e-6)
        np.testing.assert_allclose(hands.tau, truth.wrist[row, 1] - truth.wrist[row, 0], atol=1e-5)
        assert np.abs(hands.uv - truth.uv()[row]).max() < 0.1
        assert hands.off_px < 0.05
        # The parameters alone give the same hands.
        for side in (0, 1):
            posed = (
                truth.hands[side]
                .with_shape(hands.betas[side])
                .with_pose(hands.pose[side], hands.transl[side])
            )
            assert np.abs(posed.joints - hands.joints[side]).max() < 1e-5
            assert np.abs(posed.vertices - hands.vertices[side]).max() < 1e-5


def test_an_uncorrected_orientation_would_be_off_by_the_angle_to_the_hands(truth: Truth) -> None:
    """At the picture's side the correction is twenty degrees, not a detail."""
    boxes = [truth.box(row) for row in range(len(truth.pose))]
    R = np.stack([crop_around(box, K).R_camera_crop for box in boxes])
    turned = np.degrees(np.arccos(R[:, 2, 2]))
    assert turned[0] < 10 < 17 < turned[1]
    # About the middle of the box and without roll.
    for r, box in zip(R, boxes, strict=True):
        ray = np.linalg.inv(K) @ [*(box[:2] + box[2:]) / 2, 1.0]
        np.testing.assert_allclose(r[:, 2], ray / np.linalg.norm(ray), atol=1e-12)
        np.testing.assert_allclose(r.T @ r, np.eye(3), atol=1e-12)
        assert abs(r[0, 1] - r[1, 0]) < 1e-12


def test_the_view_is_the_one_that_networks_are_trained_on(truth: Truth) -> None:
    """`images.view` makes it of a plain square crop, by the crop's own intrinsics."""
    for row in range(4):
        x0, y0, x1, y1 = box = truth.box(row)
        side = max(x1 - x0, y1 - y0)
        corner = np.array([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2])
        plain = K.copy()
        plain[:2, 2] -= corner
        plain[:2] *= 256 / side
        trained, crop = straight_views(plain[None]), crop_around(box, K, margin=1.0)
        np.testing.assert_allclose(trained.R[0], crop.R_camera_crop.T, atol=1e-12)
        # The same view but for how much of it is taken.
        larger = trained.K[0, 0, 0] / crop.K_crop(256)[0, 0]
        assert 0.97 < larger < 1.15


def test_a_view_is_what_the_turned_camera_would_have_seen(truth: Truth) -> None:
    """A blob painted at a joint of the picture is found where the turned camera projects it."""
    size = 256
    for row in range(3):
        crop = crop_around(truth.box(row), K)
        for point in truth.joints[row].reshape(-1, 3)[::9]:
            u, v = (K @ point)[:2] / point[2]
            y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
            if not (8 < u < WIDTH - 8 and 8 < v < HEIGHT - 8):
                continue
            blob = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 2.0**2))
            image = np.repeat((255 * blob).round()[..., None], 3, axis=2).astype(np.uint8)
            view = shown(image, crop, size, torch.device("cpu"))[0].numpy().astype(float)
            view[view < 0.05] = 0.0
            y, x = np.mgrid[:size, :size] + 0.5
            seen = np.array([(x * view).sum(), (y * view).sum()]) / view.sum()
            p = crop.K_crop(size) @ crop.R_camera_crop.T @ point
            assert np.linalg.norm(seen - p[:2] / p[2]) < 0.25


def test_a_view_of_the_middle_is_the_plain_crop_averaged_over_areas() -> None:
    image = picture()
    K = assumed_K(WIDTH, HEIGHT)
    box = [WIDTH / 2 - 128, HEIGHT / 2 - 128, WIDTH / 2 + 128, HEIGHT / 2 + 128]
    crop = crop_around(box, K, margin=1.0)
    plain = image[HEIGHT // 2 - 128 :, WIDTH // 2 - 128 :][:256, :256] / 255.0
    for size in (256, 128, 64):
        k = 256 // size
        expected = plain.reshape(size, k, size, k, 3).mean((1, 3))
        view = shown(image, crop, size, torch.device("cpu")).permute(1, 2, 0).numpy()
        np.testing.assert_allclose(view, expected, atol=2e-3)


def test_what_lies_outside_the_picture_has_its_mean_colour() -> None:
    image = np.full((100, 200, 3), [200, 100, 50], dtype=np.uint8)
    crop = crop_around([0, 0, 200, 100], assumed_K(200, 100), margin=1.0)
    view = shown(image, crop, 64, torch.device("cpu")).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(255 * view, np.broadcast_to([200, 100, 50], view.shape), atol=0.01)


def test_noisy_peaks_place_the_hands_about_where_they_are(truth: Truth) -> None:
    found, _ = answered(truth, noise=0.7)
    for row, hands in enumerate(found):
        off = hands.joints[0, 0] - truth.wrist[row, 0]
        distance = truth.wrist[row, 0, 2]
        assert np.linalg.norm(off[:2]) < 0.012 * distance
        assert abs(off[2]) < 0.05 * distance
        assert angle_deg(hands.pose, truth.pose[row]).max() < 0.05


def test_peaks_of_other_joints_are_outvoted(truth: Truth) -> None:
    """A fifth of the joints seen where another is: least squares would be centimetres off."""
    wrong = (1, 6, 11, 19, 23, 28, 30, 39)
    found, _ = answered(truth, wrong=wrong)
    for row, hands in enumerate(found):
        assert np.linalg.norm(hands.joints[0, 0] - truth.wrist[row, 0]) < 0.003


def test_no_answer_whatever_puts_hands_behind_the_camera() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(scale=0.08, size=(300, 42, 3))
    # Peaks anywhere, all in one cell, mirrored, or of hands much too near to be seen so.
    seen = rng.uniform(-0.5, 0.5, (300, 42, 2))
    seen[50:100] = rng.uniform(-0.5, 0.5, (50, 1, 2))
    seen[100:150] = -points[100:150, :, :2] / 0.5
    seen[150:200] = 40 * points[150:200, :, :2]
    weight = rng.uniform(0, 1, (300, 42))
    weight[200:250] = 0.0
    placed = place(points, seen, weight, np.full(300, 1 / 64))
    assert np.isfinite(placed.t).all() and np.isfinite(placed.off).all()
    z = points[..., 2] + placed.t[:, None, 2]
    assert z.min() >= NEAREST_M
    # Nor out of sight: hands take more than a cell.
    assert (0.08 * np.sqrt(3) / z.mean(1)).min() > 0.8 / 64


def test_placement_is_the_least_squares_of_the_picture() -> None:
    """The gradient of the cost vanishes there, and neighbours cost more."""
    rng = np.random.default_rng(4)
    points = rng.normal(scale=0.06, size=(1, 42, 3))
    p = points + np.array([0.05, -0.02, 0.7])
    seen = p[..., :2] / p[..., 2:] + rng.normal(scale=0.003, size=(1, 42, 2))
    weight, cell = rng.uniform(0.2, 1, (1, 42)), np.array([0.01])

    def cost(t: np.ndarray) -> float:
        q = points[0] + t
        u = ((q[:, :2] / q[:, 2:] - seen[0]) ** 2).sum(-1) / (2 * cell[0]) ** 2
        return float((weight[0] * u / (1 + u)).sum())

    t = place(points, seen, weight, cell).t[0]
    for axis in np.eye(3):
        for step in (2e-4, -2e-4):
            assert cost(t + step * axis) >= cost(t) - 1e-9


@pytest.mark.parametrize("sigma_share", [0.5, 1.0, 2.0])
def test_peaks_are_finer_than_a_cell(sigma_share: float) -> None:
    rng = np.random.default_rng(5)
    cells = rng.uniform(3, 61, (4, 42, 2))
    maps = laplacians(cells, 64) ** (1 / sigma_share)
    peaks = peaks_of(maps)
    assert np.abs(peaks.uv.numpy() - cells).max() < 0.01
    assert not peaks.cut_off.any()


def test_peaks_of_mixtures_at_borders_and_of_nothing() -> None:
    cells = np.array([[[0.2, 30.0], [63.9, 63.9], [30.0, 30.0]]])
    maps = laplacians(cells, 64)
    # A joint whose neighbour's wider kernel lies beside it, as equation 1 has it.
    at = np.arange(64) + 0.5
    beside = np.exp(-(np.abs(at - 33.0)[None, :] + np.abs(at - 31.0)[:, None]) / 4.0) / 8.0
    maps[0, 2] += torch.tensor(beside).float()
    peaks = peaks_of(maps)
    assert peaks.cut_off.tolist() == [[True, True, False]]
    assert np.abs(peaks.uv[0, 2].numpy() - 30.0).max() < 0.5
    empty = peaks_of(torch.zeros(1, 2, 16, 16))
    assert torch.isfinite(empty.uv).all() and (empty.height == 0).all()


def test_without_a_box_hands_are_looked_for(truth: Truth) -> None:
    """The masks of the first look give the box of the second; a cell of the first is ten pixels."""
    whole = crop_around([0, 0, WIDTH, HEIGHT], K, margin=1.0)
    first = TrueAnswers(truth, [(3, whole)])
    m = first.size // 4
    cells = whole.from_picture(truth.uv()[3], m)
    low, high = np.floor(cells.min((0, 1)) + 0.5), np.ceil(cells.max((0, 1)) - 0.5)
    at = whole.to_picture([low, [low[0], high[1]], high, [high[0], low[1]]], m)
    box = np.concatenate([at.min(0), at.max(0)])
    first.views.append((3, crop_around(box, K)))
    hands = Reconstructor(first, truth.hands).reconstruct(picture(), K=K)
    assert hands.box_from == "found" and len(first.shown) == 2
    np.testing.assert_allclose(hands.box, box, atol=1e-6)
    assert np.abs(hands.box - truth.box(3)).max() < 12
    assert np.linalg.norm(hands.joints[0, 0] - truth.wrist[3, 0]) < 1e-4


def test_a_first_look_that_sees_nothing_is_the_last(truth: Truth) -> None:
    whole = crop_around([0, 0, WIDTH, HEIGHT], K, margin=1.0)
    look = Reconstructor(TrueAnswers(truth, [(0, whole)] * 2, blind=True), truth.hands)
    hands = look.reconstruct(picture(), K=K)
    assert hands.box_from == "whole picture"
    np.testing.assert_array_equal(hands.box, [0, 0, WIDTH, HEIGHT])
    assert (hands.seen == 0).all()
    assert np.linalg.norm(hands.joints[0, 0] - truth.wrist[0, 0]) < 1e-4


def test_without_intrinsics_some_are_assumed_and_said(truth: Truth) -> None:
    guess = assumed_K(WIDTH, HEIGHT)
    box = truth.box(0, guess)
    look = Reconstructor(TrueAnswers(truth, [(0, crop_around(box, guess))]), truth.hands)
    hands = look.reconstruct(picture(), box)
    assert hands.K_assumed and hands.K[0, 0] == 1.2 * WIDTH
    assert np.linalg.norm(hands.joints[0, 0] - truth.wrist[0, 0]) < 1e-4


@pytest.mark.parametrize("form", ["joints", "vertices"])
def test_networks_of_points_leave_parameters_unknown(truth: Truth, form: str) -> None:
    found, _ = answered(truth, form=form)
    for row, hands in enumerate(found):
        assert np.isnan(hands.pose).all() and np.isnan(hands.betas).all()
        assert np.isnan(hands.transl).all()
        assert np.abs(hands.joints - truth.joints[row]).max() < 1e-4
        assert (hands.vertices is None) == (form == "joints")


def test_many_pictures_come_out_in_their_order_whatever_the_batch(truth: Truth) -> None:
    boxes = [truth.box(row) for row in (2, 0, 3, 1)]
    views = [(r, crop_around(b, K)) for r, b in zip((2, 0, 3, 1), boxes, strict=True)]
    images = [picture(), picture()[..., 0], np.dstack([picture(), picture()[..., 0]]), picture()]
    look = Reconstructor(TrueAnswers(truth, list(views)), truth.hands)
    found = look.reconstruct_many(images, boxes, [K] * 4, batch=3)
    for row, hands in zip((2, 0, 3, 1), found, strict=True):
        assert np.abs(hands.joints - truth.joints[row]).max() < 1e-4
    with pytest.raises(ValueError, match="3 boxes"):
        look.reconstruct_many(images, boxes[:3])


WRONG = [
    (np.zeros((480, 640, 3)), None, None, "uint8"),
    (np.zeros((480, 640, 5), np.uint8), None, None, r"\(H, W, 3\)"),
    (np.zeros((8, 640, 3), np.uint8), None, None, "too small"),
    (None, [700, 20, 900, 200], None, "outside the picture"),
    (None, [10, 20, 20, 30], None, "narrower than"),
    (None, [100, 20, 50, 200], None, "wrong way round"),
    (None, [0, 0, np.nan, 100], None, "four numbers"),
    (None, [0, 0, 100], None, "four numbers"),
    (None, None, np.eye(4), "3 x 3"),
    (None, None, [[-500, 0, 320], [0, 500, 240], [0, 0, 1]], "above 0"),
    (None, None, [[500, 0, 320], [0, 500, 240], [0, 0, 2]], "is not"),
    (None, None, [[1, 0, 320], [0, 1, 240], [0, 0, 1]], "degrees"),
    (None, None, "focal", "numbers"),
]


@pytest.mark.parametrize(("image", "box", "K", "says"), WRONG)
def test_what_is_no_picture_box_or_camera_is_refused(truth: Truth, image, box, K, says) -> None:
    look = Reconstructor(TrueAnswers(truth, []), truth.hands)
    with pytest.raises(DataError, match=says):
        look.reconstruct(picture() if image is None else image, box, K)

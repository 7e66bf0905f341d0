"""Image datasets read for training, where the pictures lie, and the batches of a run."""

import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from images_fixture import hands, image_dataset  # noqa: E402
from shards_fixture import synthetic_hands  # noqa: E402
from train_fixture import dataset as pairs_dataset  # noqa: E402

from interaction_prior.hands import HandLayer  # noqa: E402
from interaction_prior.images import (  # noqa: E402
    NONE,
    Augmentation,
    ImageBatch,
    ImageBatches,
    ImagePairs,
    LabelledImages,
    picture_bytes,
    read_images,
    straight_views,
)
from interaction_prior.images.batches import ORIENTATIONS, Orientation  # noqa: E402
from interaction_prior.images.pictures import area_average, read_pictures  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402
from twohand500k.shards import Dataset  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_dataset(tmp_path_factory.mktemp("images") / "set", train=13, val=3)


@pytest.fixture(scope="module")
def images(data: Path) -> ImagePairs:
    return read_images([data], hands(), "train")


def opened(
    images: ImagePairs, size: int = 64, resident: bool = True, orientation: Orientation = "view"
) -> LabelledImages:
    return LabelledImages.opened(images, size, CPU, resident=resident, orientation=orientation)


def same(a: ImageBatch, b: ImageBatch) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ImageBatch.__dataclass_fields__)


def test_a_batch_is_what_the_dataset_holds(data: Path, images: ImagePairs) -> None:
    stored = Dataset(data)
    rows = np.flatnonzero(stored.array("split") == "train")
    batch = opened(images, 256, orientation="camera").batch(torch.tensor([4, 0, 4]))
    for k, row in enumerate(rows[[4, 0, 4]]):
        image = stored.array("image", [row])[0]
        np.testing.assert_allclose(batch.image[k].permute(1, 2, 0) * 255, image, atol=1e-4)
        np.testing.assert_allclose(batch.mask[k] * 255, stored.array("mask", [row])[0], atol=1e-4)
        np.testing.assert_allclose(batch.uv[k], stored.array("uv", [row])[0] / 4, rtol=1e-6)
        wrists = stored.array("joints", [row])[0, :, 0]
        np.testing.assert_allclose(batch.tau[k], wrists[1] - wrists[0], atol=1e-6)
    assert batch.rotations.shape == (3, 2, 16, 3, 3) and batch.image.dtype == torch.float32


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_put_the_joints_where_the_picture_shows_them(
    data: Path, orientation: Orientation
) -> None:
    """Rotations, betas and tau of a batch, posed and projected, are its uv, and discs lie there."""
    images = read_images([data], hands(), "all")
    n = len(images)
    batch = opened(images, 256, orientation=orientation).batch(torch.arange(n))
    wrist, K = Dataset(data).array("joints")[:, 0, 0].astype(float), images.K.astype(float)
    if orientation == "view":
        views = straight_views(images.K)
        wrist, K = np.einsum("nij,nj->ni", views.R, wrist), views.K
        middle = [128.0, 128.0, 1.0]
        ahead = np.linalg.solve(images.K, np.broadcast_to(middle, (n, 3))[..., None])
        straight = (views.R @ ahead)[..., 0]
        assert np.allclose(straight[:, :2], 0, atol=1e-9) and (straight[:, 2] > 0).all()
        assert np.allclose(np.linalg.det(views.R), 1)
        assert (np.linalg.norm(straight, axis=-1) > 1.005).any(), "no crop lies off the axis"
    joints = HandLayer(hands()).joints(batch.rotations, batch.betas)
    places = torch.stack([torch.tensor(wrist), torch.tensor(wrist) + batch.tau], 1)
    projected = torch.einsum("nij,nskj->nski", torch.tensor(K), joints + places[:, :, None])
    uv = projected[..., :2] / projected[..., 2:]
    assert (uv / 4 - batch.uv).abs().max() < 2e-3
    # Right hands' discs are red, left ones' blue; fingers of one hand lie over each other.
    at = (4 * batch.uv).long().clamp(0, 255)
    colour = batch.image[torch.arange(n)[:, None, None], :, at[..., 1], at[..., 0]]
    redder = colour[..., 0] - colour[..., 2]
    assert (redder[:, 0] > 0.1).float().mean() > 0.97 and (
        redder[:, 1] < -0.1
    ).float().mean() > 0.97


def test_a_view_keeps_the_size_of_things_in_its_middle(images: ImagePairs) -> None:
    """Area about the middle, by differences; an even picture has the same place of the hands."""
    views = straight_views(images.K)
    step = 1e-4
    corners = np.array([[0.0, 0.0], [step, 0.0], [0.0, step]])
    points = np.concatenate([corners, np.ones((3, 1))], axis=-1)
    moved = np.einsum("nij,kj->nki", views.H, points)
    moved = moved[..., :2] / moved[..., 2:]
    area = np.linalg.det(moved[:, 1:] - moved[:, :1]) / step**2
    assert np.allclose(area, 1.0, atol=1e-3) and np.allclose(moved[:, 0], 0, atol=1e-9)


def test_smaller_pictures_are_averages_of_areas(images: ImagePairs) -> None:
    """Twin: a loop over one picture's cells."""
    rows = np.array([5])
    image, mask = read_pictures(images, rows, 64)
    full, full_mask = read_pictures(images, rows, 256)
    for y, x in ((0, 0), (31, 40), (63, 63)):
        cell = full[0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].reshape(16, 3).mean(0)
        assert np.abs(image[0, y, x] - cell).max() <= 0.5
    assert mask.shape == (1, 2, 16, 16) and full_mask.shape == (1, 2, 64, 64)
    assert mask.mean() == pytest.approx(full_mask.mean(), abs=0.5)
    assert (area_average(np.full((1, 8, 8, 3), 255, dtype=np.uint8), (1, 2), 2) == 255).all()
    with pytest.raises(DataError, match="pictures of 100 pixels"):
        opened(images, 100)


def test_few_rows_among_many_are_read_alone_and_alike(data: Path) -> None:
    """Rows far apart go another way through the reader: repeated, out of order, in one shard."""
    stored = Dataset(data)
    rows = [12, 0, 12]
    for name in ("image", "sample_id", "split", "uv"):
        whole = stored.array(name)
        np.testing.assert_array_equal(stored.array(name, rows), whole[rows])
        np.testing.assert_array_equal(stored.array(name, [15, 12, 0]), whole[[15, 12, 0]])


def test_streamed_pictures_are_the_resident_ones(images: ImagePairs) -> None:
    batches = [
        ImageBatches(opened(images, resident=r), Augmentation(), batch=4, seed=3)
        for r in (True, False)
    ]
    for a, b in islice(zip(*(b.from_step(2) for b in batches), strict=False), 5):
        assert same(a, b)
    ahead = opened(images, resident=False)
    assert same(ImageBatch.concat(list(ahead.in_order(5))), opened(images).batch(torch.arange(13)))


def test_a_step_sees_what_its_number_says(images: ImagePairs) -> None:
    batches = ImageBatches(opened(images), Augmentation(), batch=4, seed=3)
    five = list(islice(batches.from_step(0), 5))
    later = ImageBatches(opened(images), Augmentation(), batch=4, seed=3)
    assert all(same(a, b) for a, b in zip(five[3:], islice(later.from_step(3), 2), strict=True))
    assert not same(five[0], ImageBatches(opened(images), Augmentation(), batch=4, seed=4).at(0))


def test_every_picture_comes_once_an_epoch(images: ImagePairs) -> None:
    batches = ImageBatches(opened(images), NONE, batch=13, seed=0)
    whole = opened(images).batch(torch.arange(13))
    orders = []
    for batch in islice(batches.from_step(0), 2):
        found = [int((whole.tau - tau).abs().sum(-1).argmin()) for tau in batch.tau]
        assert sorted(found) == list(range(13))
        orders.append(found)
    assert orders[0] != orders[1]


def test_processes_share_the_joint_batch(images: ImagePairs) -> None:
    def of(rank: int, processes: int) -> ImageBatch:
        return ImageBatches(
            opened(images), Augmentation(), batch=4, seed=3, rank=rank, processes=processes
        ).at(6)

    assert same(ImageBatch.concat([of(0, 2), of(1, 2)]), of(0, 1))
    with pytest.raises(ValueError, match="does not divide"):
        of(0, 3)


def test_two_datasets_and_their_hash(data: Path, images: ImagePairs, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    both = read_images([data, copy], hands(), "train")
    assert len(both) == 26 and both.select(np.arange(13)).pairs.sha256() == images.pairs.sha256()
    image, _ = read_pictures(both, np.array([2, 15, 2]), 64)
    assert (image[0] == image[1]).all() and (image[0] == image[2]).all()
    assert both.sha256() != images.sha256() == read_images([data], hands(), "train").sha256()
    assert picture_bytes(10, 64) == 10 * (64 * 64 * 3 + 2 * 16 * 16)


def test_what_cannot_be_trained_on_is_said(data: Path, tmp_path: Path) -> None:
    plain = pairs_dataset(tmp_path / "plain", train=4, val=0)
    with pytest.raises(DataError, match=f"plain holds no pictures: `twohand render {plain}"):
        read_images([plain], hands(), "train")
    with pytest.raises(DataError, match="no sample in split 'test'"):
        read_images([data], hands(), "test")
    with pytest.raises(DataError, match="another hand model"):
        read_images([data], synthetic_hands(), "train")

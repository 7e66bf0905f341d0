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

from interaction_prior.images import (  # noqa: E402
    NONE,
    Augmentation,
    ImageBatch,
    ImageBatches,
    ImagePairs,
    LabelledImages,
    picture_bytes,
    read_images,
)
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


def opened(images: ImagePairs, size: int = 64, resident: bool = True) -> LabelledImages:
    return LabelledImages.opened(images, size, CPU, resident=resident)


def same(a: ImageBatch, b: ImageBatch) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ImageBatch.__dataclass_fields__)


def test_a_batch_is_what_the_dataset_holds(data: Path, images: ImagePairs) -> None:
    stored = Dataset(data)
    rows = np.flatnonzero(stored.array("split") == "train")
    batch = opened(images, 256).batch(torch.tensor([4, 0, 4]))
    for k, row in enumerate(rows[[4, 0, 4]]):
        image = stored.array("image", [row])[0]
        np.testing.assert_allclose(batch.image[k].permute(1, 2, 0) * 255, image, atol=1e-4)
        np.testing.assert_allclose(batch.mask[k] * 255, stored.array("mask", [row])[0], atol=1e-4)
        np.testing.assert_allclose(batch.uv[k], stored.array("uv", [row])[0] / 4, rtol=1e-6)
        wrists = stored.array("joints", [row])[0, :, 0]
        np.testing.assert_allclose(batch.tau[k], wrists[1] - wrists[0], atol=1e-6)
    assert batch.rotations.shape == (3, 2, 16, 3, 3) and batch.image.dtype == torch.float32


def test_labels_put_the_joints_where_the_picture_shows_them(data: Path) -> None:
    """Rotations, betas and tau of a batch, posed and projected, are its uv."""
    from interaction_prior.hands import HandLayer

    images = read_images([data], hands(), "val")
    batch = opened(images).batch(torch.arange(3))
    joints = HandLayer(hands()).joints(batch.rotations, batch.betas)
    wrist = torch.tensor(Dataset(data).array("joints"))[-3:, 0, 0]
    joints[:, 0] += wrist[:, None]
    joints[:, 1] += (wrist + batch.tau)[:, None]
    projected = torch.einsum("nij,nskj->nski", torch.tensor(images.K), joints)
    uv = projected[..., :2] / projected[..., 2:]
    assert (uv * 16 / 256 - batch.uv).abs().max() < 1e-3


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

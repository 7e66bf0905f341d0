"""Augmentation: labels and pixels move together, mirrored twice is nothing, colours and blur."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from images_fixture import hands, image_dataset  # noqa: E402

from interaction_prior.hands import HandLayer  # noqa: E402
from interaction_prior.images import (  # noqa: E402
    NONE,
    Augmentation,
    ImageBatch,
    LabelledImages,
    augmented,
    drawn,
    read_images,
)
from interaction_prior.images.augment import Change  # noqa: E402
from twohand500k.shards import Dataset  # noqa: E402

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
SIZE = 128
COLOURLESS = replace(Augmentation(), contrast=0, gain=0, brightness=0, blurred=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_dataset(tmp_path_factory.mktemp("images") / "set", train=8)


@pytest.fixture(scope="module")
def batch(data: Path) -> ImageBatch:
    images = read_images([data], hands(), "train")
    crops = LabelledImages.opened(images, SIZE, CPU, resident=True, orientation="camera")
    return crops.batch(torch.arange(8))


def change(n: int = 8, **given: object) -> Change:
    """No change but what is given, for n pictures."""
    none = drawn(NONE, n, torch.Generator().manual_seed(0))
    values = {
        name: torch.as_tensor(value).expand(getattr(none, name).shape)
        for name, value in given.items()
    }
    return replace(none, **values)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dots(uv: torch.Tensor, size: int) -> torch.Tensor:
    """A channel for each joint (B, 42, size, size), a Gaussian dot of 2 pixels at it."""
    at = torch.arange(size) + 0.5
    u, v = (uv.flatten(1, 2) * 4).unbind(-1)
    x = torch.exp(-0.5 * ((at - u[..., None]) / 2.0) ** 2)
    y = torch.exp(-0.5 * ((at - v[..., None]) / 2.0) ** 2)
    return y[..., :, None] * x[..., None, :]


def test_painted_dots_are_found_where_the_labels_say(batch: ImageBatch) -> None:
    """Each joint's own dot in a picture of its own, moved with the same draw."""
    for k in range(8):
        one = drawn(COLOURLESS, 8, generator(k))[k : k + 1]
        sample = batch[k : k + 1]
        picture = dots(sample.uv, SIZE)[0]
        many = ImageBatch(**{
            f.name: getattr(sample, f.name).expand(14, *getattr(sample, f.name).shape[1:])
            for f in fields(ImageBatch)
        })  # fmt: skip
        many = replace(many, image=picture.unflatten(0, (14, 3)))
        spread = Change(**{f.name: getattr(one, f.name).expand(14, *getattr(one, f.name).shape[1:])
                           for f in fields(Change)})  # fmt: skip
        moved = augmented(many, spread).image.flatten(0, 1)
        # The ground that comes in from outside is the picture's mean.
        moved = (moved - picture.mean((-1, -2), keepdim=True)).clamp_min(0)
        after = augmented(sample, one)
        if bool(one.flip):
            moved = moved.unflatten(0, (2, 21)).flip(0).flatten(0, 1)
        peak = moved.flatten(1).argmax(-1)
        found = torch.stack([peak % SIZE + 0.5, peak // SIZE + 0.5], dim=-1)
        inside = ((after.uv > 1) & (after.uv < SIZE / 4 - 1)).all(-1).flatten()
        off = (found - 4 * after.uv.flatten(0, 2)).norm(dim=-1)
        assert inside.sum() > 30 and off[inside].max() < 1.0


def test_labels_in_space_project_onto_the_moved_pixels(data: Path, batch: ImageBatch) -> None:
    """Orientation, tau and uv after a change are one pair before one camera: R_z and a moved K."""
    layer = HandLayer(hands())
    stored = Dataset(data)
    K, wrist = torch.tensor(stored.array("K")), torch.tensor(stored.array("joints"))[:, :, 0]
    one = drawn(COLOURLESS, 8, generator(5))
    after = augmented(batch, one)
    cos, sin, zero = one.angle.cos(), one.angle.sin(), torch.zeros(8)
    R_z = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1)
    R_z = R_z.unflatten(-1, (3, 3))
    mirrored = wrist.flip(1) * torch.tensor([-1.0, 1.0, 1.0])
    wrist = torch.where(one.flip[:, None, None], mirrored, wrist)
    wrist = wrist @ R_z.transpose(-1, -2)
    assert torch.allclose(wrist[:, 1] - wrist[:, 0], after.tau, atol=1e-6)
    joints = layer.joints(after.rotations, after.betas) + wrist[:, :, None]
    # The camera: the principal point goes the way of every pixel, the focal length is scaled.
    p = K[:, :2, 2]
    p = torch.where(one.flip[:, None], torch.stack([256 - p[:, 0], p[:, 1]], -1), p) - 128
    p = one.scale[:, None] * (p[:, None] @ R_z[:, :2, :2].transpose(-1, -2))[:, 0]
    p = p + 256 * one.shift + 128
    f = K[:, 0, 0] * one.scale
    uv = f[:, None, None, None] * joints[..., :2] / joints[..., 2:] + p[:, None, None]
    assert (uv * (SIZE / 4 / 256) - after.uv).abs().max() < 2e-3
    assert one.flip.any() and not one.flip.all()


def test_a_view_and_a_change_are_one_resampling(data: Path) -> None:
    """Twin: the view first, then the change; but for what two resamplings blur, the same."""
    images = read_images([data], hands(), "train")
    views = LabelledImages.opened(images, SIZE, CPU, resident=True)
    one = drawn(replace(COLOURLESS, flip=1.0), 8, generator(2))
    unsampled, back = views.unsampled(torch.arange(8))
    once = augmented(unsampled, one, back)
    twice = augmented(views.batch(torch.arange(8)), one)
    for name in ("uv", "rotations", "tau", "visible"):
        assert torch.equal(getattr(once, name), getattr(twice, name))
    unchanged = views.batch(torch.arange(8))
    for name in ("image", "mask"):
        a, b, c = (getattr(x, name) for x in (once, twice, unchanged))
        assert (a - b).abs().mean() < 0.25 * (a - c).abs().mean(), name


def test_mirrored_twice_is_nothing(batch: ImageBatch) -> None:
    flip = change(flip=True)
    once = augmented(batch, flip)
    twice = augmented(once, flip)
    for f in fields(ImageBatch):
        a, b = getattr(twice, f.name), getattr(batch, f.name)
        assert torch.allclose(a.float(), b.float(), atol=1e-5), f.name
    assert torch.equal(once.tau, batch.tau * torch.tensor([1.0, -1.0, -1.0]))
    assert torch.allclose(once.mask, batch.mask.flip(1, -1), atol=1e-5)
    assert torch.equal(once.hidden, batch.hidden.flip(1))
    layer = HandLayer(hands())
    joints = layer.joints(batch.rotations, batch.betas).flip(1) * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(layer.joints(once.rotations, once.betas), joints, atol=1e-5)


def test_a_turn_and_its_opposite_undo_each_other_in_the_labels(batch: ImageBatch) -> None:
    there = augmented(batch, change(angle=1.1))
    back = augmented(there, change(angle=-1.1))
    for name in ("uv", "rotations", "tau"):
        assert torch.allclose(getattr(back, name), getattr(batch, name), atol=1e-4)
    quarter = augmented(batch, change(angle=math.pi / 2))
    # From x towards y is clockwise in the picture: what was up is right.
    assert torch.allclose(quarter.image, batch.image.rot90(-1, (-2, -1)), atol=1e-3)
    assert torch.allclose(quarter.mask, batch.mask.rot90(-1, (-2, -1)), atol=1e-3)
    assert torch.allclose(quarter.tau[:, 0], -batch.tau[:, 1], atol=1e-6)


def test_what_leaves_the_picture_is_not_visible(batch: ImageBatch) -> None:
    moved = augmented(batch, change(shift=torch.tensor([0.4, 0.0])))
    outside = ((moved.uv < 0) | (moved.uv > SIZE / 4)).any(-1)
    assert outside.any() and not moved.visible[outside].any()
    assert torch.equal(moved.visible[~outside], batch.visible[~outside])


def test_what_comes_in_is_the_mean_colour(batch: ImageBatch) -> None:
    shrunk = augmented(batch, change(scale=0.5))
    corner = shrunk.image[:, :, :4, :4].mean((-1, -2))
    assert torch.allclose(corner, batch.image.mean((-1, -2)), atol=1e-3)
    assert shrunk.mask[..., :2].max() == 0


def test_no_change_is_none(batch: ImageBatch) -> None:
    same = augmented(batch, change())
    for f in fields(ImageBatch):
        a, b = getattr(same, f.name), getattr(batch, f.name)
        assert torch.allclose(a.float(), b.float(), atol=1e-5), f.name


def test_colours_and_blur(batch: ImageBatch) -> None:
    mean = batch.image.mean((-1, -2))
    flat = augmented(batch, change(contrast=0.5)).image
    assert torch.allclose(flat.mean((-1, -2)), mean, atol=1e-3)
    assert torch.allclose(flat.std((-1, -2)), 0.5 * batch.image.std((-1, -2)), rtol=1e-3)
    red = augmented(batch, change(gain=torch.tensor([1.1, 1.0, 0.9]))).image.mean((-1, -2))
    assert torch.allclose(red / mean, torch.tensor([1.1, 1.0, 0.9]).expand(8, 3), atol=1e-2)
    light = augmented(batch, change(brightness=0.1)).image
    assert light.max() <= 1 and torch.allclose(light.mean((-1, -2)), mean + 0.1, atol=1e-2)
    # A point of light: its second moment is the blur's variance, in pixels of this size.
    point = torch.zeros(8, 3, SIZE, SIZE)
    point[:, :, 60, 60] = 1.0
    blurred = augmented(replace(batch, image=point), change(sigma=1.4)).image[:, :, :, :].clone()
    x = torch.arange(SIZE) - 60.0
    weight = blurred[0, 0] - blurred[0, 0, 0, 0]
    variance = (weight.sum(0) * x**2).sum() / weight.sum()
    assert variance.sqrt().item() == pytest.approx(1.4 * SIZE / 256, rel=0.1)


def test_draws_keep_to_their_limits_and_are_the_generators() -> None:
    a = Augmentation(rotation_deg=90, scale=0.2, shift=0.1)
    found = drawn(a, 4000, generator())
    assert found.flip.float().mean() == pytest.approx(0.5, abs=0.03)
    assert 1.5 < found.angle.abs().max() <= math.pi / 2
    assert 1 / 1.2 - 1e-6 <= found.scale.min() < 0.85 and 1.18 < found.scale.max() <= 1.2 + 1e-6
    assert 0.098 < found.shift.abs().max() <= 0.1
    assert (found.sigma > 0).float().mean() == pytest.approx(a.blurred, abs=0.03)
    assert np.allclose(found.angle, drawn(a, 4000, generator()).angle)
    with pytest.raises(ValueError, match="flip = 2"):
        Augmentation(flip=2)

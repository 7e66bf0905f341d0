"""Pictures turned, mirrored, moved and recoloured on the device, their labels with them.

Section 3.1 of the paper: "random rotation, random flip and color blur"; how much is ours. Whole
batches at once. The geometry is one affine map of the picture about its centre, and exact:

- *Mirrored* first: the picture left for right, sides swapped in every label; local rotations
  S R S with S = diag(-1, 1, 1), which is (x, y, z) -> (x, -y, -z) of axis-angle; tau becomes
  (tx, -ty, -tz), for both wrists are mirrored and have changed places.
- *Turned* by an angle in the picture, scaled, moved. Turning a picture about its centre is the
  picture of hands turned about the optical axis, even where that axis does not meet the centre:
  with square pixels u = f x + p, so R (u - c) + c = f (R x) + (R (p - c) + c), hands R_z x before a
  camera whose principal point has been turned about the centre too. Orientation and tau are turned
  by that R_z. Scaling and moving change the camera alone, which is not given to the network.

What comes into the picture from outside it is its mean colour. Then contrast and a gain of each
channel about the mean, brightness, and a Gaussian blur of some.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from interaction_prior.images.batch import ImageBatch

# One row of random numbers for each of these.
_NUMBERS = ("flip", "angle", "scale", "x", "y", "contrast", "brightness", "red", "green", "blue",
            "blurred", "blur")  # fmt: skip
_FULL_SIZE = 256


@dataclass(frozen=True)
class Augmentation:
    """How far a picture is changed.

    flip: share that is mirrored. rotation_deg: turned evenly between plus and minus that. scale:
    enlarged or shrunk by up to 1 + scale, evenly in the logarithm. shift: moved along each axis, as
    a part of the picture's side. contrast, gain: factors 1 +- that, gain for each channel.
    brightness: +- that of the full range. blur: largest sigma in pixels of a 256 pixels wide
    picture, of the share `blurred`.
    """

    flip: float = 0.5
    rotation_deg: float = 180.0
    scale: float = 0.15
    shift: float = 0.06
    contrast: float = 0.25
    gain: float = 0.15
    brightness: float = 0.1
    blur: float = 1.5
    blurred: float = 0.3

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not 0 <= value < math.inf or (f.name in ("flip", "blurred") and value > 1):
                raise ValueError(f"augmentation {f.name} = {value!r} is out of range")


NONE = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to each of B pictures: flip (B,) bool; angle (B,) rad, from x towards y; scale
    (B,); shift (B, 2) as a part of the side; contrast, brightness (B,); gain (B, 3); sigma (B,) of
    the blur in pixels of a 256 pixels wide picture.
    """

    flip: Tensor
    angle: Tensor
    scale: Tensor
    shift: Tensor
    contrast: Tensor
    brightness: Tensor
    gain: Tensor
    sigma: Tensor

    def __getitem__(self, rows: slice) -> "Change":
        return Change(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device) -> "Change":
        """The same on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return Change(**moved)


def drawn(augmentation: Augmentation, n: int, generator: torch.Generator) -> Change:
    """Changes of n pictures, drawn on the CPU: the same for every device."""
    a = augmentation
    u = dict(zip(_NUMBERS, torch.rand(len(_NUMBERS), n, generator=generator), strict=True))

    def about_zero(name: str, most: float) -> Tensor:
        return (2.0 * u[name] - 1.0) * most

    return Change(
        flip=u["flip"] < a.flip,
        angle=about_zero("angle", math.radians(a.rotation_deg)),
        scale=about_zero("scale", math.log1p(a.scale)).exp(),
        shift=torch.stack([about_zero("x", a.shift), about_zero("y", a.shift)], dim=-1),
        contrast=1.0 + about_zero("contrast", a.contrast),
        brightness=about_zero("brightness", a.brightness),
        gain=1.0 + torch.stack([about_zero(c, a.gain) for c in ("red", "green", "blue")], dim=-1),
        sigma=torch.where(u["blurred"] < a.blurred, u["blur"] * a.blur, 0.0),
    )


def augmented(batch: ImageBatch, change: Change, back: Tensor | None = None) -> ImageBatch:
    """The batch with that done to it. change: on the CPU.

    back (B, 3, 3): where pixels of the batch are still to be taken from, as a map of -1..1 from
    side to side; labels are there already. So a picture is resampled once, whatever is done.
    """
    # Known here without asking the device.
    blurred = change.sigma.nonzero()[:, 0]
    change = change.to(batch.image.device)
    turned = _moved(_mirrored(batch, change.flip), change, back)
    image = _recoloured(turned.image, change)
    if len(blurred):
        rows = blurred.to(image.device, non_blocking=True)
        image = image.index_copy(0, rows, _blurred(image[rows], change.sigma[rows]))
    return replace(turned, image=image)


def resampled(batch: ImageBatch, back: Tensor) -> ImageBatch:
    """Pixels taken from where `back` (B, 3, 3) says, as in `augmented`; labels as they are."""
    return replace(batch, image=_filled(batch.image, back), mask=_sampled(batch.mask, back))


def _mirrored(batch: ImageBatch, flip: Tensor) -> ImageBatch:
    """Labels of the pictures mirrored left for right, masks' sides; `_moved` mirrors the pixels."""
    m = batch.mask.shape[-1]
    sign = batch.tau.new_tensor([-1.0, 1.0, 1.0])
    # S R S changes the sign where exactly one of row and column is x.
    signs = sign[:, None] * sign

    def where(yes: Tensor, no: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (no.ndim - 1)), yes, no)

    def swapped(x: Tensor) -> Tensor:
        return where(x.flip(1), x)

    uv = batch.uv.flip(1)
    return replace(
        batch,
        mask=swapped(batch.mask),
        uv=where(torch.stack([m - uv[..., 0], uv[..., 1]], dim=-1), batch.uv),
        visible=swapped(batch.visible),
        rotations=where(batch.rotations.flip(1) * signs, batch.rotations),
        betas=swapped(batch.betas),
        tau=where(-sign * batch.tau, batch.tau),
        hidden=swapped(batch.hidden),
    )


def _moved(batch: ImageBatch, change: Change, back: Tensor | None) -> ImageBatch:
    """Pictures mirrored, turned, scaled and moved about their centre, labels but the mirror."""
    cos, sin = change.angle.cos(), change.angle.sin()
    R = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
    # A point p from the centre goes to s R p + t; a pixel comes from R^T (p - t) / s, mirrored. In
    # units of half a side the shift counts twice.
    linear = R.transpose(-1, -2) / change.scale[:, None, None]
    offset = -(linear @ (2.0 * change.shift)[..., None])
    mirror = torch.stack([1.0 - 2.0 * change.flip.float(), torch.ones_like(cos)], dim=-1)
    affine = mirror[..., None] * torch.cat([linear, offset], dim=-1)
    last = affine.new_tensor([0.0, 0.0, 1.0]).expand(len(affine), 1, 3)
    source = torch.cat([affine, last], dim=1)
    if back is not None:
        source = back @ source

    m = batch.mask.shape[-1]
    centred = batch.uv - 0.5 * m
    uv = change.scale[:, None, None, None] * (centred @ R.transpose(-1, -2)[:, None])
    uv = uv + (m * change.shift)[:, None, None] + 0.5 * m
    inside = ((uv >= 0) & (uv <= m)).all(-1)

    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    R_z = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    orientation = R_z[:, None] @ batch.rotations[:, :, 0]
    return replace(
        batch,
        image=_filled(batch.image, source),
        mask=_sampled(batch.mask, source),
        uv=uv,
        visible=batch.visible & inside,
        rotations=torch.cat([orientation[:, :, None], batch.rotations[:, :, 1:]], dim=2),
        tau=(R_z @ batch.tau[..., None]).squeeze(-1),
    )


def _filled(image: Tensor, source: Tensor) -> Tensor:
    """Pictures from where `source` says; their mean colour where that is outside."""
    mean = image.mean((-1, -2), keepdim=True)
    return _sampled(image - mean, source) + mean


def _sampled(x: Tensor, source: Tensor) -> Tensor:
    """x (B, C, S, S) where maps `source` (B, 3, 3) of -1..1 from side to side say; 0 outside."""
    size = x.shape[-1]
    at = (2.0 * torch.arange(size, device=x.device, dtype=x.dtype) + 1.0) / size - 1.0
    # Row by row instead of a product with every pixel's (x, y, 1).
    column, row, one = source[..., None, None, :].unbind(-1)
    points = column * at + row * at[:, None] + one
    grid = (points[:, :2] / points[:, 2:]).permute(0, 2, 3, 1)
    return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=False)


def _recoloured(image: Tensor, change: Change) -> Tensor:
    mean = image.mean((-1, -2), keepdim=True)
    factor = change.contrast[:, None] * change.gain
    # The mean itself takes the gain too: a gain is the light's colour.
    offset = mean * (change.gain[..., None, None] - factor[..., None, None])
    moved = offset + change.brightness[:, None, None, None]
    return (image * factor[..., None, None]).add_(moved).clamp_(0.0, 1.0)


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Each picture by a Gaussian of its own, sigma (B,) in pixels of a 256 pixels wide one."""
    b, c, size, _ = image.shape
    sigma = sigma * (size / _FULL_SIZE)
    # Three sigmas of the widest that the default draws; what a wider one loses is shared out.
    radius = max(1, math.ceil(4.5 * size / _FULL_SIZE))
    offset = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    # Below a twentieth of a pixel the kernel is a single one.
    kernel = torch.exp(-0.5 * (offset / sigma.clamp_min(0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(c, dim=0)
    x = functional.pad(image, [radius] * 4, mode="replicate").reshape(
        1, b * c, *[size + 2 * radius] * 2
    )
    x = functional.conv2d(x, kernel[:, None, None, :], groups=b * c)
    x = functional.conv2d(x, kernel[:, None, :, None], groups=b * c)
    return x.view(b, c, size, size)

"""Pictures a second of training an image network, against the loop one would write first.

    python benchmarks/train_recon.py --data IMAGES [--device cuda] [--preset paper] [--batch 64] […]

(a) A step end to end: ours (`interaction_prior.recon_training`: pictures resident as uint8, changed
on the device by the batch, channels last, fused Adam, the loss fetched seldom; with --precision and
--compile as given) against the plain loop: a torch DataLoader (`--workers`) over numpy samples that
are turned, mirrored and recoloured one by one (PIL), the same network on the same device, eager
float32, channels first, torch's default Adam, `loss.item()` each step. Medians of rounds taken turn
by turn, their ratio, and the share of ours in which the step waits for its batch, resident and
streamed from the shards.
(b) Inference: pictures a second at batch 1 and 64, the batch already on the device.

Training times do not depend on what the pictures show; any image dataset does.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from interaction_prior.features import feature_loss, feature_targets
from interaction_prior.fusion import ReconNetwork, reconstruction_loss
from interaction_prior.hands.rotations import matrix_from_axis_angle
from interaction_prior.images import (
    Augmentation,
    ImageBatch,
    ImageBatches,
    ImagePairs,
    LabelledImages,
    read_images,
)
from interaction_prior.images.pictures import read_pictures
from interaction_prior.prior import InteractionPrior
from interaction_prior.recon_training import PRESETS, ReconOptions
from interaction_prior.recon_training.network import first_network, picture_size
from interaction_prior.recon_training.steps import ReconStepper
from interaction_prior.training.allocation import keep_freed_memory
from interaction_prior.training.distributed import Processes
from twohand500k.hand import load_hands
from twohand500k.shards.schema import IMAGE_SIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--variant", default="full")
    parser.add_argument("--prior", default="open")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true", help="ours")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoader")
    parser.add_argument("--pictures", type=int, default=2048, help="of the dataset, at most")
    parser.add_argument("--steps", type=int, default=5, help="of a round")
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    options = replace(
        PRESETS[args.preset], variant=args.variant, weights="none",
        feature_steps=0, precision=args.precision, compile=args.compile,
    )  # fmt: skip
    options = replace(options, batch=args.batch or options.batch)
    hands = load_hands()
    images = read_images([args.data], hands, "all")
    images = images.select(np.arange(min(len(images), args.pictures)))
    prior = InteractionPrior.load(args.prior, device=device) if args.variant != "no-prior" else None
    print(
        f"{args.preset}, {args.variant}, {picture_size(options)} pixels, batch {options.batch}, "
        f"{len(images):,} pictures, {_name(device)}, {args.threads} CPU threads, torch "
        f"{torch.__version__}\n"
    )

    def network() -> ReconNetwork:
        return first_network(options, prior, hands).to(device)

    loops = {
        "plain loop": plain_loop(network(), options, images, args.workers, device),
        "ours": our_loop(network(), options, images, device, resident=True),
        "ours, streamed": our_loop(network(), options, images, device, resident=False),
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    waits: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(args.rounds):
        for name, loop in loops.items():
            taken, waited = a_round(loop, args.steps, device)
            times[name].append(taken)
            waits[name].append(waited)
    print("(a) end to end       ms a step   pictures/s   of it, waiting for the batch")
    for name in loops:
        # The first round compiles, allocates, starts workers.
        step = statistics.median(times[name][1:])
        share = statistics.median(waits[name][1:]) / step
        print(f"    {name:15} {1e3 * step:12.1f} {options.batch / step:12.1f} {share:12.1%}")
    plain, ours = (statistics.median(times[name][1:]) for name in ("plain loop", "ours"))
    print(f"    ratio {plain / ours:.2f}\n")

    print("(b) inference   ms a call   pictures/s")
    labelled = LabelledImages.opened(
        images.select(np.arange(min(64, len(images)))), picture_size(options), device, resident=True
    )
    judged = network().eval()
    if options.channels_last:
        judged.to(memory_format=torch.channels_last)
    for batch in (1, 64):
        image = labelled.batch(torch.arange(batch) % len(labelled)).image
        call = median_call(judged, image, options, device)
        print(f"    batch {batch:3} {1e3 * call:12.1f} {batch / call:12.1f}")


Loop = Iterator[float]


def our_loop(
    network: ReconNetwork, options: ReconOptions, images: ImagePairs, device: torch.device,
    *, resident: bool,
) -> Loop:  # fmt: skip
    """One step of ours each time; the seconds it waited for its batch."""
    if options.channels_last:
        network.to(memory_format=torch.channels_last)
    labelled = LabelledImages.opened(images, picture_size(options), device, resident=resident)
    batches = ImageBatches(labelled, options.augmentation, batch=options.batch, seed=0)
    stepper = ReconStepper(network.train(), options, Processes(0, 1, device))
    began = time.perf_counter()
    for step, batch in enumerate(batches.from_step(0)):
        waited = time.perf_counter() - began
        stepper(batch, step, options.learning_rate)
        yield waited
        began = time.perf_counter()


def plain_loop(
    network: ReconNetwork, options: ReconOptions, images: ImagePairs, workers: int,
    device: torch.device,
) -> Loop:  # fmt: skip
    """One step of the plain loop each time; the seconds it waited for its batch."""
    adam = torch.optim.Adam(network.train().parameters(), lr=options.learning_rate)
    samples = PlainSamples(images, picture_size(options), options.augmentation)
    loader = DataLoader(
        samples, batch_size=options.batch, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=device.type == "cuda",
    )  # fmt: skip
    if not len(loader):
        raise SystemExit(f"{len(images)} pictures make no batch of {options.batch}")
    began = time.perf_counter()
    for arrays in (arrays for _ in cycle([0]) for arrays in loader):
        batch = ImageBatch(**{name: tensor.to(device) for name, tensor in arrays.items()})
        waited = time.perf_counter() - began
        made = network(batch.image)
        terms = feature_loss(made.features, feature_targets(batch, network.features.options))
        loss = terms.total + reconstruction_loss(made, batch).total
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss.item()
        yield waited
        began = time.perf_counter()


class PlainSamples(Dataset):  # type: ignore[type-arg]
    """Pictures in memory, changed one by one as they are asked for."""

    def __init__(self, images: ImagePairs, size: int, augmentation: Augmentation) -> None:
        self.images, self.size, self.amount = images, size, augmentation
        self.pictures, self.masks = read_pictures(images, np.arange(len(images)), size)
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        a, rng, m = self.amount, self.rng, self.size // 4
        image, mask = self.pictures[k], self.masks[k]
        uv = self.images.uv[k] * (m / IMAGE_SIZE)
        pairs = self.images.pairs
        pose = matrix_from_axis_angle(torch.from_numpy(pairs.pose[k])).numpy()
        betas, tau = pairs.betas[k], pairs.place[k]
        visible, hidden = self.images.visible[k], self.images.hidden[k]
        if rng.random() < a.flip:
            image, mask = image[:, ::-1], mask[::-1, :, ::-1]
            uv = np.stack([m - uv[::-1, :, 0], uv[::-1, :, 1]], axis=-1)
            S = np.diag([-1.0, 1.0, 1.0])
            pose, betas, tau = S @ pose[::-1] @ S, betas[::-1], tau * [1, -1, -1]
            visible, hidden = visible[::-1], hidden[::-1]
        angle = rng.uniform(-a.rotation_deg, a.rotation_deg)
        scale = math.exp(rng.uniform(-1, 1) * math.log1p(a.scale))
        shift = rng.uniform(-a.shift, a.shift, size=2)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        R = np.array([[cos, -sin], [sin, cos]])

        def warped(pixels: np.ndarray) -> np.ndarray:
            side = pixels.shape[0]
            back, centre = R.T / scale, 0.5 * side
            offset = centre - back @ (np.full(2, centre) + shift * side)
            picture = Image.fromarray(np.ascontiguousarray(pixels))
            rows = (*back[0], offset[0], *back[1], offset[1])
            return np.asarray(
                picture.transform((side, side), Image.Transform.AFFINE, rows,
                                  Image.Resampling.BILINEAR)
            )  # fmt: skip

        x = warped(image).astype(np.float32) / 255
        x = (x - x.mean((0, 1))) * (1 + rng.uniform(-a.contrast, a.contrast)) + x.mean((0, 1))
        x = x * (1 + rng.uniform(-a.gain, a.gain, size=3)) + rng.uniform(-1, 1) * a.brightness
        masks = np.stack([warped(one) for one in mask]).astype(np.float32) / 255
        R_z = np.eye(3)
        R_z[:2, :2] = R
        pose = pose.copy()
        pose[:, 0] = R_z @ pose[:, 0]
        uv = scale * (uv - m / 2) @ R.T + m / 2 + m * shift
        inside = ((uv >= 0) & (uv <= m)).all(-1)
        arrays = {
            "image": x.clip(0, 1).transpose(2, 0, 1), "mask": masks, "uv": uv,
            "rotations": pose, "betas": betas, "tau": R_z @ tau, "hidden": hidden,
        }  # fmt: skip
        tensors = {n: torch.tensor(np.ascontiguousarray(v, np.float32)) for n, v in arrays.items()}
        tensors["visible"] = torch.tensor(visible & inside)
        return {f.name: tensors[f.name] for f in fields(ImageBatch)}


def a_round(loop: Loop, steps: int, device: torch.device) -> tuple[float, float]:
    """Seconds of a step, and of its waiting, averaged over a round."""
    _settle(device)
    began = time.perf_counter()
    waited = sum(next(loop) for _ in range(steps))
    _settle(device)
    return (time.perf_counter() - began) / steps, waited / steps


@torch.no_grad()
def median_call(
    network: ReconNetwork, image: Tensor, options: ReconOptions, device: torch.device
) -> float:
    """Seconds of a call on a batch, joints of both hands included."""
    low = options.precision == "bfloat16"

    def call() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            made = network(image)
        _ = made.joints

    times = []
    for _ in range(12):
        times.append(timed(call, device))
    return statistics.median(times[2:])


def timed(do: Callable[[], None], device: torch.device) -> float:
    _settle(device)
    began = time.perf_counter()
    do()
    _settle(device)
    return time.perf_counter() - began


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


if __name__ == "__main__":
    main()

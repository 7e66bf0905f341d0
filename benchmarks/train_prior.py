"""Steps a second of training a prior, against the loop one would write first.

    python benchmarks/train_prior.py [--device cpu] [--threads 1] [--representation mano] [...]

(a) At batch 64: ours (`interaction_prior.training`: the set resident, drawn and turned by the
block, fused Adam, freed memory kept, the loss fetched seldom) against the plain loop: a torch
DataLoader over numpy samples that are mirrored and turned one by one (scipy's Rotation), the same
network on the same device, eager, torch's default Adam, `loss.item()` each step. Each in its own
process, turn by turn, so that what else the machine does falls on both; medians, their ratio, and
where a step's time goes.
(b) Pairs a second of ours as the batch grows.

Poses are random: how long a step takes does not depend on them.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from interaction_prior.data import Batches, Pairs, ResidentRows
from interaction_prior.hands import HandLayer
from interaction_prior.prior import PriorNetwork
from interaction_prior.prior.loss import prior_loss
from interaction_prior.representations import Normalisation, Representation, fit_normalisation
from interaction_prior.training import PRESETS, TrainOptions
from interaction_prior.training.allocation import keep_freed_memory
from interaction_prior.training.distributed import Processes
from interaction_prior.training.rows import vectors
from interaction_prior.training.steps import TERMS, Stepper
from twohand500k.hand import load_hands

_BATCHES = (64, 128, 256, 512, 1024, 2048, 4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--representation", default="mano", choices=("mano", "joints"))
    parser.add_argument("--rotation-form", default="6d", choices=("6d", "axis-angle"))
    parser.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoader")
    parser.add_argument("--compile", action="store_true", help="ours")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    print(
        f"{args.representation} ({args.rotation_form}), hidden {args.hidden}, {args.device}, "
        f"{args.threads} CPU threads, {args.precision}"
        + (", ours compiled" if args.compile else "")
        + f", torch {torch.__version__}\n"
    )
    sides = {name: Side(name, args) for name in ("plain loop", "ours")}
    try:
        compare(sides, args.rounds)
    finally:
        for side in sides.values():
            side.close()


def compare(sides: Mapping[str, "Side"], rounds: int) -> None:
    """Both tables."""
    medians = {
        name: dict.fromkeys(("step", "batch", "forward and backward", "Adam"), 0.0)
        for name in sides
    }
    # Turn by turn, so that what else the machine does falls on both.
    for part in medians["ours"]:
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                times[name].append(side.seconds(part, 64))
        for name, taken in times.items():
            medians[name][part] = statistics.median(taken[2:])

    print("(a) batch 64      ms a step    steps/s    of it, each timed alone, ms")
    for name, parts in medians.items():
        step = parts.pop("step")
        line = ", ".join(f"{part} {1e3 * median:.2f}" for part, median in parts.items())
        print(f"    {name:12} {1e3 * step:12.2f} {1 / step:10.1f}    {line}")
        parts["step"] = step
    print(f"    ratio {medians['plain loop']['step'] / medians['ours']['step']:.2f}\n")

    print("(b) batch    ms a step    pairs/s   (ours)")
    for batch in _BATCHES:
        taken = [sides["ours"].seconds("step", batch) for _ in range(6)]
        median = statistics.median(taken[1:])
        print(f"{batch:9} {1e3 * median:12.2f} {batch / median:10,.0f}")


class Side:
    """One of the two loops in a process of its own, which does a round when asked."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(name, args, theirs), daemon=False)
        self._process.start()

    def seconds(self, part: str, batch: int) -> float:
        """Of one step, or a part of it, averaged over a round of about 2,048 pairs."""
        self._ours.send((part, batch))
        return self._ours.recv()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._ours.send(None)
        self._process.join()


def serve(name: str, args: argparse.Namespace, pipe: Connection) -> None:
    """What a side's process does: everything made once, then rounds."""
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    options = replace(
        PRESETS["paper"],
        representation=Representation(args.representation, args.rotation_form),
        hidden=args.hidden, compile=args.compile, precision=args.precision,
    )  # fmt: skip
    if name == "ours":
        keep_freed_memory()
    pairs = random_pairs(args.pairs)
    layer = HandLayer(load_hands()).to(device)
    x = torch.cat(list(vectors(pairs, options.representation, layer, device)))
    normalisation = fit_normalisation("block", options.representation, x).to(device)
    works: dict[tuple[str, int], Callable[[], object]] = {}
    while (asked := pipe.recv()) is not None:
        part, batch = asked
        if asked not in works:
            o = replace(options, batch=batch)
            works[asked] = {
                "plain loop": lambda part, o: plain_work(
                    part, o, pairs, layer, normalisation, device, args.workers
                ),
                "ours": lambda part, o: our_work(part, o, x, normalisation, device),
            }[name](part, o)
            works[asked]()
        pipe.send(timed(works[asked], max(4, 2048 // batch), device))


def our_work(
    part: str, options: TrainOptions, x: Tensor, n: Normalisation, device: torch.device
) -> Callable[[], object]:
    """A call that does one step of ours, or a part of it."""
    if part == "step":
        return our_loop(options, x, n, device).__next__
    batches = our_batches(options, x, n, device)
    if part == "batch":
        return batches.__next__
    network = PriorNetwork(options.architecture).to(device)
    stepper = Stepper(network, options, Processes(0, 1, device))
    rows, noise = next(batches)
    stepper(rows, noise, 0.0)
    if part == "Adam":
        return stepper._adam.step

    def forward_backward() -> None:
        network.zero_grad(set_to_none=True)
        stepper._forward(rows, noise)[0].backward()

    return forward_backward


def plain_work(
    part: str, options: TrainOptions, pairs: Pairs, layer: HandLayer, n: Normalisation,
    device: torch.device, workers: int,
) -> Callable[[], object]:  # fmt: skip
    """A call that does one step of the plain loop, or a part of it."""
    if part == "step":
        return plain_loop(options, pairs, layer, n, device, workers).__next__
    batches = plain_batches(options, pairs, layer, n, workers)
    if part == "batch":
        return batches.__next__
    network = PriorNetwork(options.architecture).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=1e-5)
    x = next(batches).to(device)
    noise = torch.randn(len(x), options.latents, device=device)

    def forward_backward() -> None:
        network.zero_grad()
        prior_loss(x, *network(x, noise), weight=options.weight).total.backward()

    forward_backward()
    return adam.step if part == "Adam" else forward_backward


def our_loop(
    options: TrainOptions, x: Tensor, normalisation: Normalisation, device: torch.device
) -> Iterator[None]:
    """One step of ours each time."""
    torch.manual_seed(0)
    network = PriorNetwork(options.architecture).to(device)
    stepper = Stepper(network, options, Processes(0, 1, device))
    window = torch.zeros(options.log_every, len(TERMS), device=device)
    for step, (rows, noise) in enumerate(our_batches(options, x, normalisation, device)):
        window[step % options.log_every] = stepper(rows, noise, options.learning_rate_at(step))
        if step % options.log_every == options.log_every - 1:
            window.cpu()
        yield


def our_batches(
    options: TrainOptions, x: Tensor, normalisation: Normalisation, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Joint batches of ours without end."""
    batches = Batches(
        ResidentRows(x), options.representation, normalisation, options.draw, device=device
    )
    return batches.from_step(0)


class NumpySamples(Dataset):  # type: ignore[type-arg]
    """Pairs as arrays, mirrored and turned one by one as they are asked for."""

    def __init__(
        self, pairs: Pairs, layer: HandLayer, representation: Representation, n: Normalisation
    ) -> None:
        self.representation = representation
        self.mean, self.scale = n.mean.cpu().numpy(), n.scale.cpu().numpy()
        self.rng = np.random.default_rng(0)
        if representation.name == "joints":
            cpu = torch.device("cpu")
            joints = torch.cat(list(vectors(pairs, representation, layer.to(cpu), cpu)))
            self.joints = joints.numpy().reshape(-1, 2, 20, 3)
        self.pose, self.betas = pairs.pose, pairs.betas

    def __len__(self) -> int:
        return len(self.pose)

    def __getitem__(self, k: int) -> Tensor:
        Q = Rotation.random(random_state=self.rng)
        swap = self.rng.random() < 0.5
        if self.representation.name == "joints":
            joints = self.joints[k]
            if swap:
                joints = joints[::-1] * np.array([-1.0, 1.0, 1.0])
            x = (joints.reshape(-1, 3) @ Q.as_matrix().T).ravel()
        else:
            pose, betas = self.pose[k], self.betas[k]
            if swap:
                pose, betas = pose[::-1] * np.array([1.0, -1.0, -1.0]), betas[::-1]
            root = Q * Rotation.from_rotvec(pose[:, 0])
            if self.representation.rotation == "axis-angle":
                forms = root.as_rotvec(), pose[:, 1:]
            else:
                fingers = Rotation.from_rotvec(pose[:, 1:].reshape(-1, 3))
                forms = six(root), six(fingers)
            x = np.concatenate([np.ravel(form) for form in (*forms, betas)])
        return torch.from_numpy(((x - self.mean) / self.scale).astype(np.float32))


def six(rotations: Rotation) -> np.ndarray:
    """First two columns, one after the other."""
    return rotations.as_matrix()[..., :2].transpose(0, 2, 1)


def plain_batches(
    options: TrainOptions, pairs: Pairs, layer: HandLayer, n: Normalisation, workers: int
) -> Iterator[Tensor]:
    """Batches of the DataLoader, epoch after epoch."""
    samples = NumpySamples(pairs, layer, options.representation, n)
    while True:
        yield from DataLoader(
            samples, batch_size=options.batch, shuffle=True, drop_last=True, num_workers=workers
        )


def plain_loop(
    options: TrainOptions, pairs: Pairs, layer: HandLayer, n: Normalisation,
    device: torch.device, workers: int,
) -> Iterator[None]:  # fmt: skip
    """One step of the plain loop each time."""
    torch.manual_seed(0)
    network = PriorNetwork(options.architecture).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    for x in plain_batches(options, pairs, layer, n, workers):
        x = x.to(device)
        noise = torch.randn(len(x), options.latents, device=device)
        adam.zero_grad()
        loss = prior_loss(x, *network(x, noise), weight=options.weight).total
        loss.backward()
        adam.step()
        loss.item()
        yield


def timed(do: Callable[[], object], steps: int, device: torch.device) -> float:
    """Seconds of each of `steps` calls, on average."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        do()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def random_pairs(n: int) -> Pairs:
    """Any poses: a step takes as long for one as for another."""
    rng = np.random.default_rng(0)
    return Pairs(
        sample_id=np.array([f"{k}" for k in range(n)]),
        pose=rng.normal(scale=0.5, size=(n, 2, 16, 3)).astype(np.float32),
        betas=rng.normal(size=(n, 2, 10)).astype(np.float32),
        place=rng.normal(scale=0.1, size=(n, 3)).astype(np.float32),
        dataset=np.zeros(n, dtype=np.int32),
    )


if __name__ == "__main__":
    main()

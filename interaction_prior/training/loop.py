"""`train_prior`: datasets in, a run folder with a trained prior out.

The same call again resumes from the newest checkpoint, on a CPU to the last bit; Ctrl-C and
SIGTERM stop between two steps and save one. A loss that is no number stops the run with its
reason and leaves the checkpoints before it alone.
"""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interaction_prior.data import Batches, Pairs, read_pairs
from interaction_prior.data.batches import Rows
from interaction_prior.hands import HandLayer
from interaction_prior.prior import PriorNetwork, PriorRecord, read_prior, write_prior
from interaction_prior.prior.card import card_text
from interaction_prior.prior.initial import initialise_as_pca
from interaction_prior.representations import Normalisation, fit_normalisation
from interaction_prior.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    write_checkpoint,
)
from interaction_prior.training.curves import draw_curves
from interaction_prior.training.distributed import Processes, joined
from interaction_prior.training.draws import draws_loss
from interaction_prior.training.facts import (
    dataset_facts,
    hand_model_facts,
    library_versions,
    on_cpu,
    write_session,
)
from interaction_prior.training.latents import aggregate_posterior
from interaction_prior.training.metrics import Metrics, cut_metrics, read_metrics
from interaction_prior.training.options import ROTATION_DISTRIBUTION, TrainOptions
from interaction_prior.training.rows import (
    is_resident,
    make_rows,
    row_weights,
    set_bytes,
    typical_vectors,
)
from interaction_prior.training.run_folder import RunFolder
from interaction_prior.training.stepping import Steps
from interaction_prior.training.steps import TERMS, Stepper
from interaction_prior.training.summary import (
    Provenance,
    Report,
    TrainingPlan,
    TrainSummary,
)
from interaction_prior.training.validation import Validation, make_validation, validation_pairs
from twohand500k.errors import DataError
from twohand500k.hand import HandPair
from twohand500k.shards.files import write_whole

Log = Callable[[str], None]


def train_prior(
    folders: Sequence[str | Path],
    out: str | Path,
    options: TrainOptions,
    hands: HandPair,
    *,
    device: str | torch.device = "cpu",
    log: Log = print,
    progress: Report | None = None,
    provenance: Provenance | None = None,
) -> TrainSummary:
    """Train a prior on the interactions of datasets; the run folder `out` holds all of it.

    hands: the model the datasets are on. Under `torchrun`, every process calls this alike.

    Raises DataError for data that cannot be trained on (`data.read_pairs`), a folder of something
    else or another run, other options than the run was begun with, or a loss that is no number;
    KeyboardInterrupt, with how to resume, when stopped.
    """
    with joined(torch.device(device)) as processes:
        # The folder before the data: what cannot be written need not be read.
        folder = RunFolder(Path(out))
        with folder.held() if processes.first else contextlib.nullcontext():
            run = _Run.begun(
                folders, folder, options, hands, processes,
                log=log if processes.first else lambda line: None,
                provenance=provenance or Provenance(),
            )  # fmt: skip
            return run.trained(progress or (lambda report: None))


def plan_training(
    folders: Sequence[str | Path],
    options: TrainOptions,
    hands: HandPair,
    *,
    device: str | torch.device = "cpu",
) -> TrainingPlan:
    """What `train_prior` would do; a few steps on random numbers tell how long.

    Raises DataError as `read_pairs` does.
    """
    device = torch.device(device)
    pairs = read_pairs(folders, hands, options.split)
    held_out = validation_pairs(folders, hands, options)
    options = options.resolved(len(pairs))
    network = _network(options)
    n_bytes = set_bytes(len(pairs), options.representation)
    return TrainingPlan(
        options=options,
        pairs=tuple((d["folder"], d["samples"]) for d in dataset_facts(folders, pairs.dataset)),
        validation_pairs=0 if held_out is None else len(held_out),
        parameters=sum(p.numel() for p in network.parameters()),
        set_bytes=n_bytes,
        resident=is_resident(options.resident, n_bytes, device),
        epochs=options.steps * options.batch / len(pairs),
        step_seconds=_step_seconds(network, options, device),
    )


@dataclass(eq=False)
class _Run:
    """One session of a run: everything its steps need."""

    folder: RunFolder
    options: TrainOptions
    hands: HandPair
    processes: Processes
    pairs: Pairs
    datasets: list[dict[str, Any]]
    rows: Rows
    weights: Tensor | None
    validation: Validation | None
    start: Checkpoint
    log: Log
    provenance: Provenance

    @staticmethod
    def begun(
        folders: Sequence[str | Path],
        folder: RunFolder,
        options: TrainOptions,
        hands: HandPair,
        processes: Processes,
        *,
        log: Log,
        provenance: Provenance,
    ) -> "_Run":
        """Data read, options compared, the newest checkpoint or the first network taken."""
        if options.batch % processes.size:
            raise DataError(
                f"a batch of {options.batch} does not divide among {processes.size} processes: "
                "choose a multiple"
            )
        if options.dataset_weights and len(options.dataset_weights) != len(folders):
            raise ValueError(
                f"{len(options.dataset_weights)} dataset_weights for {len(folders)} datasets"
            )
        device = processes.device
        pairs = read_pairs(folders, hands, options.split)
        held_out = validation_pairs(folders, hands, options)
        options = options.resolved(len(pairs))
        datasets = dataset_facts(
            folders, pairs.dataset, options.dataset_weights, provenance.licences
        )
        start = None
        if processes.first:
            folder.begin(
                {
                    "options": options.to_json(),
                    "data_sha256": pairs.sha256(),
                    "validation_sha256": None if held_out is None else held_out.sha256(),
                    "hand_model": hand_model_facts(hands),
                }
            )
            start = latest_checkpoint(
                folder.checkpoints, options.architecture, options.representation, log
            )
            if held_out is None and options.split == "train":
                log("no pair of split 'val': nothing is held out, so nothing is validated")
        layer = HandLayer(hands).to(device)
        n_bytes = set_bytes(len(pairs), options.representation)
        resident = is_resident(options.resident, n_bytes, device)
        if not resident:
            log(f"the set takes {n_bytes / 2**30:.1f} GiB as vectors: streamed from a file")
        rows = make_rows(pairs, options.representation, layer, device, resident=resident)
        weights = row_weights(pairs, options.dataset_weights)
        if start is None and processes.first:
            start = _first_checkpoint(rows, options, layer, device, weights)
        validation = (
            make_validation(held_out, layer, options, device)
            if held_out is not None and processes.first
            else None
        )
        run = _Run(
            folder, options, hands, processes, pairs, datasets, rows, weights, validation,
            processes.from_first(start), log, provenance,
        )  # fmt: skip
        if processes.first and not folder.finished:
            run.write_session(resident)
        return run

    def write_session(self, resident: bool) -> None:
        """This session's entry in `run.json`."""
        write_session(
            self.folder, self.processes, self.provenance, self.log,
            step=self.start.step, resident=resident,
            facts={
                "data": self.datasets,
                "data_sha256": self.pairs.sha256(),
                "hand_model": hand_model_facts(self.hands),
                "rotation": self.rotation,
            },
        )  # fmt: skip

    @property
    def versions(self) -> dict[str, str]:
        """Of the caller's libraries and those that train."""
        return {**self.provenance.versions, **library_versions()}

    @property
    def rotation(self) -> dict[str, str]:
        """What pairs are turned by."""
        kind = self.options.rotation
        return {"kind": kind, "distribution": ROTATION_DISTRIBUTION[kind]}

    def trained(self, progress: Report) -> TrainSummary:
        """Take the steps that are left, and write what the run ends with."""
        if self.processes.from_first(self.folder.finished):
            final = _final_of(self.folder)
            return self._summary(self.start.seconds, final, was_finished=True)
        o, device = self.options, self.processes.device
        network = PriorNetwork(o.architecture)
        network.load_state_dict(dict(self.start.weights))
        network.to(device)
        normalisation = self.start.normalisation.to(device)
        work = _PriorWork(self, network, normalisation)
        if not self.processes.first:
            steps = self._steps(work, None, progress)
            steps.take()
            return self._summary(steps.seconds, {})
        if self.start.step:
            self.log(f"goes on from step {self.start.step:,} of {o.steps:,}")
        cut_metrics(self.folder.metrics, self.start.step, o.steps)
        with Metrics(
            self.folder.metrics, self.folder.tensorboard, self.start.step, self.log
        ) as metrics:
            steps = self._steps(work, metrics, progress)
            steps.take()
            final = steps.validated()
        self._finish(network, normalisation, final)
        return self._summary(steps.seconds, final)

    def _steps(self, work: "_PriorWork", metrics: Metrics | None, progress: Report) -> Steps:
        return Steps(
            work, self.options, self.processes, metrics, progress,
            step=self.start.step, seconds=self.start.seconds, window=self.start.window,
            resume=self.provenance.command,
        )  # fmt: skip

    def _finish(
        self, network: PriorNetwork, normalisation: Normalisation, final: Mapping[str, Any]
    ) -> None:
        """Curves, card and, last of all, the prior."""
        o = self.options
        record = PriorRecord(
            architecture=o.architecture,
            representation=o.representation,
            normalisation=normalisation.to("cpu"),
            weights={name: tensor.cpu() for name, tensor in network.state_dict().items()},
            hand_model=hand_model_facts(self.hands),
            latents=aggregate_posterior(
                network, self.rows, normalisation, o, self.processes.device, self.weights
            ),
            training={
                "data": self.datasets,
                "data_sha256": self.pairs.sha256(),
                "split": o.split,
                "options": o.to_json(),
                "steps": o.steps,
                "samples_seen": o.steps * o.batch,
                "final": dict(final),
                "rotation": self.rotation,
                "git_revision": self.provenance.git_revision,
                "versions": self.versions,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            },
        )
        title = (
            f"{o.model.upper()} of {o.representation}, {len(self.pairs):,} pairs, "
            f"batches of {o.batch}, Adam {o.learning_rate:g}"
        )
        draw_curves(self.folder.curves, read_metrics(self.folder.metrics), title)
        write_whole(self.folder.card, card_text(record).encode())
        write_prior(self.folder.result, record)

    def _summary(
        self, seconds: float, final: Mapping[str, Any], was_finished: bool = False
    ) -> TrainSummary:
        o = self.options
        return TrainSummary(
            folder=self.folder.path, steps=o.steps, samples_seen=o.steps * o.batch,
            seconds=seconds, final=final, resumed_from=self.start.step,
            was_finished=was_finished,
        )  # fmt: skip


class _PriorWork:
    """A step of the prior: its batch, its loss, its validation, its checkpoint."""

    remedy = (
        "a lower --lr, a longer --warmup, float32 instead of bfloat16, or --normalisation "
        "geometric would help"
    )

    def __init__(self, run: _Run, network: PriorNetwork, normalisation: Normalisation) -> None:
        self.run, self.network, self.normalisation = run, network, normalisation
        self.options, self.processes = run.options, run.processes
        self.terms: Mapping[str, str] = dict(zip(TERMS, _SAID, strict=True))
        self.stepper = Stepper(
            network, self.options, self.processes,
            draws_loss(run.hands, self.options, normalisation, self.processes.device),
        )  # fmt: skip
        if run.start.step:
            self.stepper.restore(run.start.moments, run.start.step)

    def taken(self, first: int, last: int) -> Iterator[Tensor]:
        o = self.options
        batches = Batches(
            self.run.rows, o.representation, self.normalisation, o.draw,
            device=self.processes.device, weights=self.run.weights,
            rank=self.processes.rank, processes=self.processes.size,
        )  # fmt: skip
        # The range first: when it ends, no batch is drawn in vain.
        for step, (x, noise) in zip(range(first, last), batches.from_step(first), strict=False):
            yield self.stepper(x, noise, self.rate(step))

    def rate(self, step: int) -> float:
        return self.options.learning_rate_at(step)

    def line(self, means: Mapping[str, float]) -> Mapping[str, Any]:
        return {
            **means,
            **({} if self.options.model == "vae" else {"kl": None}),
            **({} if self.options.draws else {"draws": None}),
        }

    def figures(self, step: int) -> Mapping[str, Any]:
        if self.run.validation is None:
            return {}
        return self.run.validation.figures(self.network, self.normalisation, self.options)

    def state(self, step: int, seconds: float, window: Tensor) -> Checkpoint:
        o = self.options
        return Checkpoint(
            step=step, seconds=seconds, architecture=o.architecture,
            representation=o.representation, normalisation=self.normalisation.to("cpu"),
            weights=on_cpu(self.network.state_dict()), moments=on_cpu(self.stepper.moments()),
            window=window,
        )  # fmt: skip

    def write(self, state: Any) -> None:
        write_checkpoint(self.run.folder.checkpoints, state)


_SAID = ("loss", "KL divergence", "squared error", "term of the draws")


def _network(options: TrainOptions) -> PriorNetwork:
    """The first network of a seed, the same on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return PriorNetwork(options.architecture)


def _first_checkpoint(
    rows: Rows,
    options: TrainOptions,
    layer: HandLayer,
    device: torch.device,
    weights: Tensor | None,
) -> Checkpoint:
    """Before the first step: the normalisation fitted, the first network."""
    raw = typical_vectors(rows, options, device, weights)
    normalisation = fit_normalisation(
        options.normalisation, options.representation, raw, layer, options.unit_mm / 1e3
    )
    network = _network(options)
    if options.init == "pca":
        weight = options.weight / (options.representation.dim if options.reduction == "mean" else 1)
        initialise_as_pca(network, normalisation.applied(raw), weight)
    return Checkpoint(
        step=0, seconds=0.0, architecture=options.architecture,
        representation=options.representation, normalisation=normalisation.to("cpu"),
        weights=network.state_dict(), moments={}, window=torch.zeros(0, len(TERMS)),
    )  # fmt: skip


def _final_of(folder: RunFolder) -> Mapping[str, Any]:
    return read_prior(folder.result).training["final"]


def _step_seconds(network: PriorNetwork, options: TrainOptions, device: torch.device) -> float:
    """Median time of a step on random numbers, not compiled: the step as it is, no data."""
    network = network.to(device)
    stepper = Stepper(network, replace(options, compile=False), Processes(0, 1, device))
    x = torch.randn(options.batch, options.representation.dim, device=device)
    noise = torch.randn(options.batch, options.latents, device=device)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        stepper(x, noise, 0.0).cpu()
        times.append(time.perf_counter() - began)
    return sorted(times[2:])[3]

"""`train_recon`: image datasets and a prior in, a run folder with an image network out.

Two phases in one run (paper, sections 3.1 and 3.3): the features by equation 2, then all of it end
to end through the prior's frozen decoder. Before the first step the decoder's floor is measured:
how near it comes to held-out hands with the best code there is. A decoder that cannot is refused.

The same call again resumes from the newest checkpoint, on a CPU to the last bit; Ctrl-C and SIGTERM
stop between two steps and save one. A loss that is no number stops the run with its reason.
"""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from interaction_prior.fusion import RECON_FILE, ReconNetwork, read_recon, write_recon
from interaction_prior.images import ImageBatches, ImagePairs, LabelledImages, read_images
from interaction_prior.images.pictures import picture_bytes
from interaction_prior.prior import InteractionPrior
from interaction_prior.recon_training.batch_norm import joint_batch_norm
from interaction_prior.recon_training.checkpoint import (
    FEATURES_FILE,
    ReconCheckpoint,
    check_is_of,
    read_features,
    read_recon_checkpoint,
    write_features,
    write_recon_checkpoint,
)
from interaction_prior.recon_training.floor import prior_floor
from interaction_prior.recon_training.network import (
    check_prior,
    feature_facts,
    first_network,
    network_facts,
    picture_size,
    prior_sha256,
    recon_record,
    sha256_of,
)
from interaction_prior.recon_training.options import ReconOptions
from interaction_prior.recon_training.plateau import Plateau
from interaction_prior.recon_training.steps import RECON_TERMS, TERMS, ReconStepper, start_text
from interaction_prior.recon_training.validation import ReconValidation, validation_images
from interaction_prior.training.checkpoint import latest_state
from interaction_prior.training.curves import (
    OTHER,
    PALETTE,
    TRAIN,
    VALIDATION,
    Line,
    Panel,
    both,
    draw_curves,
)
from interaction_prior.training.distributed import Processes, joined
from interaction_prior.training.facts import (
    dataset_facts,
    hand_model_facts,
    library_versions,
    on_cpu,
    write_session,
)
from interaction_prior.training.metrics import Metrics, cut_metrics, read_metrics
from interaction_prior.training.rows import is_resident
from interaction_prior.training.run_folder import RunFolder
from interaction_prior.training.stepping import Steps
from interaction_prior.training.summary import Provenance, Report, TrainSummary
from twohand500k.errors import DataError
from twohand500k.hand import HandPair

Log = Callable[[str], None]

RECON_PANELS = (
    Panel("loss", (Line("loss", "training", False, TRAIN),)),
    both("heatmap", "heatmaps, equation 2"),
    both("saliency", "masks, equation 2"),
    both("tau", "tau, equation 2"),
    Panel(
        "reconstruction losses",
        tuple(
            Line(name, TERMS[name], False, colour)
            for name, colour in zip(RECON_TERMS, PALETTE, strict=False)
        ),
    ),
    Panel(
        "held out, mm",
        (
            Line("mpjpe_mm", "MPJPE, root9_scaled", True, VALIDATION),
            Line("hidden_mpjpe_mm", "of the most hidden tenth", True, OTHER),
            Line("tau_mm", "tau", True, TRAIN),
        ),
    ),
)


def train_recon(
    folders: Sequence[str | Path],
    out: str | Path,
    options: ReconOptions,
    hands: HandPair,
    prior: InteractionPrior | None,
    *,
    features: str | Path | None = None,
    device: str | torch.device = "cpu",
    log: Log = print,
    progress: Report | None = None,
    provenance: Provenance | None = None,
) -> TrainSummary:
    """Train an image network on image datasets; the run folder `out` holds all of it.

    hands: the model that datasets and prior are on. prior: whose decoder is used, None for the
    variant that has none. features: a run (folder or file) whose first phase this one takes over;
    options.feature_steps is then 0. Under `torchrun`, every process calls this alike.

    Raises DataError for data that cannot be trained on (`images.read_images`), a prior on other
    hands, of another representation than the variant's, or too coarse (its floor), a folder of
    something else or another run, other options than the run was begun with, or a loss that is no
    number; KeyboardInterrupt, with how to resume, when stopped.
    """
    with joined(torch.device(device)) as processes:
        # The folder before the data: what cannot be written need not be read.
        folder = RunFolder(Path(out), RECON_FILE)
        with folder.held() if processes.first else contextlib.nullcontext():
            run = _Run.begun(
                folders, folder, options, hands, prior, features, processes,
                log=log if processes.first else lambda line: None,
                provenance=provenance or Provenance(),
            )  # fmt: skip
            return run.trained(progress or (lambda report: None))


@dataclass(eq=False)
class _Run:
    """One session of a run: everything its steps need."""

    folder: RunFolder
    options: ReconOptions
    hands: HandPair
    prior: InteractionPrior | None
    features: Mapping[str, Tensor] | None
    processes: Processes
    images: ImagePairs
    datasets: list[dict[str, Any]]
    validation: ReconValidation | None
    start: ReconCheckpoint | None
    facts: dict[str, Any]
    resident: bool
    log: Log
    provenance: Provenance

    @staticmethod
    def begun(
        folders: Sequence[str | Path],
        folder: RunFolder,
        options: ReconOptions,
        hands: HandPair,
        prior: InteractionPrior | None,
        features: str | Path | None,
        processes: Processes,
        *,
        log: Log,
        provenance: Provenance,
    ) -> "_Run":
        """Data read, options compared, the decoder's floor measured, the checkpoint taken."""
        if options.batch % processes.size:
            raise DataError(
                f"a batch of {options.batch} does not divide among {processes.size} processes: "
                "choose a multiple"
            )
        check_prior(options, prior, hands)
        if features is not None:
            options = replace(options, feature_steps=0)
        device = processes.device
        images = read_images(folders, hands, options.split)
        held_out = validation_images(folders, hands, options)
        options = options.resolved(len(images))
        facts: dict[str, Any] = {
            "data_sha256": images.sha256(),
            "hand_model": hand_model_facts(hands),
            "prior_sha256": None if prior is None else prior_sha256(prior),
        }
        begun_from = None if features is None else read_features(features, feature_facts(options))
        start = None
        if processes.first:
            fresh = not folder.options.exists()
            # Before anything is written: a decoder that cannot is no run.
            floor = prior_floor(prior, held_out or images, log) if fresh else None
            folder.begin(
                {
                    "options": options.to_json(),
                    **facts,
                    "validation_sha256": None if held_out is None else held_out.sha256(),
                    "features_sha256": None if begun_from is None else sha256_of(begun_from),
                }
            )
            found = latest_state(folder.checkpoints, read_recon_checkpoint, log)
            if found is not None:
                check_is_of(found[0], found[1].network, network_facts(options))
                start = found[1]
                facts = {**folder.facts(), **facts}
            else:
                facts["floor"] = floor or prior_floor(prior, held_out or images, log)
            if held_out is None and options.split == "train":
                log("no picture of split 'val': nothing is held out, so nothing is validated")
                if options.schedule == "plateau":
                    log("and the rate stays as it is: a plateau is one of held-out errors")
        n_bytes = picture_bytes(len(images), picture_size(options))
        resident = is_resident(options.resident, n_bytes, device)
        if not resident:
            log(f"the pictures take {n_bytes / 2**30:.1f} GiB: streamed from their shards")
        validation = None
        if held_out is not None and processes.first:
            validation = ReconValidation(held_out, hands, options, device)
        datasets = dataset_facts(folders, images.pairs.dataset, (), provenance.licences)
        return _Run(
            folder, options, hands, prior, begun_from, processes, images, datasets, validation,
             processes.from_first(start), {**facts, "data": datasets}, resident, log, provenance,
        )  # fmt: skip

    @property
    def first_step(self) -> int:
        """The step this session goes on from."""
        return self.start.step if self.start else 0

    def network(self) -> ReconNetwork:
        """The network as it is before this session's first step, on the device."""
        network = first_network(self.options, self.prior, self.hands)
        if self.start is not None:
            network.load_state_dict(dict(self.start.weights))
        elif self.features is not None:
            network.features.load_state_dict(dict(self.features))
        network.to(self.processes.device)
        if self.options.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cast(ReconNetwork, joint_batch_norm(network, self.processes)).train()

    def pictures(self) -> LabelledImages:
        """The training set, on the device where it is resident."""
        began = time.perf_counter()
        labelled = LabelledImages.opened(
            self.images, picture_size(self.options), self.processes.device,
            resident=self.resident, orientation=self.options.orientation,
        )  # fmt: skip
        if self.resident:
            took = time.perf_counter() - began
            self.log(f"{len(self.images):,} pictures read in {took:.0f} s")
        return labelled

    def trained(self, progress: Report) -> TrainSummary:
        """Take the steps that are left, and write what the run ends with."""
        if self.processes.from_first(self.folder.finished):
            seconds = self.start.seconds if self.start else 0.0
            final = read_recon(self.folder.result).training["final"]
            return self._summary(seconds, final, was_finished=True)
        o = self.options
        network = self.network()
        work = _ReconWork(self, network, self.pictures())
        if not self.start:
            work.say_start()
        if not self.processes.first:
            steps = self._steps(work, None, progress)
            steps.take()
            steps.validated()
            return self._summary(steps.seconds, {})
        write_session(
            self.folder, self.processes, self.provenance, self.log, step=self.first_step,
            resident=self.resident, facts=self.facts, draws_on_device=False,
        )  # fmt: skip
        if self.start:
            self.log(f"goes on from step {self.start.step:,} of {o.steps:,}")
        cut_metrics(self.folder.metrics, self.first_step, o.steps)
        with Metrics(
            self.folder.metrics, self.folder.tensorboard, self.first_step, self.log
        ) as metrics:
            work.metrics = metrics
            steps = self._steps(work, metrics, progress)
            steps.take()
            final = steps.validated()
        self._finish(network, final)
        return self._summary(steps.seconds, final)

    def _steps(self, work: "_ReconWork", metrics: Metrics | None, progress: Report) -> Steps:
        start = self.start
        return Steps(
            work, self.options, self.processes, metrics, progress,
            step=self.first_step, seconds=start.seconds if start else 0.0,
            window=start.window if start else torch.zeros(0, len(TERMS)),
            resume=self.provenance.command,
        )  # fmt: skip

    def _finish(self, network: ReconNetwork, final: Mapping[str, Any]) -> None:
        """Curves and, last of all, the network."""
        o = self.options
        training = {
            **self.facts,
            "split": o.split,
            "options": o.to_json(),
            "steps": o.steps,
            "samples_seen": o.steps * o.batch,
            "final": dict(final),
            "git_revision": self.provenance.git_revision,
            "versions": {**self.provenance.versions, **library_versions()},
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        title = (
            f"{o.variant}, {len(self.images):,} pictures, batches of {o.batch}, Adam "
            f"{o.learning_rate:g}, features until step {o.feature_steps:,}"
        )
        draw_curves(self.folder.curves, read_metrics(self.folder.metrics), title, RECON_PANELS)
        write_recon(self.folder.result, recon_record(network, self.hands, training))

    def _summary(
        self, seconds: float, final: Mapping[str, Any], was_finished: bool = False
    ) -> TrainSummary:
        o = self.options
        return TrainSummary(
            folder=self.folder.path, steps=o.steps, samples_seen=o.steps * o.batch,
            seconds=seconds, final=final, resumed_from=self.first_step,
            was_finished=was_finished,
        )  # fmt: skip


class _ReconWork:
    """A step of the image network: its batch, its losses, its validation, its checkpoint."""

    terms: Mapping[str, str] = TERMS
    remedy = "a lower --lr, a longer --warmup, or float32 instead of bfloat16 would help"

    def __init__(self, run: _Run, network: ReconNetwork, labelled: LabelledImages) -> None:
        self.run, self.network, self.options = run, network, run.options
        self.metrics: Metrics | None = None
        self.stepper = ReconStepper(network, run.options, run.processes)
        self.plateau = run.start.plateau if run.start else Plateau()
        if run.start:
            self.stepper.restore(run.start.moments, run.start.step)
        self.batches = ImageBatches(
            labelled, self.options.augmentation, batch=self.options.batch,
            seed=self.options.seed, rank=run.processes.rank, processes=run.processes.size,
        )  # fmt: skip
        self._waited, self._line_began = 0.0, time.perf_counter()

    def say_start(self) -> None:
        """Equation 2 before the first step, term by term. All processes ask."""
        told = self.stepper.start(self.batches.at(0))
        self.run.facts["start"] = told
        self.run.log(start_text(told))

    def taken(self, first: int, last: int) -> Iterator[Tensor]:
        o = self.options
        batches = self.batches.from_step(first)
        self._line_began = time.perf_counter()
        for step in range(first, last):
            if step == o.feature_steps and step:
                self._keep_features()
            began = time.perf_counter()
            batch = next(batches)
            self._waited += time.perf_counter() - began
            yield self.stepper(batch, step, self.rate(step))

    def _keep_features(self) -> None:
        """What phase one has learnt, for runs that share it."""
        if self.run.processes.first:
            write_features(
                self.run.folder.path / FEATURES_FILE,
                on_cpu(self.network.features.state_dict()),
                feature_facts(self.options),
                self.options.feature_steps,
            )

    def rate(self, step: int) -> float:
        lowered = 1.0 if self.options.fixed(step) else self.plateau.factor
        return self.options.learning_rate_at(step) * lowered

    def line(self, means: Mapping[str, float]) -> Mapping[str, Any]:
        now = time.perf_counter()
        waiting = self._waited / max(now - self._line_began, 1e-9)
        self._waited, self._line_began = 0.0, now
        return {**self.stepper.known(means), "waiting": round(waiting, 4)}

    def figures(self, step: int) -> Mapping[str, Any]:
        found: Mapping[str, Any] = {}
        if self.run.validation is not None:
            picture = self.run.folder.path / "pictures" / f"step-{step:08d}.png"
            found = self.run.validation.figures(self.network, step, picture, self.metrics)
        o = self.options
        if o.schedule == "plateau" and not o.fixed(step):
            error = self.run.processes.from_first(found.get("mpjpe_mm"))
            if error is not None:
                self.plateau = self.plateau.after(
                    error, factor=o.plateau_factor, patience=o.plateau_patience
                )
        return found

    def state(self, step: int, seconds: float, window: Tensor) -> ReconCheckpoint:
        return ReconCheckpoint(
            step=step, seconds=seconds, network=network_facts(self.options), plateau=self.plateau,
            weights=on_cpu(self.network.state_dict()), moments=on_cpu(self.stepper.moments()),
            window=window,
        )  # fmt: skip

    def write(self, state: Any) -> None:
        write_recon_checkpoint(self.run.folder.checkpoints, state)


@dataclass(frozen=True)
class ReconPlan:
    """What a run would do. pictures: per dataset, by its folder's name. size: S, pixels. set_bytes:
    of pictures and masks. step_seconds: of a step of either phase, on random numbers.
    """

    options: ReconOptions
    pictures: tuple[tuple[str, int], ...]
    validation_pictures: int
    size: int
    parameters: int
    feature_parameters: int
    set_bytes: int
    resident: bool
    step_seconds: tuple[float, float]

    @property
    def seconds(self) -> float:
        """Of all steps, by those that were tried."""
        first, second = self.step_seconds
        o = self.options
        return first * o.feature_steps + second * (o.steps - o.feature_steps)


def plan_recon(
    folders: Sequence[str | Path],
    options: ReconOptions,
    hands: HandPair,
    prior: InteractionPrior | None,
    *,
    features: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> ReconPlan:
    """What `train_recon` would do; a few steps on the first pictures tell how long.

    Raises DataError as `train_recon` does before it begins, but for the decoder's floor.
    """
    device = torch.device(device)
    check_prior(options, prior, hands)
    images = read_images(folders, hands, options.split)
    held_out = validation_images(folders, hands, options)
    if features is not None:
        read_features(features, feature_facts(options))
        options = replace(options, feature_steps=0)
    options = options.resolved(len(images))
    network = first_network(options, prior, hands).to(device)
    size = picture_size(options)
    n_bytes = picture_bytes(len(images), size)
    few = images.select(np.arange(min(len(images), options.batch)))
    labelled = LabelledImages.opened(
        few, size, device, resident=True, orientation=options.orientation
    )
    batches = ImageBatches(labelled, options.augmentation, batch=options.batch, seed=0)
    facts = dataset_facts(folders, images.pairs.dataset)
    return ReconPlan(
        options=options,
        pictures=tuple((d["folder"], d["samples"]) for d in facts),
        validation_pictures=0 if held_out is None else len(held_out),
        size=size,
        parameters=sum(p.numel() for p in network.parameters()),
        feature_parameters=sum(p.numel() for p in network.features.parameters()),
        set_bytes=n_bytes,
        resident=is_resident(options.resident, n_bytes, device),
        step_seconds=_step_seconds(network, options, batches, device),
    )


def _step_seconds(
    network: ReconNetwork, options: ReconOptions, batches: ImageBatches, device: torch.device
) -> tuple[float, float]:
    """Median time of a step of each phase, its batch included, not compiled."""
    found = []
    for step in (0, options.feature_steps):
        o = replace(options, compile=False, feature_steps=step + 1 if step == 0 else 0)
        stepper = ReconStepper(network, o, Processes(0, 1, device))
        times = []
        for _ in range(4):
            began = time.perf_counter()
            stepper(batches.at(0), 0, 0.0).cpu()
            times.append(time.perf_counter() - began)
        found.append(sorted(times[1:])[1])
    return found[0], found[1]

"""`TrainOptions`: everything that decides what a training run makes, and the named presets.

The defaults are the paper's where it says (section 3.2: d_z = 128, lambda_3 = 100, Adam at 1e-5,
batches of 64); what it leaves open is ours and said so beside it. A run writes its options to
`options.json`, and goes on only with the same.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from interaction_prior.data.batches import ROTATIONS, Draw, Rotation
from interaction_prior.data.pairs import Split
from interaction_prior.prior.loss import REDUCTIONS, Reduction
from interaction_prior.prior.network import MODELS, Architecture, Model
from interaction_prior.representations import Representation
from interaction_prior.representations.normalisation import KINDS
from interaction_prior.representations.normalisation import Kind as NormalisationKind

# "he": He's random weights. "pca": the best linear VAE, see `prior.initial`.
Initial = Literal["he", "pca"]
INITIALS: tuple[Initial, ...] = get_args(Initial)
Schedule = Literal["constant", "cosine"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
Resident = Literal["auto", "yes", "no"]
RESIDENT: tuple[Resident, ...] = get_args(Resident)


@dataclass(frozen=True)
class TrainOptions:
    """What is trained, on what, how long.

    The paper's: representation (its final one; 6D is ours), model, latents (d_z), weight
    (lambda_3), reduction (equation 4 has the norm), batch, learning_rate, a constant rate.
    Ours, for it is silent: normalisation and unit_mm (`representations.normalisation`), hidden,
    init, steps, rotation, swap. Ours beside equation 4, and none by default: likeness,
    plausibility, the weights w_l and w_p of what the prior draws of itself (`training.draws`).

    batch: rows of a step over all processes. steps: the budget; epochs instead of it becomes steps
    once the number of pairs is known. warmup_steps: over which the rate rises from 0; "cosine":
    after which it falls to 0. rotation, swap: see `data.Draw`. dataset_weights: the share of the
    draws each dataset gets; empty: every pair counts once. precision: of the network's products;
    the loss and Adam stay float32. resident: whether the set lies on the device. *_every: steps.
    """

    representation: Representation = field(default_factory=lambda: Representation("mano"))
    normalisation: NormalisationKind = "geometric"
    unit_mm: float = 5.0
    model: Model = "vae"
    latents: int = 128
    hidden: int = 512
    init: Initial = "pca"
    weight: float = 100.0
    reduction: Reduction = "sum"
    likeness: float = 0.0
    plausibility: float = 0.0
    batch: int = 64
    learning_rate: float = 1e-5
    steps: int = 200_000
    epochs: float | None = None
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    split: Split = "train"
    dataset_weights: tuple[float, ...] = ()
    rotation: Rotation = "uniform"
    swap: bool = True
    seed: int = 0
    precision: Precision = "float32"
    compile: bool = False
    resident: Resident = "auto"
    log_every: int = 100
    validate_every: int = 2_000
    checkpoint_every: int = 2_000

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is none of {', '.join(choices)}"
                )
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} = {value!r} is not above 0")
        for name in ("warmup_steps", "seed", "likeness", "plausibility"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} = {getattr(self, name)!r} is below 0")
        if self.draws and self.model == "ae":
            raise ValueError("an AE draws nothing of itself: no likeness, no plausibility")
        if any(not (w > 0 and math.isfinite(w)) for w in self.dataset_weights):
            raise ValueError(f"dataset_weights = {self.dataset_weights} are not all above 0")

    def resolved(self, pairs: int) -> "TrainOptions":
        """With the budget in steps, given the number of pairs trained on."""
        if self.epochs is None:
            return self
        return replace(self, steps=math.ceil(self.epochs * pairs / self.batch), epochs=None)

    @property
    def architecture(self) -> Architecture:
        """The network these options make."""
        return Architecture(self.representation.dim, self.model, self.latents, self.hidden)

    @property
    def draws(self) -> bool:
        """Whether what the prior draws of itself is part of the loss."""
        return self.likeness > 0 or self.plausibility > 0

    @property
    def draw(self) -> Draw:
        """How batches are drawn."""
        return Draw(self.batch, self.latents, self.seed, self.rotation, self.swap)

    def learning_rate_at(self, step: int) -> float:
        """Adam's rate in step `step` (0 .. steps - 1)."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(self.warmup_steps, 1))
        if self.schedule == "constant" or step < self.warmup_steps:
            return rate
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return rate * 0.5 * (1.0 + math.cos(math.pi * done))

    def to_json(self) -> dict[str, Any]:
        """As `options.json` and the prior's record hold them."""
        return asdict(self) | {"dataset_weights": list(self.dataset_weights)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "TrainOptions":
        """Back from `to_json`."""
        return TrainOptions(
            **{
                **value,
                "representation": Representation(**value["representation"]),
                "dataset_weights": tuple(value["dataset_weights"]),
            }
        )


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "normalisation": KINDS,
    "model": MODELS,
    "init": INITIALS,
    "reduction": REDUCTIONS,
    "schedule": SCHEDULES,
    "split": get_args(Split),
    "rotation": ROTATIONS,
    "precision": PRECISIONS,
    "resident": RESIDENT,
}
_POSITIVE = (
    "unit_mm", "latents", "hidden", "weight", "batch", "learning_rate", "steps", "epochs",
    "log_every", "validate_every", "checkpoint_every",
)  # fmt: skip

# "paper": the paper's settings; the budget is ours. "large-batch": the same loss sooner. "open":
# for drawing interactions; how the prior that ships was made.
PRESETS: Mapping[str, TrainOptions] = {
    "paper": TrainOptions(),
    "large-batch": TrainOptions(
        batch=512, learning_rate=1e-3, schedule="cosine", warmup_steps=200, steps=30_000
    ),
    "open": TrainOptions(
        representation=Representation("mano", "6d", with_translation=True),
        likeness=1000.0,
        plausibility=15.0,
        batch=256,
        learning_rate=7e-4,
        schedule="cosine",
        warmup_steps=200,
        steps=12_000,
    ),
}

# What a run's rotation is, in words and for whoever samples camera frames later.
ROTATION_DISTRIBUTION: Mapping[Rotation, str] = {
    "uniform": "uniform over SO(3) (Haar measure: a normalised Gaussian quaternion), one rotation "
    "for both hands",
    "none": "none: orientations as the datasets have them, in the frame of the right wrist",
}

"""`ReconOptions`: everything that decides what training an image network makes, and the presets.

The defaults are the paper's where it says (sections 3.1 and 3.3: ResNet-50, 256 pixels, Adam at
1e-4, batches of 64, 500,000 steps of features, 150 epochs end to end, the rate fixed for the first
100 of them); what it leaves open is ours and said so beside it. A run writes its options to
`options.json`, and goes on only with the same.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from interaction_prior.data.pairs import Split
from interaction_prior.images import Augmentation
from interaction_prior.images.batches import ORIENTATIONS, Orientation
from interaction_prior.training.options import PRECISIONS, RESIDENT, Precision, Resident

# The networks' sizes, see `fusion.network`.
Network = Literal["paper", "tiny"]
NETWORKS: tuple[Network, ...] = get_args(Network)
# "plateau": the paper's. "cosine": falls to nothing over the second phase.
Schedule = Literal["plateau", "cosine"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


@dataclass(frozen=True)
class ReconOptions:
    """What is trained, on what, how long.

    variant: row of the paper's Table 2, see `fusion.variants`. network: the sizes. weights: of the
    backbone at the start, "none" (random), "imagenet", or a folder.

    Two phases: `feature_steps` of equation 2 on the feature network alone; then `recon_steps`, or
    `recon_epochs` instead of them, end to end: equation 2 and the losses of the reconstruction,
    each with an Adam of its own. batch: pictures of a step over all processes.

    schedule "plateau": the rate is fixed in the first phase and for `fixed_share` of the second,
    then multiplied by plateau_factor whenever the held-out error has not fallen for more than
    plateau_patience validations (both ours; the paper says "adaptively reduce"). "cosine": fixed in
    the first phase, falls to 0 over the second. warmup_steps: over which the rate rises from 0, at
    the start of each phase.

    orientation: in which camera's frame the pictures and labels are, see `images.LabelledImages`;
    the paper's is "camera", as far as one can tell.

    precision: of the network's products; losses and Adam stay float32. channels_last: how pictures
    lie in memory. resident: whether they lie on the device. validated: held-out pictures looked at
    while training, at most. *_every: steps.
    """

    variant: str = "full"
    network: Network = "paper"
    weights: str = "imagenet"
    batch: int = 64
    learning_rate: float = 1e-4
    feature_steps: int = 500_000
    recon_steps: int | None = None
    recon_epochs: float = 150.0
    schedule: Schedule = "plateau"
    fixed_share: float = 100 / 150
    plateau_factor: float = 0.1
    plateau_patience: int = 5
    warmup_steps: int = 0
    orientation: Orientation = "view"
    augmentation: Augmentation = field(default_factory=Augmentation)
    split: Split = "train"
    seed: int = 0
    precision: Precision = "float32"
    channels_last: bool = True
    compile: bool = False
    resident: Resident = "auto"
    validated: int = 1024
    log_every: int = 100
    validate_every: int = 5_000
    checkpoint_every: int = 5_000

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
        for name in ("feature_steps", "plateau_patience", "warmup_steps", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)!r} is below 0")
        for name in ("fixed_share", "plateau_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)!r} is not between 0 and 1")

    def resolved(self, pictures: int) -> "ReconOptions":
        """With the budget in steps, given the number of pictures trained on."""
        if self.recon_steps is not None:
            return self
        return replace(self, recon_steps=math.ceil(self.recon_epochs * pictures / self.batch))

    @property
    def steps(self) -> int:
        """Of both phases; of `resolved` options."""
        if self.recon_steps is None:
            raise ValueError("epochs become steps once the number of pictures is known: resolved()")
        return self.feature_steps + self.recon_steps

    def fixed(self, step: int) -> bool:
        """Whether the rate in step `step` is fixed rather than lowered on a plateau."""
        return step < self.feature_steps + self.fixed_share * (self.steps - self.feature_steps)

    def learning_rate_at(self, step: int) -> float:
        """Adam's rate in step `step`, before a plateau lowers it."""
        second = step >= self.feature_steps
        k = step - self.feature_steps if second else step
        rate = self.learning_rate * min(1.0, (k + 1) / max(self.warmup_steps, 1))
        if self.schedule == "plateau" or not second or k < self.warmup_steps:
            return rate
        n = self.steps - self.feature_steps - self.warmup_steps
        return rate * 0.5 * (1.0 + math.cos(math.pi * (k - self.warmup_steps) / max(n, 1)))

    def to_json(self) -> dict[str, Any]:
        """As `options.json` and the network's record hold them."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ReconOptions":
        """Back from `to_json`."""
        return ReconOptions(**{**value, "augmentation": Augmentation(**value["augmentation"])})


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "network": NETWORKS,
    "schedule": SCHEDULES,
    "orientation": ORIENTATIONS,
    "split": get_args(Split),
    "precision": PRECISIONS,
    "resident": RESIDENT,
}
_POSITIVE = (
    "batch", "learning_rate", "recon_steps", "recon_epochs", "validated", "log_every",
    "validate_every", "checkpoint_every",
)  # fmt: skip

# "paper": the paper's. "tiny": small pictures and networks, on a CPU, in minutes.
PRESETS: Mapping[str, ReconOptions] = {
    "paper": ReconOptions(),
    "tiny": ReconOptions(
        network="tiny",
        weights="none",
        batch=16,
        learning_rate=1e-3,
        feature_steps=3_000,
        recon_steps=3_000,
        schedule="cosine",
        warmup_steps=50,
        # Arms stay below hands: what is on the right is then more often the right hand's.
        augmentation=Augmentation(rotation_deg=30.0),
        validated=256,
        log_every=25,
        validate_every=1_000,
        checkpoint_every=500,
    ),
}

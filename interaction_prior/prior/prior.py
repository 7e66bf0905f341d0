"""`InteractionPrior`: a trained prior, in use.

    prior = InteractionPrior.load("open")            # or a run folder, or a prior.safetensors
    pairs = prior.sample(16, seed=0)                  # PairTensors
    posterior = prior.encode(pairs)
    again = prior.decode(posterior.mean)
    strip = prior.interpolate(pairs[0], pairs[1], steps=9)

Everything is float32 on `device`; gradients flow through `encode` and `decode`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from interaction_prior.hands import HandLayer
from interaction_prior.hands.rotations import axis_angle_from_matrix
from interaction_prior.prior.complete import STEPS, Given, completions
from interaction_prior.prior.energy import CodeNormal, pair_energy, to_prior
from interaction_prior.prior.export import Exported, Form, export_decoder
from interaction_prior.prior.files import PRIOR_FILE, PriorRecord, read_prior
from interaction_prior.prior.network import Model, PriorNetwork
from interaction_prior.representations import Normalisation, Representation
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands

# How latents are drawn: from the standard normal the loss pulls towards, or from a normal fitted to
# the codes of the training set (Ghosh et al., "From Variational to Deterministic Autoencoders",
# ICLR 2020, section 4: ex-post density estimation); an AE has only the latter.
Latents = Literal["standard", "fitted"]


@dataclass(frozen=True, eq=False)
class Posterior:
    """What an encoder says of vectors: mean, log_variance (..., d_z)."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """One z (..., d_z) of each."""
        noise = torch.randn(
            self.mean.shape, generator=generator, device=generator.device, dtype=self.mean.dtype
        )
        return self.mean + (0.5 * self.log_variance).exp() * noise.to(self.mean.device)


@dataclass(frozen=True, eq=False)
class PairTensors:
    """Pairs of hands as a prior holds them: raw vectors (..., D), and what they mean.

    Everything is relative to each hand's own wrist, both hands in one frame; metres and radians.
    """

    x: Tensor
    representation: Representation
    layer: HandLayer

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> "PairTensors":
        return PairTensors(self.x[rows], self.representation, self.layer)

    @cached_property
    def joints(self) -> Tensor:
        """Joints (..., 2, 21, 3), as `Representation.joint_definition` defines them."""
        return self.representation.joints(self.layer, self.x)

    @cached_property
    def vertices(self) -> Tensor:
        """Skin (..., 2, V, 3); DataError for a prior of joints."""
        return self.representation.vertices(self.layer, self.x)

    @cached_property
    def pose(self) -> Tensor:
        """Axis-angle (..., 2, 16, 3) relative to the flat hand; DataError unless ``mano``."""
        return axis_angle_from_matrix(self.representation.rotations(self.x)[0])

    @cached_property
    def betas(self) -> Tensor:
        """Shapes (..., 2, 10); DataError unless ``mano``."""
        return self.representation.rotations(self.x)[1]

    @cached_property
    def place(self) -> Tensor:
        """wrist_left - wrist_right (..., 3); DataError without translation."""
        return self.representation.place(self.x)


class InteractionPrior:
    """A network with its representation, normalisation and hand model, ready for use, frozen."""

    def __init__(self, record: PriorRecord, hands: HandPair, device: str | torch.device) -> None:
        self.record = record
        self.hands = hands
        self.device = torch.device(device)
        self.layer = HandLayer(hands).to(self.device)
        dim = record.representation.dim
        if not record.architecture.dim == dim == len(record.normalisation.mean):
            raise DataError(
                f"the prior's network takes vectors of {record.architecture.dim} numbers and its "
                f"normalisation is of {len(record.normalisation.mean)}, but "
                f"{record.representation} has {dim}: the file was put together of several priors"
            )
        self.network = PriorNetwork(record.architecture)
        try:
            self.network.load_state_dict(dict(record.weights))
        except RuntimeError as error:
            raise DataError(f"the prior's weights do not fit its architecture: {error}") from error
        self.network.to(self.device).eval().requires_grad_(False)
        self.normalisation: Normalisation = record.normalisation.to(self.device)

    @classmethod
    def load(
        cls, where: str | Path = "open", *, hands: str | Path | HandPair | None = None,
        device: str | torch.device = "cpu",
    ) -> "InteractionPrior":  # fmt: skip
        """A prior from ``"open"`` (shipped), a run folder, or a `prior.safetensors`.

        hands: the hand model it was trained on; without, the open hand. Raises DataError for a
        file that is no prior, or hands that are not the prior's.
        """
        record = read_prior(prior_file(where))
        pair = hands if isinstance(hands, HandPair) else load_hands(hands or "open")
        theirs = (record.hand_model["right_sha256"], record.hand_model["left_sha256"])
        if theirs != (pair.right.sha256, pair.left.sha256):
            raise DataError(
                f"the prior {where} was trained on the hand model {record.hand_model['name']!r} "
                f"({theirs[0][:12]}…), not on {pair.right.name!r} ({pair.right.sha256[:12]}…): "
                "give its folder as hands, or --hand-model"
            )
        return cls(record, pair, device)

    # What it is

    @property
    def representation(self) -> Representation:
        """Which numbers it speaks."""
        return self.record.representation

    @property
    def model(self) -> Model:
        """``vae`` or ``ae``."""
        return self.record.architecture.model

    @property
    def latents(self) -> int:
        """d_z."""
        return self.record.architecture.latents

    @property
    def training(self) -> Mapping[str, Any]:
        """What it was trained on and how."""
        return self.record.training

    @cached_property
    def codes(self) -> CodeNormal:
        """The normal that codes are drawn from: the standard one, or an AE's fitted."""
        return CodeNormal.of(self.record).to(self.device)

    # Vectors, codes and hands

    def pairs(self, x: Tensor) -> PairTensors:
        """Raw vectors (..., D) with their meaning."""
        return PairTensors(x, self.representation, self.layer)

    def pairs_from_mano(self, pose: Tensor, betas: Tensor, place: Tensor) -> PairTensors:
        """Hands given as MANO parameters (see `Representation.vectors`) as this prior's vectors."""
        args = (torch.as_tensor(a, dtype=torch.float32).to(self.device)
                for a in (pose, betas, place))  # fmt: skip
        return self.pairs(self.representation.vectors(self.layer, *args))

    def encode(self, pairs: PairTensors | Tensor) -> Posterior:
        """Codes of pairs, or of raw vectors (..., D)."""
        x = self._raw(pairs)
        return Posterior(*self.network.encode(self.normalisation.applied(x)))

    def decode(self, z: Tensor) -> PairTensors:
        """Pairs of latents (..., d_z)."""
        if z.shape[-1] != self.latents:
            raise DataError(f"latents end in {z.shape[-1]} numbers, this prior has {self.latents}")
        return self.pairs(self.normalisation.undone(self.network.decode(z.to(self.device))))

    def sample(
        self, n: int, *, seed: int = 0, latents: Latents = "standard", temperature: float = 1.0
    ) -> PairTensors:
        """n pairs from the prior; the same seed gives the same pairs.

        temperature scales the latents' deviation from their mean. Raises DataError for "standard"
        of an AE, which pulls its codes towards nothing, and "fitted" where no fit is stored.
        """
        return self.decode(
            self.draw_latents(n, seed=seed, latents=latents, temperature=temperature)
        )

    def draw_latents(
        self, n: int, *, seed: int = 0, latents: Latents = "standard", temperature: float = 1.0
    ) -> Tensor:
        """Latents (n, d_z) as `sample` decodes them."""
        generator = torch.Generator().manual_seed(seed)
        noise = temperature * torch.randn(n, self.latents, generator=generator)
        if latents == "standard":
            if self.model == "ae":
                raise DataError(
                    "an AE's codes follow no standard normal: draw its latents as 'fitted'"
                )
            return noise.to(self.device)
        if "mean" not in self.record.latents:
            raise DataError("this prior holds no fit of its latents: draw them as 'standard'")
        factor = torch.linalg.cholesky(self.record.latents["covariance"].double())
        drawn = self.record.latents["mean"].double() + noise.double() @ factor.T
        return drawn.float().to(self.device)

    def interpolate(
        self, first: PairTensors | Tensor, last: PairTensors | Tensor, steps: int = 9
    ) -> PairTensors:
        """`steps` pairs along the straight line between the codes of two pairs, both ends in it.

        first, last: pairs (..., D). Goes out (steps, ..., D).
        """
        a, b = self.encode(first).mean, self.encode(last).mean
        t = torch.linspace(0, 1, steps, device=self.device).reshape(-1, *[1] * a.ndim)
        return self.decode(a + t * (b - a))

    def complete(
        self,
        pairs: PairTensors | Tensor,
        *,
        given: Given = "right",
        n: int = 8,
        seed: int = 0,
        steps: int = STEPS,
    ) -> PairTensors:
        """n pairs (..., n, D) for each pair (..., D) of which one hand is given.

        The other hand and the left hand's place are not read and may be NaN; they are drawn from
        what the prior allows beside the given hand, which comes back as it was given. The same
        seed gives the same completions.
        """
        return self.pairs(completions(self, self._raw(pairs), given, n, seed, steps))

    def energy(self, pose: Tensor, betas: Tensor, place: Tensor | None = None) -> Tensor:
        """How unlikely pairs are (...), nats, lower is likelier; differentiable. See `energy.py`.

        pose (..., 2, 16, 3) axis-angle relative to the flat hand; betas (..., 2, 10); place
        (..., 3), wrist_left - wrist_right, metres, for a prior with translation and for no other.
        """
        pose, betas = to_prior(self, pose), to_prior(self, betas)
        return pair_energy(self, pose, betas, None if place is None else to_prior(self, place))

    def export(self, path: str | Path, form: Form = "torch") -> Exported:
        """Write the frozen decoder, z (B, d_z) -> raw vector (B, D), as ``torch`` or ``onnx``."""
        return export_decoder(self, path, form)

    def _raw(self, pairs: PairTensors | Tensor) -> Tensor:
        if isinstance(pairs, PairTensors):
            if pairs.representation != self.representation:
                raise DataError(
                    f"these pairs are {pairs.representation}, the prior speaks "
                    f"{self.representation}"
                )
            return pairs.x
        if pairs.shape[-1] != self.representation.dim:
            raise DataError(
                f"vectors end in {pairs.shape[-1]} numbers, {self.representation} has "
                f"{self.representation.dim}"
            )
        return pairs.to(self.device)


def prior_file(where: str | Path) -> Path:
    """The file that `InteractionPrior.load(where)` reads; DataError for a folder without one."""
    if str(where) == "open":
        return Path(str(resources.files("interaction_prior.open_prior").joinpath(PRIOR_FILE)))
    path = Path(where)
    if path.is_dir():
        path = path / PRIOR_FILE
        if not path.exists():
            raise DataError(
                f"{where} holds no {PRIOR_FILE}: the run is not finished, or it is no run folder "
                "of `twohand train-prior`"
            )
    return path

"""A network of `train-recon`, read from its run and asked as a `Reconstructor` asks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interaction_prior.fusion import RECON_FILE, ReconNetwork, ReconRecord, read_recon
from interaction_prior.prior import InteractionPrior
from interaction_prior.reconstruction.network import Answer
from twohand500k.conventions import N_JOINTS
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands


class TrainedNetwork:
    """A network of `train-recon`, frozen."""

    def __init__(self, record: ReconRecord, hands: HandPair, device: torch.device) -> None:
        prior = None if record.prior is None else InteractionPrior(record.prior, hands, device)
        self._network = ReconNetwork(record.architecture, prior, hands)
        try:
            self._network.load_state_dict(dict(record.weights))
        except RuntimeError as error:
            raise DataError(
                f"the network's weights do not fit its architecture: {error}"
            ) from error
        self._network.to(device).eval().requires_grad_(False)

    @property
    def size(self) -> int:
        """S."""
        return int(self._network.architecture.size)

    @property
    def maps(self) -> int:
        """How many heatmaps there are."""
        return int(self._network.features.options.heatmaps)

    @property
    def perfect_peak(self) -> float:
        """Of equation 1, a joint without neighbours."""
        return 1.0 / (2.0 * float(self._network.features.options.sigma))

    def __call__(self, image: Tensor) -> Answer:
        """Of pictures (B, 3, S, S), sRGB 0..1."""
        said = self._network(image)
        form = said.representation
        rotations, betas = form.rotations(said.x) if form.name == "mano" else (None, None)
        return Answer(
            joints=said.joints,
            vertices=None if form.name == "joints" else said.vertices,
            rotations=rotations,
            betas=betas,
            tau=said.tau,
            heatmaps=said.features.heatmaps,
            saliency=said.features.saliency,
        )


def read_network(
    run: str | Path, hands: HandPair | str | Path | None, device: torch.device
) -> tuple[TrainedNetwork, HandPair, Path, Mapping[str, Any]]:
    """The network of a run folder or its file; the hands, the file, how it was trained.

    Raises DataError for a run of another kind, hands that are not the network's, and variants
    without a heatmap for each joint, whose hands have no place in the picture.
    """
    file = _file_of(Path(run))
    record = read_recon(file)
    pair = hands if isinstance(hands, HandPair) else load_hands(hands or "open")
    theirs = (record.hand_model["right_sha256"], record.hand_model["left_sha256"])
    if theirs != (pair.right.sha256, pair.left.sha256):
        raise DataError(
            f"the network {run} was trained on the hand model {record.hand_model['name']!r} "
            f"({theirs[0][:12]}…), not on {pair.right.name!r} ({pair.right.sha256[:12]}…): give "
            "its folder as hands, or --hand-model"
        )
    network = TrainedNetwork(record, pair, device)
    if network.maps != 2 * N_JOINTS:
        raise DataError(
            f"the network {run} is of the variant {record.architecture.variant!r}, which has no "
            "heatmap for each joint: its hands cannot be placed in a picture; `twohand evaluate` "
            "measures it, --variant full reconstructs"
        )
    return network, pair, file, record.training


def _file_of(run: Path) -> Path:
    """The file of a run; DataError for a folder that is none, or of another command."""
    if not run.is_dir():
        return run
    if (run / RECON_FILE).exists():
        return run / RECON_FILE
    if (run / "prior.safetensors").exists():
        raise DataError(
            f"{run} is a run of train-prior: a prior draws hands, it sees none; give a run of "
            "`twohand train-recon`"
        )
    raise DataError(
        f"{run} holds no {RECON_FILE}: the run is not finished, or it is no run folder of "
        "`twohand train-recon`"
    )

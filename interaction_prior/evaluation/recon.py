"""An image network on held-out pictures: what it says of each, and the figures of it.

Comes in: a trained network and the pictures of a split. Goes out: `Seen`, its answers as plain
arrays, and from them errors in any of `metrics.PROTOCOLS`, the PCK curve and its area, the left
hand's place, and all of that by how much of the hands is hidden. Nothing is left out: every picture
of the split counts, however badly it went.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from interaction_prior.fusion import ReconNetwork
from interaction_prior.hands.rotations import axis_angle_from_matrix
from interaction_prior.images import LabelledImages
from interaction_prior.metrics import (
    PROTOCOLS,
    THRESHOLDS_MM,
    PoseErrors,
    auc,
    errors,
    joint_errors,
    mrrpe_mm,
    pck,
)
from interaction_prior.recon_training.validation import peak_errors
from twohand500k.hand import HandPair

_BATCH = 32
# Parts that pictures are put in by their more hidden hand.
_PARTS = 10


@dataclass(frozen=True, eq=False)
class Seen:
    """N pictures, as a network sees them; hands (N, 2, …), side 0 right.

    skins (N, 2, V, 3) m, each hand from its own wrist, None for a network of joints; joints
    (N, 2, 21, 3) m likewise; tau (N, 3) m; pose (N, 2, 16, 3) and betas (N, 2, 10), None where it
    does not speak of them. true_skins, true_tau: the annotation. hidden (N, 2); peak_px: how far
    the peaks of visible joints' heatmaps lie from them, pixels of 256, empty without such maps.
    """

    joints: np.ndarray
    skins: np.ndarray | None
    pose: np.ndarray | None
    betas: np.ndarray | None
    tau: np.ndarray
    true_skins: np.ndarray
    true_tau: np.ndarray
    hidden: np.ndarray
    peak_px: np.ndarray

    def __len__(self) -> int:
        return len(self.tau)


@torch.no_grad()
def see(
    network: ReconNetwork, images: LabelledImages, progress: Callable[[int], None] | None = None
) -> Seen:
    """What a network says of every picture, in order. progress: told how many are done."""
    layer = network.layer.to(images.device)
    found: dict[str, list[np.ndarray]] = {name: [] for name in Seen.__dataclass_fields__}
    done = 0
    for batch in images.in_order(_BATCH):
        made = network(batch.image)
        form = made.representation.name
        found["joints"].append(_numpy(made.joints))
        if form != "joints":
            found["skins"].append(_numpy(made.vertices))
        if form == "mano":
            R, betas = made.representation.rotations(made.x)
            found["pose"].append(_numpy(axis_angle_from_matrix(R)))
            found["betas"].append(_numpy(betas))
        found["tau"].append(_numpy(made.tau))
        found["true_skins"].append(_numpy(layer.vertices(batch.rotations, batch.betas)))
        found["true_tau"].append(_numpy(batch.tau))
        found["hidden"].append(_numpy(batch.hidden))
        found["peak_px"].append(_numpy(peak_errors(made.features, batch)))
        done += len(batch)
        if progress is not None:
            progress(done)
    arrays = {name: np.concatenate(parts) if parts else None for name, parts in found.items()}
    return Seen(**arrays)  # type: ignore[arg-type]


def errors_in(protocol: str, seen: Seen, hands: HandPair) -> PoseErrors:
    """Errors of all pictures in one protocol; vertices NaN for a network of joints."""
    true, skins, joints = seen.true_skins, seen.skins, seen.joints
    if PROTOCOLS[protocol].alignment == "right root":
        # Both hands in one frame, the right wrist in the origin.
        true = _beside(true, seen.true_tau)
        skins = None if skins is None else _beside(skins, seen.tau)
        joints = _beside(joints, seen.tau)
    if skins is None:
        return joint_errors(protocol, joints, true, hands)
    return errors(protocol, skins, true, hands)


def recon_figures(seen: Seen, protocols: Sequence[str], hands: HandPair) -> dict[str, Any]:
    """Everything but the judge's part, JSON values; None where a figure is not known.

    protocols: keys of `PROTOCOLS`; the first is the one that curve and parts are in.
    """
    found = {name: errors_in(name, seen, hands) for name in protocols}
    main = found[protocols[0]]
    share = pck(main.joint_mm)
    place = mrrpe_mm(seen.tau, seen.true_tau)
    return {
        "pictures": len(seen),
        "protocols": {
            name: {"meaning": PROTOCOLS[name].meaning, **_summary(one)}
            for name, one in found.items()
        },
        "pck": {
            "protocol": protocols[0],
            "thresholds_mm": THRESHOLDS_MM.tolist(),
            "share": share.tolist(),
            "auc": auc(share),
        },
        "mrrpe_mm": {"mean": float(place.mean()), "median": float(np.median(place))},
        "peak_px": {
            "median": float(np.median(seen.peak_px)) if seen.peak_px.size else None,
            "mean": float(seen.peak_px.mean()) if seen.peak_px.size else None,
        },
        "hidden": _by_hidden(seen, main, place),
        "skin": "known" if seen.skins is not None else "this network speaks of joints alone",
    }


def _summary(found: PoseErrors) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, values in (("mpjpe_mm", found.mpjpe_mm), ("mpvpe_mm", found.mpvpe_mm)):
        of_pictures = values.mean(axis=1)
        out[name] = {
            "mean": _known(of_pictures, np.mean),
            "median": _known(of_pictures, np.median),
            "right": _known(values[:, 0], np.mean),
            "left": _known(values[:, 1], np.mean),
        }
    return out


def _by_hidden(seen: Seen, found: PoseErrors, place: np.ndarray) -> list[dict[str, Any]]:
    """Tenths of the pictures from the least to the most hidden, by the more hidden hand."""
    most = seen.hidden.max(axis=1)
    order = np.argsort(most, kind="stable")
    parts = [part for part in np.array_split(order, _PARTS) if len(part)]
    return [
        {
            "pictures": len(part),
            "hidden_from": float(most[part].min()),
            "hidden_to": float(most[part].max()),
            "mpjpe_mm": _known(found.mpjpe_mm[part].mean(axis=1), np.mean),
            "mpvpe_mm": _known(found.mpvpe_mm[part].mean(axis=1), np.mean),
            "mrrpe_mm": float(place[part].mean()),
        }
        for part in parts
    ]


def _known(values: np.ndarray, summary: Callable[[np.ndarray], Any]) -> float | None:
    values = values[np.isfinite(values)]
    return float(summary(values)) if values.size else None


def _beside(points: np.ndarray, tau: np.ndarray) -> np.ndarray:
    moved = points.copy()
    moved[:, 1] += tau[:, None]
    return moved


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def worst_to_best(mm: np.ndarray, each: int) -> list[tuple[str, int]]:
    """Pictures to show: `each` of the best, about the median and worst errors mm (N,)."""
    order = np.argsort(mm, kind="stable")
    middle = len(order) // 2
    each = min(each, len(order))
    first = max(middle - each // 2, 0)
    chosen = [("best", row) for row in order[:each]]
    chosen += [("median", row) for row in order[first : first + each]]
    chosen += [("worst", row) for row in order[-each:]]
    return [(name, int(row)) for name, row in chosen]

"""Pictures of what was measured: errors, latents, their map. In: numbers. Out: matplotlib figures.

One colour for data, one for a prior's draws, everywhere.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from interaction_prior.evaluation.latents import ACTIVE, active
from interaction_prior.evaluation.measure import Measured
from interaction_prior.prior import InteractionPrior, Posterior
from interaction_prior.prior.prior import Latents

DATA, DRAWN = "#3b6ea5", "#e0813a"
_PERPLEXITY = 30
_MOST_ON_MAP = 750
FEWEST_ON_MAP = 20


def errors_figure(figures: Mapping[str, Any]) -> Figure:
    """Error of each joint, wrist rotation kept: posterior mean, and one drawn z."""
    figure, (axis,) = panels(1, (6.0, 4.6))
    found = figures["training_rotation"]
    names = list(found["posterior_mean"]["per_joint_mm"])
    rows = np.arange(len(names))
    told = [("posterior_mean", "posterior mean", DATA, 0.2)]
    if found["sampled_z"]:
        told.append(("sampled_z", "one drawn z", DRAWN, -0.2))
    for key, label, colour, offset in told:
        values = [found[key]["per_joint_mm"][name] for name in names]
        label = f"{label}, mean {found[key]['mpjpe_mm']:.2f} mm"
        axis.barh(rows[::-1] + offset, values, 0.4, color=colour, label=label)
    axis.set_yticks(rows[::-1], names, fontsize=8)
    axis.set_xlabel("mean error, mm (each hand from its wrist, wrist rotation kept)")
    axis.legend(frameon=False, fontsize=9)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    return figure


def wrist_angle_figure(figures: Mapping[str, Any]) -> Figure | None:
    """Errors by the wrist's angle, and across it; None where it was not measured."""
    bins, across = figures["by_wrist_angle"], figures["half_turn"]
    bins = [b for b in bins or () if b["hands"]]
    if not bins:
        return None
    figure, axes = panels(2 if across else 1, (9.6 if across else 5.2, 3.8))
    middle = [(b["from_deg"] + b["to_deg"]) / 2 for b in bins]
    axes[0].plot(middle, [b["mpjpe_mm"] for b in bins], "o-", color=DATA, ms=4, label="mean")
    axes[0].plot(middle, [b["p95_mm"] for b in bins], "s--", color=DATA, ms=4, label="95 %")
    axes[0].set_xlabel("angle of the wrist's rotation, degrees (bins)")
    axes[0].set_ylabel("error of a hand, mm")
    axes[0].set_title("reconstruction", fontsize=10)
    if across:
        angles = [row["angle_deg"] for row in across]
        axes[1].plot(angles, [row["mpjpe_mm"] for row in across], "o-", color=DRAWN, ms=4,
                     label="half-way between the codes of two pairs 4° apart")  # fmt: skip
        axes[1].set_xlabel("angle of the wrist's rotation, degrees")
        axes[1].set_ylabel("error of the right hand, mm")
        axes[1].set_title("are near pairs near as codes?", fontsize=10)
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.set_xticks(range(0, 181, 30))
        axis.legend(frameon=False, fontsize=8)
        axis.grid(color="#e4e4e4", linewidth=0.6)
    return figure


def latents_figure(figures: Mapping[str, Any]) -> Figure:
    """Every latent's divergence and variance of its mean over the data, sorted."""
    latents = figures["latents"]
    figure, (axis,) = panels(1, (6.4, 3.6))
    ranks = np.arange(1, latents["latents"] + 1)
    variance = np.sort(latents["variance_of_mean_per_latent"])[::-1]
    axis.plot(ranks, np.maximum(variance, 1e-8), color=DATA, label="variance of the mean")
    axis.axhline(ACTIVE, color=DATA, linewidth=0.8, linestyle=":")
    if latents["kl_nats_per_latent"] is not None:
        kl = np.sort(latents["kl_nats_per_latent"])[::-1]
        axis.plot(ranks, np.maximum(kl, 1e-8), color=DRAWN, label="KL, nats")
    axis.set_yscale("log")
    axis.set_ylim(bottom=1e-6)
    axis.set_xlabel("latents, each line sorted by itself")
    title = f"{latents['active']} of {latents['latents']} latents active (above the dotted line)"
    if latents["kl_nats"] is not None:
        title += f", KL {latents['kl_nats']:.1f} nats"
    axis.set_title(title, fontsize=10)
    axis.legend(frameon=False, fontsize=9)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    return figure


def map_figure(
    prior: InteractionPrior, measured: Measured, latents: Latents, *, seed: int = 0
) -> Figure | None:
    """t-SNE of the active latents: the data's codes, and over them the prior's own draws.

    The data's z are drawn from their posteriors, as the decoder meets them: means lie nearer the
    origin than any draw could. Where the two do not mix, a draw decodes from where no pair lies.
    None for fewer than `FEWEST_ON_MAP` pairs, or fewer than two active latents.
    """
    posterior = measured.posterior
    on = active(posterior.mean)
    n = min(len(posterior.mean), _MOST_ON_MAP)
    if n < FEWEST_ON_MAP or int(on.sum()) < 2:
        return None
    rows = torch.linspace(0, len(posterior.mean) - 1, n).long()
    there = Posterior(posterior.mean[rows], posterior.log_variance[rows])
    data = there.draw(torch.Generator().manual_seed(seed)) if prior.model == "vae" else there.mean
    drawn = prior.draw_latents(n, seed=seed + 1, latents=latents)
    xy = _tsne(torch.cat([data, drawn])[:, on].cpu().numpy(), seed)
    figure, (axis,) = panels(1, (5.2, 5.2))
    axis.scatter(xy[:n, 0], xy[:n, 1], s=6, color=DATA, linewidths=0, label="held-out pairs")
    axis.scatter(
        xy[n:, 0], xy[n:, 1], s=6, color=DRAWN, linewidths=0, label=f"drawn, {latents} latents"
    )
    axis.set_title(f"t-SNE of {int(on.sum())} active latents, {n:,} pairs of each", fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_aspect("equal", "datalim")
    axis.legend(frameon=False, fontsize=9, markerscale=3, loc="lower right")
    return figure


def _tsne(codes: np.ndarray, seed: int) -> np.ndarray:
    perplexity = min(_PERPLEXITY, (len(codes) - 1) / 4)
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed, method="barnes_hut", n_jobs=1)
    # One thread: at this size more wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Fewer latents than the plane has directions, or many alike: a map all the same.
        warnings.simplefilter("ignore")
        xy: np.ndarray = tsne.fit_transform(codes.astype(np.float32))
    return xy


def save_figure(figure: Figure, folder: Path, name: str) -> list[str]:
    """Write NAME.png and NAME.pdf; their names."""
    names = [f"{name}.png", f"{name}.pdf"]
    for file in names:
        temporary = folder / f".{file}.tmp"
        # No date in the file: the same numbers are the same bytes.
        metadata = {"CreationDate": None} if file.endswith("pdf") else {}
        figure.savefig(temporary, dpi=130, format=file[-3:], metadata=metadata)
        temporary.replace(folder / file)
    return names


def panels(columns: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(1, columns))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)

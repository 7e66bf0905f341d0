"""Trained priors against PCA and a Gaussian: is a network worth its weights?

For every representation among the runs, principal components are fitted to the same normalised
vectors as training saw them, k = 8 … 128. Each model is held to the same pairs: how far they come
back (x), and how plausible and how varied its draws are (y). The claim is that a VAE's draws are
more plausible and cover more of the held-out pairs *at equal error*: the curve of PCA is
interpolated, over the logarithm of the error, at the VAE's error. k = D is the identity, marked;
the curve is not interpolated towards it.

    python benchmarks/prior_against_pca.py RUN… --data DIR [--split test] [--samples 2000] --out DIR

Prints the table and the verdicts; writes DIR/against_pca.json, .png and .pdf. Plausibility and
coverage are those of `twohand evaluate`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from interaction_prior import InteractionPrior
from interaction_prior.data import Pairs, read_pairs
from interaction_prior.evaluation import PcaGaussian, pair_errors
from interaction_prior.evaluation.measure import as_trained, raw_vectors
from interaction_prior.evaluation.pca import COMPONENTS
from interaction_prior.evaluation.pictures import DATA, DRAWN, save_figure
from interaction_prior.prior import PairTensors
from twohand500k.cli.draws import drawn_of, judge_draws, likeness_figures, plausibility_figures
from twohand500k.cli.evaluate import data_features, kinds_of_latents
from twohand500k.hand import HandPair, load_hands

# What is compared at equal error: name in a row, words, whether more is better.
MEASURES = (
    ("over_limits", "hands past a joint's limit by > 1°", False),
    ("overlap_over_1", "pairs overlapping by > 1 cm³", False),
    ("meet", "pairs that meet (5 mm) and overlap by ≤ 1 cm³", True),
    ("in_itself", "hands overlapping themselves by > 0.01 cm³", False),
    ("coverage", "coverage of held-out pairs", True),
    ("hand_coverage", "coverage of held-out hands", True),
)
_MARKERS = "osD^vP*X"


@dataclass(frozen=True)
class Row:
    """One model. k: of PCA, None for a network. Shares in 0..1, None where not known."""

    model: str
    representation: str
    k: int | None
    identity: bool
    latents: str
    mpjpe_mm: float
    figures: dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Held:
    """What every model is held to."""

    hands: HandPair
    test: Pairs
    train: Pairs
    reference: np.ndarray
    samples: int
    seed: int
    workers: int

    def row(self, name: str, k: int | None, identity: bool, latents: str, mpjpe_mm: float,
            draws: PairTensors) -> Row:  # fmt: skip
        """Judge a model's draws."""
        placed = draws.representation.with_translation
        judged = judge_draws(drawn_of(draws, "draw"), self.hands, workers=self.workers)
        n = min(self.samples, len(self.reference))
        alike = likeness_figures(judged.features, self.reference, n, placed=placed, seed=self.seed)
        found = plausibility_figures(judged)
        figures = {
            "over_limits": found["limit_violation"]["over_1_deg"],
            "overlap_over_1": found["penetration_cm3"]["over_1"],
            "meet": found["meet_without_overlap"],
            "in_itself": found["self_penetration_cm3"]["over_0_01"],
            "coverage": alike["pairs"] and alike["pairs"]["coverage"],
            "density": alike["pairs"] and alike["pairs"]["density"],
            "frechet_mm": alike["pairs"] and alike["pairs"]["frechet"],
            "hand_coverage": alike["hands"] and alike["hands"]["coverage"],
            "hand_frechet_mm": alike["hands"] and alike["hands"]["frechet"],
            "mean_excess_deg": found["limit_violation"]["mean_deg"],
            "mean_overlap_cm3": found["penetration_cm3"]["mean"],
            "fit_residual_mm": found["fit_residual_mm"]["mean"],
        }
        row = Row(name, str(draws.representation), k, identity, latents, mpjpe_mm, figures)
        print(_line(row), flush=True)
        return row


@torch.inference_mode()
def network_rows(held: Held, name: str, prior: InteractionPrior) -> list[Row]:
    """A trained prior, once for each way of drawing its latents."""
    x = as_trained(prior, raw_vectors(prior, held.test), held.seed)
    back = prior.decode(prior.encode(x).mean).x
    error = pair_errors(prior.representation, prior.layer, x, back).mpjpe_mm
    return [
        held.row(f"{prior.model.upper()} {name}", None, False, kind, error,
                 prior.sample(held.samples, seed=held.seed, latents=kind))  # type: ignore[arg-type]
        for kind in kinds_of_latents(prior)
    ]  # fmt: skip


@torch.inference_mode()
def pca_rows(held: Held, prior: InteractionPrior, components: Sequence[int]) -> list[Row]:
    """PCA and a Gaussian on the vectors that this prior was trained on."""
    normalisation = prior.normalisation
    train = as_trained(prior, raw_vectors(prior, held.train), held.seed + 1)
    pca = PcaGaussian.fit(normalisation.applied(train))
    x = as_trained(prior, raw_vectors(prior, held.test), held.seed)
    rows, done = [], set()
    for k in components:
        if pca.capped(k) in done:
            continue
        done.add(pca.capped(k))
        back = normalisation.undone(pca.reconstruct(normalisation.applied(x), k))
        error = pair_errors(prior.representation, prior.layer, x, back).mpjpe_mm
        draws = prior.pairs(normalisation.undone(pca.sample(held.samples, k, held.seed)))
        rows.append(
            held.row(
                f"PCA k = {pca.capped(k)}", pca.capped(k), pca.is_identity(k), "", error, draws
            )
        )
    return rows


def verdicts(rows: Sequence[Row], n: int) -> list[dict[str, Any]]:
    """Every network against the PCA of its representation at equal error; shares of n pairs.

    `wins` and `loses` by more than two standard errors of the difference of two shares, neither
    where chance would do. `outside`: PCA has no k at that error; the nearest k is taken.
    """
    told = []
    for row in (r for r in rows if r.k is None):
        curve = sorted(
            (r for r in rows
             if r.k is not None and not r.identity and r.representation == row.representation),
            key=lambda r: r.mpjpe_mm,
        )  # fmt: skip
        if not curve:
            continue
        errors = np.log([r.mpjpe_mm for r in curve])
        at = np.log(row.mpjpe_mm)
        for name, words, more in MEASURES:
            ours, theirs = row.figures[name], [r.figures[name] for r in curve]
            if ours is None or any(v is None for v in theirs):
                continue
            pca = float(np.interp(at, errors, np.array(theirs, dtype=float)))
            noise = 2 * np.sqrt((ours * (1 - ours) + pca * (1 - pca)) / n)
            ahead = (ours - pca) * (1 if more else -1)
            told.append(
                {
                    "model": row.model,
                    "latents": row.latents,
                    "representation": row.representation,
                    "mpjpe_mm": row.mpjpe_mm,
                    "measure": name,
                    "words": words,
                    "network": ours,
                    "pca_at_equal_error": pca,
                    "wins": bool(ahead > noise),
                    "loses": bool(ahead < -noise),
                    "outside": bool(at < errors[0] or at > errors[-1]),
                }
            )
    return told


def picture(rows: Sequence[Row]) -> Figure:
    """A row of panels for each representation: error against what its draws are."""
    forms = list(dict.fromkeys(r.representation for r in rows))
    figure = Figure(figsize=(18, 3.9 * len(forms)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(forms), len(MEASURES)))
    for form, line in zip(forms, axes, strict=True):
        of_form = [r for r in rows if r.representation == form]
        for axis, (name, words, more) in zip(line, MEASURES, strict=True):
            shown = [r for r in of_form if r.figures[name] is not None]
            if not shown:
                axis.set_axis_off()
                axis.text(0.5, 0.5, "not known\nwithout translation", ha="center",
                          transform=axis.transAxes, color="#777777")  # fmt: skip
                continue
            # The identity has no error: it stands at the left edge of a logarithmic axis.
            least = 0.5 * min(r.mpjpe_mm for r in shown if not r.identity)

            def at(r: Row, name: str = name, least: float = least) -> tuple[float, float]:
                return (least if r.identity else r.mpjpe_mm), 100 * float(r.figures[name] or 0.0)

            pca = sorted((r for r in shown if r.k is not None), key=lambda r: r.k or 0)
            points = np.array([at(r) for r in pca if not r.identity])
            axis.plot(*points.T, "-o", color=DATA, ms=4, label="PCA + Gaussian")
            for r in pca:
                axis.annotate(
                    f"{r.k} = identity" if r.identity else str(r.k), at(r), fontsize=7,
                    xytext=(3, 4), textcoords="offset points", color=DATA,
                )  # fmt: skip
                if r.identity:
                    axis.plot(*at(r), "o", mfc="none", color=DATA, ms=7)
            networks = [r for r in shown if r.k is None]
            for marker, r in zip(_MARKERS * len(networks), networks, strict=False):
                axis.plot(*at(r), marker, color=DRAWN, ms=7, mec="white", ls="none",
                          label=f"{r.model}, {r.latents}")  # fmt: skip
            axis.set_xscale("log")
            axis.set_ylim(bottom=0)
            axis.set_xlabel("MPJPE, mm", fontsize=8)
            axis.set_title(f"{words}, %\n({'more' if more else 'less'} is better)", fontsize=8)
            axis.grid(color="#e4e4e4", linewidth=0.6)
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(form, fontsize=9)
        line[0].legend(frameon=False, fontsize=7)
    return figure


def _line(row: Row) -> str:
    def share(name: str) -> str:
        value = row.figures[name]
        return "      –" if value is None else f"{100 * value:6.1f}%"

    model = f"{row.model}{' ' + row.latents if row.latents else ''}"
    if row.identity:
        model += " (identity)"
    shares = "  ".join(share(name) for name, _, _ in MEASURES)
    return f"{row.representation:30s} {model:32s} {row.mpjpe_mm:7.2f}  {shares}"


def _verdict(told: dict[str, Any]) -> str:
    return "WINS" if told["wins"] else "LOSES" if told["loses"] else "no clear difference"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--data", action="append", required=True, metavar="DIR")
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--components", type=int, nargs="+", default=list(COMPONENTS))
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    hands = load_hands(given.hand_model)
    test, train = (read_pairs(given.data, hands, split) for split in (given.split, "train"))
    held = Held(
        hands, test, train, data_features(test, hands), given.samples, given.seed, given.workers
    )
    print(
        f"{len(train):,} training pairs, {len(test):,} of split {given.split!r}, "
        f"{given.samples:,} draws of each model, {min(given.samples, len(test)):,} compared"
    )
    names = ("limits", ">1cm3", "meet", "itself", "cover", "hands")
    print(f"{'':63s} {'MPJPE':>7s}  " + "  ".join(f"{name:>7s}" for name in names))
    rows: list[Row] = []
    priors = [(Path(run).name, InteractionPrior.load(run, hands=hands)) for run in given.runs]
    for form in dict.fromkeys(prior.representation for _, prior in priors):
        of_form = [(name, prior) for name, prior in priors if prior.representation == form]
        first_name, first = of_form[0]
        rows += pca_rows(held, first, given.components)
        for name, prior in of_form:
            if not torch.allclose(prior.normalisation.scale, first.normalisation.scale, rtol=0.05):
                print(f"{name} was trained in other units than {first_name}, whose vectors PCA has")
            rows += network_rows(held, name, prior)
    told = verdicts(rows, min(given.samples, len(test)))
    print("\nat equal error, against PCA of the same representation:")
    for v in told:
        print(
            f"{v['model']} {v['latents']} ({v['mpjpe_mm']:.2f} mm): {v['words']} "
            f"{100 * v['network']:.1f} % against {100 * v['pca_at_equal_error']:.1f} %: "
            f"{_verdict(v)}"
            f"{' (PCA has no k at that error: nearest taken)' if v['outside'] else ''}"
        )
    given.out.mkdir(parents=True, exist_ok=True)
    save_figure(picture(rows), given.out, "against_pca")
    record = {"rows": [vars(r) for r in rows], "verdicts": told, "options": {
        k: str(v) if isinstance(v, Path) else v for k, v in vars(given).items()}}  # fmt: skip
    (given.out / "against_pca.json").write_text(json.dumps(record, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()

"""The paper's Table 2 on our ground: every variant on one budget, beside the paper's figures.

    python benchmarks/ablations.py --data IMAGES --out DIR [--rows full,no-prior,joint-wise,…]
        [--prior open] [--prior joints=RUN] [--prior vertices=RUN] [--seeds 0,1,2]
        [--preset tiny] [--feature-steps N] [--recon-steps N] [--batch N] [--lr X] …

A row is a variant, or VARIANT@PRIOR where one of the --prior NAME=RUN is meant: `full@narrow`
beside `full@open` says what a wider prior is worth. Rows j and k take the priors named `joints` and
`vertices`. A run is the folder DIR/ROW-seedN: finished ones are not trained again, an unfinished
one goes on, so the same command resumes. Rows whose feature networks are alike share phase one: the
first of them trains it, the others begin with its features.

Measured on the split test, protocol root9_scaled (the paper's): all pictures, and the tenth whose
more hidden hand is most hidden. Prints the table, with mean and spread (half the range) over seeds,
and where the order agrees with the paper's; writes DIR/ablations.json. `--table` only prints.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interaction_prior.prior import InteractionPrior
from interaction_prior.recon_training import PRESETS, ReconOptions, train_recon
from interaction_prior.recon_training.checkpoint import FEATURES_FILE
from interaction_prior.recon_training.network import feature_facts
from interaction_prior.recon_training.validation import errors_of_run
from interaction_prior.training import Provenance
from interaction_prior.training.allocation import keep_freed_memory
from twohand500k.errors import DataError
from twohand500k.hand import load_hands
from twohand500k.pipeline.provenance import git_revision, versions

# Table 2 of the paper, InterHand2.6M, mm: MPJPE, MPVPE; None where it has none.
PAPER: Mapping[str, tuple[str, float | None, float | None]] = {
    "no-feature": ("a", 10.19, 10.25),
    "no-saliency": ("b", 9.06, 9.11),
    "no-iah": ("c", 9.87, 10.07),
    "all-in-one": ("d", 9.63, 9.90),
    "joint-wise": ("e", 8.81, 9.05),
    "gaussian": ("f", 9.22, 9.69),
    "no-prior": ("g", 11.07, 11.49),
    "resnet50": ("h", 9.22, 9.27),
    "hrnet32": ("i", 9.16, 9.20),
    "joints": ("j", 9.74, None),
    "vertices": ("k", None, 10.52),
    "full": ("l", 8.34, 8.51),
}
FIGURES = ("mpjpe_mm", "mpvpe_mm", "hidden_mpjpe_mm", "hidden_mpvpe_mm")
_RESULT = "test.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="append", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--rows", default="full,no-prior,joint-wise,no-iah,all-in-one,gaussian")
    parser.add_argument("--prior", action="append", default=[], metavar="[NAME=]RUN")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--feature-steps", type=int)
    parser.add_argument("--recon-steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--rotation-deg", type=float, help="how far pictures are turned, at most")
    parser.add_argument("--share-seeds", action="store_true",
                        help="seeds share the features of whichever was first: phase two alone is "
                        "drawn anew")  # fmt: skip
    parser.add_argument("--network", choices=("paper", "tiny"))
    parser.add_argument("--weights")
    parser.add_argument("--schedule", choices=("plateau", "cosine"))
    parser.add_argument("--warmup", type=int)
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true", default=None)
    parser.add_argument("--validate-every", type=int)
    parser.add_argument("--checkpoint-every", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--hand-model", default="open")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    args = parser.parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows = args.rows.split(",")
    for row in rows:
        if row.split("@")[0] not in PAPER:
            parser.error(f"row {row!r} is none of {', '.join(PAPER)}")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    # Row by row within a seed: a first look at the whole table comes early.
    for seed in seeds:
        for row in rows:
            if not args.table:
                trained(args, row, seed)
            table(args.out, rows, seeds)
    if args.table:
        table(args.out, rows, seeds)


def options_of(args: argparse.Namespace, variant: str, seed: int) -> ReconOptions:
    """The one budget, for a variant."""
    names = {"lr": "learning_rate", "warmup": "warmup_steps"}
    said = {
        names.get(name, name): getattr(args, name)
        for name in ("feature_steps", "recon_steps", "batch", "lr", "network", "weights",
                     "schedule", "warmup", "precision", "compile", "validate_every",
                     "checkpoint_every")
        if getattr(args, name) is not None
    }  # fmt: skip
    preset = PRESETS[args.preset]
    if args.rotation_deg is not None:
        said["augmentation"] = replace(preset.augmentation, rotation_deg=args.rotation_deg)
    return replace(preset, variant=variant, seed=seed, **said)


def trained(args: argparse.Namespace, row: str, seed: int) -> None:
    """The run of a row and a seed, trained as far as it is not, and its errors."""
    variant = row.split("@")[0]
    out = args.out / f"{row}-seed{seed}"
    if (out / _RESULT).exists():
        return
    options = options_of(args, variant, seed)
    hands = load_hands(args.hand_model)
    prior = None
    if variant != "no-prior":
        prior = InteractionPrior.load(prior_of(args, row), hands=hands, device=args.device)
    features = shared_features(args.out, out, options, args.share_seeds)
    if features is not None:
        print(f"{out.name}: begins with the features of {features.name}")
        options = replace(options, feature_steps=0)
    print(f"{out.name}: {options.feature_steps:,} + {options.recon_steps or 0:,} steps", flush=True)
    summary = train_recon(
        args.data, out, options, hands, prior, features=features, device=args.device,
        provenance=Provenance(git_revision(), versions()),
        log=lambda line: print(f"  {line}", flush=True),
    )  # fmt: skip
    errors = errors_of_run(out, args.data, hands, device=args.device)
    result = {
        **errors.figures(),
        "seconds": summary.seconds,
        "features_of": features and features.name,
    }
    (out / _RESULT).write_text(json.dumps(result, indent=1) + "\n")


def prior_of(args: argparse.Namespace, row: str) -> str:
    """Which prior a row is trained with."""
    priors = dict(p.split("=", 1) if "=" in p else ("", p) for p in args.prior)
    variant, _, name = row.partition("@")
    name = name or (variant if variant in ("joints", "vertices") else "")
    if name not in priors and (name in ("joints", "vertices") or name not in ("", "open")):
        raise DataError(f"row {row} wants a prior: give --prior {name}=RUN")
    return priors.get(name, "open")


def shared_features(
    runs: Path, out: Path, options: ReconOptions, any_seed: bool = False
) -> Path | None:
    """Another run of that seed and those features whose first phase is done; None: train one's own.

    any_seed: of whichever seed.

    A run that has begun keeps to what it began with.
    """
    begun = out / "options.json"
    if begun.exists():
        if json.loads(begun.read_text())["features_sha256"] is None:
            return None
    elif not options.feature_steps:
        return None
    wanted = feature_facts(options)
    seeds = "*" if any_seed else options.seed
    for path in sorted(runs.glob(f"*-seed{seeds}/{FEATURES_FILE}")):
        theirs = ReconOptions.from_json(
            json.loads((path.parent / "options.json").read_text())["options"]
        )
        alike = replace(options, variant=theirs.variant, recon_steps=theirs.recon_steps)
        if any_seed:
            alike = replace(alike, seed=theirs.seed)
        if path.parent != out and feature_facts(theirs) == wanted and theirs == alike:
            return path.parent
    return None


def table(runs: Path, rows: Sequence[str], seeds: Sequence[int]) -> None:
    """What there is of the table, and where its order is the paper's."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        paths = [runs / f"{row}-seed{seed}" / _RESULT for seed in seeds]
        found[row] = [json.loads(path.read_text()) for path in paths if path.exists()]
    print(
        f"\n{'row':24} {'seeds':>5}  {'MPJPE, mm':>14} {'MPVPE, mm':>14}   "
        f"{'most hidden tenth':>17} {'':>14}   {'paper':>7} {'':>6}"
    )
    means: dict[str, dict[str, tuple[float, float]]] = {}
    for row, results in found.items():
        letter, *paper = PAPER[row.split("@")[0]]
        if not results:
            continue
        means[row] = {}
        cells = []
        for name in FIGURES:
            values = [r[name] for r in results if r[name] is not None]
            if values:
                mean, spread = float(np.mean(values)), float(np.ptp(values)) / 2
                means[row][name] = mean, spread
                cells.append(f"{mean:7.2f} ± {spread:4.2f}" if len(values) > 1 else f"{mean:7.2f}")
            else:
                cells.append("-")
        told = " ".join(f"{p:6.2f}" if p is not None else "     -" for p in paper)
        print(
            f"{letter} {row:22} {len(results):5}  {cells[0]:>14} {cells[1]:>14}   {cells[2]:>17} "
            f"{cells[3]:>14}   {told}"
        )
    print_order(means)
    print_priors(means)
    if any(len(results) == 1 for results in found.values()):
        print("rows of one seed have no spread: what chance does to them is not known")
    (runs / "ablations.json").write_text(json.dumps({"rows": found, "means": means}, indent=1))


def print_order(means: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """Of every two rows that both tables have: who is better there, who is better here."""
    rows = [row for row in means if "@" not in row]
    agree, within, against = [], [], []
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            for k, name in ((1, "mpjpe_mm"), (2, "mpvpe_mm")):
                theirs = PAPER[a][k], PAPER[b][k]
                if name not in means[a] or name not in means[b] or None in theirs:
                    continue
                (ours_a, spread_a), (ours_b, spread_b) = means[a][name], means[b][name]
                paper = float(theirs[0] or 0) - float(theirs[1] or 0)
                ours = ours_a - ours_b
                better, worse = (a, b) if paper < 0 else (b, a)
                said = f"{better} before {worse} ({name[:5].upper()}: paper {abs(paper):.2f} mm, "
                said += f"here {-ours if better == a else ours:+.2f} mm)"
                if abs(ours) <= spread_a + spread_b or paper == 0:
                    within.append(said)
                else:
                    (agree if (paper < 0) == (ours < 0) else against).append(said)
    total = len(agree) + len(within) + len(against)
    if not total:
        return
    print(
        f"\nof {total} comparisons of two rows, the order is as in the paper in {len(agree)}, the "
        f"other way in {len(against)}, within the seeds' spread in {len(within)}"
    )
    for said in against:
        print(f"  not here: {said}")
    for said in within:
        print(f"  undecided: {said}")


def print_priors(means: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    """The same variant with one prior and another."""
    rows = [row for row in means if any("@" in other for other in means if other.split("@")[0] ==
                                        row.split("@")[0])]  # fmt: skip
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            if a.split("@")[0] != b.split("@")[0]:
                continue
            for name in FIGURES:
                if name in means[a] and name in means[b]:
                    (x, spread_x), (y, spread_y) = means[a][name], means[b][name]
                    beyond = abs(x - y) > spread_x + spread_y
                    print(
                        f"{a} against {b}, {name}: {x - y:+.2f} mm"
                        + ("" if beyond else " (within the seeds' spread)")
                    )


if __name__ == "__main__":
    main()

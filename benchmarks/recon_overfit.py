"""Can the image network learn what it is shown? A few pictures, unchanged, until it knows them.

    python benchmarks/recon_overfit.py --data IMAGES --out DIR [--pictures 64]
        [--variants full,no-prior] [--prior open] [--feature-steps 300] [--recon-steps 1500] …

Takes the first so many pictures of the training split (`DIR/pictures`), trains each variant on them
without augmentation (runs DIR/VARIANT; finished ones are not trained again), and prints the MPJPE
on the very same pictures beside the decoder's floor on them: each hand from its own wrist, no
scale, as the floor is; root9_scaled, the paper's protocol, beside it.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from interaction_prior.hands import HandLayer
from interaction_prior.images import LabelledImages, read_images
from interaction_prior.images.augment import NONE
from interaction_prior.prior import InteractionPrior
from interaction_prior.recon_training import PRESETS, train_recon
from interaction_prior.recon_training.network import trained_network
from interaction_prior.recon_training.validation import errors_of_run
from interaction_prior.training import Provenance
from interaction_prior.training.allocation import keep_freed_memory
from twohand500k.hand import HandPair, load_hands
from twohand500k.pipeline.provenance import git_revision, versions
from twohand500k.select.run import SelectOptions, plan_select, select_samples

TARGETS = {"full": "1 mm above the floor", "no-prior": "2 mm"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--variants", default="full,no-prior")
    parser.add_argument("--prior", default="open")
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--feature-steps", type=int, default=300)
    parser.add_argument("--recon-steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--hand-model", default="open")
    args = parser.parse_args()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    hands = load_hands(args.hand_model)
    pictures = args.out / "pictures"
    chosen = SelectOptions(splits=("train",), count=args.pictures)
    select_samples(plan_select([args.data], hands, chosen, 0), pictures, progress=False)
    options = replace(
        PRESETS[args.preset], augmentation=NONE, batch=args.batch, learning_rate=args.lr,
        feature_steps=args.feature_steps, recon_steps=args.recon_steps, validate_every=10**9,
        checkpoint_every=500,
    )  # fmt: skip
    print(f"{'variant':12} {'floor':>8} {'wrist':>8} {'root9_scaled':>13} {'MPVPE':>7}   target")
    for variant in args.variants.split(","):
        prior = None
        if variant != "no-prior":
            prior = InteractionPrior.load(args.prior, hands=hands, device=args.device)
        out = args.out / variant
        train_recon(
            [pictures], out, replace(options, variant=variant), hands, prior, device=args.device,
            provenance=Provenance(git_revision(), versions()), log=lambda line: None,
        )  # fmt: skip
        errors = errors_of_run(out, [pictures], hands, device=args.device, split="train")
        floor = json.loads((out / "run.json").read_text())["floor"]
        told = f"{'-':>8}" if floor is None else f"{floor['mpjpe_mm']:8.2f}"
        figures = errors.figures()
        print(
            f"{variant:12} {told} {from_wrist_mm(out, pictures, hands, args.device):8.2f} "
            f"{figures['mpjpe_mm']:13.2f} {figures['mpvpe_mm']:7.2f}   {TARGETS.get(variant, '')}",
            flush=True,
        )


@torch.no_grad()
def from_wrist_mm(run: Path, pictures: Path, hands: HandPair, device: str) -> float:
    """MPJPE, each hand from its own wrist, of a run on a dataset's training split."""
    network, options = trained_network(run, hands, torch.device(device))
    images = LabelledImages.opened(
        read_images([pictures], hands, "train"), network.architecture.size, torch.device(device),
        resident=False, orientation=options.orientation,
    )  # fmt: skip
    layer = HandLayer(hands).to(device)
    apart = [
        (network(b.image).joints - layer.joints(b.rotations, b.betas)).norm(dim=-1).flatten()
        for b in images.in_order(32)
    ]
    return 1e3 * torch.cat(apart).mean().item()


if __name__ == "__main__":
    main()

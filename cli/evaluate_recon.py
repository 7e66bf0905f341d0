"""`twohand evaluate` of an image network: pictures in, errors, plausibility and a page out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from twohand500k.cli.draws import drawn_of_data, judge_draws, plausibility_figures
from twohand500k.cli.evaluate_outputs import as_text, folder_for, save_image
from twohand500k.cli.training import device_of
from twohand500k.conventions import LEFT, RIGHT
from twohand500k.cores import available_cores
from twohand500k.drawn import DrawnPairs
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.shards.files import disk_error, json_bytes, write_whole

if TYPE_CHECKING:
    from interaction_prior.evaluation.html import Picture
    from interaction_prior.evaluation.recon import Seen
    from interaction_prior.fusion import ReconNetwork
    from interaction_prior.images import ImagePairs
    from interaction_prior.recon_training import ReconOptions

Array = np.ndarray
Log = Callable[[str], None]

_FORMAT = 1
# Pictures of each kind on the sheet; width and height of a tile.
_EACH, _TILE = 4, 256
# The picture shows through the hands drawn over it.
_COVER = 0.85


def evaluate_recon(run: Path, given: dict[str, Any], log: Log) -> None:
    """Measure an image network, write numbers, pictures and the page, and say what was found.

    given: the command's options. Raises DataError for a run that is not finished or on other hands,
    and for data without pictures.
    """
    import torch

    from interaction_prior.evaluation.recon import errors_in, recon_figures, see
    from interaction_prior.evaluation.recon_page import (
        about,
        hidden_table,
        plausible_tables,
        protocol_table,
        recon_page,
        title,
    )
    from interaction_prior.images import LabelledImages, read_images
    from interaction_prior.metrics import PROTOCOLS
    from interaction_prior.recon_training.network import trained_network

    hands = load_hands(given["hand_model"])
    device = torch.device(device_of(given["device"]))
    folder = run.parent if run.is_file() else run
    network, trained = trained_network(folder, hands, device)
    images = read_images(given["folders"], hands, given["split"])
    out = folder_for(given["out"])
    log(f"looking at {len(images):,} pictures")
    labelled = LabelledImages.opened(
        images, network.architecture.size, device, resident=False, orientation=trained.orientation
    )
    seen = see(network, labelled)
    asked = given["protocols"] or ("root9_scaled",)
    protocols = list(PROTOCOLS) if "all" in asked else list(dict.fromkeys(asked))
    evaluation: dict[str, Any] = {
        "format": _FORMAT,
        "network": _described(folder, network, trained),
        "data": {
            "folders": [Path(folder).resolve().name for folder in given["folders"]],
            "split": given["split"],
            "sha256": images.sha256(),
            "hand_model": hands.right.name,
        },
        "seed": given["seed"],
        "errors": recon_figures(seen, protocols, hands),
        "plausibility": _plausibility(seen, images, hands, given, log),
    }
    pictures: list[Picture] = []
    if given["pictures"]:
        log("drawing pictures")
        mm = errors_in(protocols[0], seen, hands).mpjpe_mm.mean(axis=1)
        try:
            pictures = _pictures(evaluation, seen, images, trained, hands, mm, out)
        except OSError as error:
            raise disk_error(error, out) from error
    write_whole(out / "evaluation.html", recon_page(evaluation, pictures).encode())
    # Last: where it lies, the rest does.
    write_whole(out / "evaluation.json", json_bytes(evaluation))
    if given["as_json"]:
        click.echo(json.dumps(evaluation, allow_nan=False))
        return
    tables = [protocol_table(evaluation), hidden_table(evaluation), *plausible_tables(evaluation)]
    found = evaluation["errors"]
    click.echo(f"{title(evaluation)}. {about(evaluation)}")
    click.echo(
        f"AUC of PCK, 0 to 50 mm: {found['pck']['auc']:.3f}; the left wrist off by "
        f"{found['mrrpe_mm']['mean']:.2f} mm (MRRPE)\n"
    )
    click.echo("\n\n".join(map(as_text, tables)))
    click.echo(f"look at: {out / 'evaluation.html'}")


def _described(run: Path, network: "ReconNetwork", trained: "ReconOptions") -> dict[str, Any]:
    return {
        "name": run.resolve().name,
        "variant": network.architecture.variant,
        "sizes": network.architecture.sizes,
        "prior": None if network.prior is None else str(network.prior.representation),
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": trained.steps,
        "batch": trained.batch,
    }


def _plausibility(
    seen: "Seen", images: "ImagePairs", hands: HandPair, given: dict[str, Any], log: Log
) -> dict[str, Any] | None:
    """The judge on answers and annotation of the same pictures; None where none is asked for."""
    n = min(given["samples"], len(seen))
    if not n:
        return None
    rows = np.sort(np.random.default_rng(given["seed"]).permutation(len(seen))[:n])
    log(f"judging the answers of {n:,} pictures")
    ids = np.array([f"answer/{row:07d}" for row in rows])
    if seen.pose is not None and seen.betas is not None:
        answers = DrawnPairs(ids, seen.tau[rows], pose=seen.pose[rows], betas=seen.betas[rows])
    elif seen.skins is not None:
        answers = DrawnPairs(ids, seen.tau[rows], vertices=seen.skins[rows])
    else:
        answers = DrawnPairs(ids, seen.tau[rows], joints=seen.joints[rows])
    workers = given["workers"] or available_cores()
    annotation = drawn_of_data(images.select(rows).pairs, placed=True)
    return {
        "answers": plausibility_figures(judge_draws(answers, hands, workers=workers)),
        "annotation": plausibility_figures(judge_draws(annotation, hands, workers=workers)),
    }


def _pictures(
    evaluation: dict[str, Any],
    seen: "Seen",
    images: "ImagePairs",
    trained: "ReconOptions",
    hands: HandPair,
    mm: Array,
    out: Path,
) -> list["Picture"]:
    """Write all pictures; what of them goes on the page."""
    from interaction_prior.evaluation.html import Picture
    from interaction_prior.evaluation.pictures import save_figure
    from interaction_prior.evaluation.recon import worst_to_best
    from interaction_prior.evaluation.recon_page import curve_figure, hidden_figure

    shown = []
    for section, name, figure, caption in (
        ("errors", "pck", curve_figure(evaluation),
         "The share of joints, both hands, within a distance: the higher and the further left, "
         "the better."),
        ("hidden", "hidden", hidden_figure(evaluation), "Error by how much is hidden."),
    ):  # fmt: skip
        save_figure(figure, out, name)
        shown.append(Picture(section, caption, (out / f"{name}.png").read_bytes()))
    if seen.skins is not None:
        image = _sheet(seen, images, trained, hands, mm, worst_to_best(mm, _EACH))
        save_image(image, out, "pictures")
        caption = "Best, median and worst pictures, their error under each."
        shown.append(Picture("pictures", caption, (out / "pictures.png").read_bytes(), wide=True))
    return shown


def _sheet(
    seen: "Seen",
    images: "ImagePairs",
    trained: "ReconOptions",
    hands: HandPair,
    mm: Array,
    chosen: Sequence[tuple[str, int]],
) -> Array:
    """Three tiles a picture: as it is, the annotated hands over it, the answered ones."""
    import torch

    from interaction_prior.images import LabelledImages
    from twohand500k.pictures import contact_sheet

    assert seen.skins is not None
    rows = np.array([row for _, row in chosen])
    some = images.select(rows)
    at = LabelledImages.opened(
        some, _TILE, torch.device("cpu"), resident=False, orientation=trained.orientation
    )
    (batch,) = at.in_order(len(rows))
    photos = (255 * batch.image.numpy().transpose(0, 2, 3, 1)).round().astype(np.uint8)
    K, wrist = _camera(some, trained.orientation)
    tiles: list[Array] = []
    labels: list[str] = []
    for k, (name, row) in enumerate(chosen):
        tiles.append(photos[k])
        for skins, tau in ((seen.true_skins, seen.true_tau), (seen.skins, seen.tau)):
            place = np.stack([wrist[k], wrist[k] + tau[row]])
            tiles.append(_over(photos[k], skins[row] + place[:, None], K[k], hands))
        hidden = f"{seen.hidden[row].max():.0%} hidden"
        labels += [f"{name}\n{images.pairs.sample_id[row][-24:]}", f"annotated\n{hidden}",
                   f"answered\n{mm[row]:.1f} mm"]  # fmt: skip
    return contact_sheet(tiles, labels, columns=6)


def _camera(images: "ImagePairs", orientation: str) -> tuple[Array, Array]:
    """K (N, 3, 3) of what the network sees, 256 pixels wide, and the right wrist (N, 3) m there."""
    from interaction_prior.images.view import straight_views

    joints = np.stack(
        [
            images.datasets[d].array("joints", [r])[0]
            for d, r in zip(images.pairs.dataset.tolist(), images.row.tolist(), strict=True)
        ]
    ).astype(np.float64)
    if orientation == "camera":
        return images.K, joints[:, RIGHT, 0]
    views = straight_views(images.K)
    return views.K, np.einsum("nij,nj->ni", views.R, joints[:, RIGHT, 0])


def _over(photo: Array, skins: Array, K: Array, hands: HandPair) -> Array:
    """Both skins (2, V, 3) m drawn over the picture they are before the camera of."""
    from twohand500k.pictures import SKIN, PhotoCamera, Surface, render_meshes

    if not np.isfinite(skins).all() or (skins[..., 2] <= 0.05).any():
        raise DataError("hands that are none cannot be drawn over their picture")
    surfaces = [Surface(skins[s], hands[s].faces, SKIN[s]) for s in (RIGHT, LEFT)]
    camera = PhotoCamera.of(K, np.eye(3), np.zeros(3))
    drawn = render_meshes(surfaces, camera, (_TILE, _TILE), background=None)
    alpha = _COVER * drawn[..., 3:] / 255.0
    return (photo * (1 - alpha) + drawn[..., :3] * alpha).astype(np.uint8)

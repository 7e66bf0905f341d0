"""The model card of a prior: one page, read by people and, its head, by hubs.

Comes in: a `PriorRecord`, and nothing else: what the file does not say the card says is not known.
Goes out: Markdown with the front matter of Hugging Face's model cards.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from interaction_prior.prior.files import PriorRecord
from interaction_prior.prior.network import DECODER_LAYERS, ENCODER_LAYERS

# Options the card tells first, in this order; the rest follows as it is stored.
_FIRST = ("weight", "reduction", "normalisation", "batch", "learning_rate", "schedule", "precision",
          "seed")  # fmt: skip
# Options that change nothing of what was made.
_UNTOLD = ("resident", "log_every", "validate_every", "checkpoint_every", "epochs", "split")


def card_text(record: PriorRecord) -> str:
    """The text of card.md."""
    parts = [
        _head(record),
        f"# Interaction prior: {_what(record)}",
        _summary(record),
        "## Use\n\n" + _use(record),
        "## Data\n\n" + _data(record),
        "## What a vector is\n\n" + _vector(record),
        "## Model and loss\n\n" + _model(record),
        "## Training\n\n" + _training(record),
        "## Evaluation\n\n" + _evaluation(record),
        "## Limits\n\n" + _limits(record),
        "## Terms\n\n" + _terms(record),
    ]
    return "\n\n".join(parts) + "\n"


def _head(record: PriorRecord) -> str:
    tags = ["hand-pose", "two-hands", "MANO", record.architecture.model, "pose-prior"]
    return "\n".join(
        [
            "---",
            "license: other",
            "license_name: \"see the card: the data's and the hand model's\"",
            "library_name: interaction_prior",
            "tags:",
            *(f"- {tag}" for tag in tags),
            "---",
        ]
    )


def _what(record: PriorRecord) -> str:
    return f"{record.architecture.model.upper()} of {record.representation}"


def _summary(record: PriorRecord) -> str:
    kind = "variational autoencoder" if record.architecture.model == "vae" else "autoencoder"
    held = (
        "how two hands are held and where the left one is from the right"
        if record.representation.with_translation
        else "how two hands are held, each from its own wrist, not where they are"
    )
    return (
        f"A {kind} of pairs of interacting hands: {held}. The interaction prior of "
        '"Reconstructing Interacting Hands with Interaction Prior from Monocular Images" '
        "(ICCV 2023, section 3.2), trained with twohand500k."
    )


def _use(record: PriorRecord) -> str:
    hands = "" if record.hand_model.get("name") == "open" else ', hands="FOLDER_OF_THE_MODEL"'
    drawn = "" if record.architecture.model == "vae" else ', latents="fitted"'
    return (
        "```python\n"
        "from interaction_prior import InteractionPrior\n\n"
        f'prior = InteractionPrior.load("prior.safetensors"{hands})\n'
        f"pairs = prior.sample(16, seed=0{drawn})  # pairs.joints (16, 2, 21, 3), metres\n"
        "again = prior.decode(prior.encode(pairs).mean)\n"
        "```"
    )


def _data(record: PriorRecord) -> str:
    training = record.training
    rows = ["| dataset | pairs | weight | terms |", "|---|---|---|---|"]
    for entry in training.get("data", ()):
        name = next((entry[k] for k in ("folder", "folder name", "name") if k in entry), "unnamed")
        rows.append(
            f"| `{name}` | {_number(entry.get('samples'))} | {_number(entry.get('weight'))} | "
            f"{_joined(entry.get('licences')) or 'not recorded'} |"
        )
    table = "\n".join(rows) if len(rows) > 2 else "Not recorded."
    return (
        f"{table}\n\n"
        f"- split: {training.get('split', 'not recorded')}\n"
        f"- sha256 of ids and numbers, in order: `{training.get('data_sha256', 'not recorded')}`"
    )


def _vector(record: PriorRecord) -> str:
    representation = record.representation
    rows = ["| numbers | what | hands x items x numbers | unit |", "|---|---|---|---|"]
    start = 0
    for block in representation.blocks:
        stop = start + block.width
        shape = f"{block.sides} x {block.items} x {block.item_width}"
        rows.append(f"| {start} to {stop - 1} | {block.name} | {shape} | {block.unit} |")
        start = stop
    rotation = record.training.get("rotation", {})
    frame = {
        "uniform": "any: in training each pair was turned as a whole by a random rotation",
        "none": "the training data's own: no pair was turned",
    }.get(str(rotation.get("kind")), "not recorded")
    return "\n".join(
        [
            f"`{representation}`, {representation.dim} numbers.",
            "",
            *rows,
            "",
            "- sides: right, then left; each hand from its own wrist, both in one frame; metres",
            "- pose: relative to the flat hand (`flat_hand_mean=True`); place: wrist_left - "
            "wrist_right",
            f"- joints: {representation.joint_definition}",
            f"- frame: {frame}; distribution: {rotation.get('distribution', 'not recorded')}",
            f"- hand model: `{record.hand_model.get('name', 'not recorded')}` (right sha256 "
            f"`{str(record.hand_model.get('right_sha256', ''))[:12]}`…): betas mean something on "
            "it alone",
        ]
    )


def _model(record: PriorRecord) -> str:
    a = record.architecture
    options = record.training.get("options", {})
    weight, reduction = options.get("weight"), options.get("reduction")
    of = "summed over" if reduction != "mean" else "averaged over"
    distance = f"{_number(weight) if weight is not None else 'lambda'} |x_hat - x|^2"
    loss = f"KL(q(z|x) || N(0, I)) + {distance}" if a.model == "vae" else distance
    for term in ("likeness", "plausibility"):
        if options.get(term):
            loss += f" + {_number(options[term])} {term} of what it draws of itself"
    return "\n".join(
        [
            f"- encoder {ENCODER_LAYERS} linear layers, decoder {DECODER_LAYERS}, ReLU between, "
            f"width {a.hidden}; {a.latents} latents",
            f"- loss: {loss}, the squared error {of} the numbers of the vector, averaged over "
            f"the batch, x normalised ({options.get('normalisation', 'as stored in the file')})",
            "- mean and covariance of the codes of the training set are in the file"
            if "mean" in record.latents
            else "- the file holds no fit of the codes",
        ]
    )


def _training(record: PriorRecord) -> str:
    training = record.training
    options = dict(training.get("options", {}))
    told = [f"{k} {_number(options.pop(k))}" for k in _FIRST if k in options]
    rest = [
        f"{k} {_number(v)}"
        for k, v in sorted(options.items())
        if k not in _UNTOLD and not _nested(v)
    ]
    versions = ", ".join(f"{k} {v}" for k, v in sorted(training.get("versions", {}).items()))
    return "\n".join(
        [
            f"- {_number(training.get('steps'))} steps, {_number(training.get('samples_seen'))} "
            "pairs seen (the paper gives no number of epochs)",
            f"- options: {', '.join(told + rest) or 'not recorded'}",
            f"- {training.get('date', 'date not recorded')}, twohand500k "
            f"`{str(training.get('git_revision', 'not recorded'))[:12]}`, "
            f"{versions or 'versions not recorded'}",
        ]
    )


def _evaluation(record: PriorRecord) -> str:
    final = _flat(record.training.get("final", {}))
    if not final:
        return "Not evaluated in training: `twohand evaluate RUN --data DIR`."
    rows = ["| measure | value |", "|---|---|", *(f"| {k} | {_number(v)} |" for k, v in final)]
    return "\n".join(rows) + "\n\nOn the validation split, at the end of training."


def _limits(record: PriorRecord) -> str:
    told = [
        "- It knows its training data: hands of other people, other grasps and anything held are "
        "outside.",
        "- Spliced training pairs join two single hands that touch plausibly; they were never "
        "seen together, and so one hand says little of the other.",
        "- Samples may overlap or pass a joint's limits: `twohand sample` followed by `twohand "
        "physics-fix` judges and mends them.",
    ]
    if not record.representation.with_translation:
        told.append("- A sample has no relative translation: it is two hands, no interaction.")
    if record.representation.name != "mano":
        told.append("- Points need not be those of a hand: MANO parameters have to be fitted.")
    if record.training.get("rotation", {}).get("kind") == "none":
        told.append("- Trained in one frame: pairs in another are unknown to it.")
    if record.architecture.model == "ae":
        told.append("- An autoencoder: its codes follow no standard normal, samples are drawn "
                    "from a normal fitted to them.")  # fmt: skip
    return "\n".join(told)


def _terms(record: PriorRecord) -> str:
    name = str(record.hand_model.get("name", ""))
    if name == "open":
        hands = "the toolkit's own (MIT); no licensed file is in this prior"
    elif name.upper().startswith("MANO"):
        hands = "MANO's, non-commercial scientific research (mano.is.tue.mpg.de)"
    else:
        hands = "not known here"
    return (
        f"- data: those of the datasets above; `twohand export` writes them out for each\n"
        f"- hand model `{name or 'not recorded'}`: {hands}\n"
        "- code: MIT"
    )


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{before}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}, ")
        elif not _nested(value):
            rows.append((name, value))
    return rows


def _nested(value: object) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str)


def _joined(value: object) -> str:
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return "; ".join(_joined(v) for v in value) if isinstance(value, Sequence) else ""


def _number(value: object) -> str:
    """A value as people read it: thousands apart, few digits, nothing made up."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")

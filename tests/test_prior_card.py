"""The model card says what the record says, and nothing that it does not."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from prior_fixture import small_prior  # noqa: E402

from interaction_prior.prior.card import card_text  # noqa: E402
from interaction_prior.representations import Representation  # noqa: E402

pytestmark = pytest.mark.torch


def test_the_card_says_what_the_record_says() -> None:
    record = small_prior().record
    text = card_text(record)
    assert text.startswith("---\nlicense: other\n") and text.count("\n---\n") == 1
    for told in (
        "# Interaction prior: VAE of mano (6d) with translation",
        "| `pairs` | 2,000 | 1 | not recorded |",
        "ab" * 32,
        "| 0 to 11 | orientation | 2 x 1 x 6 | 1 |",
        "| 212 to 214 | place of the left hand | 1 x 1 x 3 | m |",
        "KL(q(z|x) || N(0, I)) + 100 |x_hat - x|^2",
        "summed over the numbers",
        "16 latents",
        "400 steps, 51,200 pairs seen",
        "| loss | 12.5 |",
        "| kl | 3.25 |",
        "the training data's own",
        record.hand_model["right_sha256"][:12],
    ):
        assert told in text, told
    assert len(text.splitlines()) < 110


def test_the_card_of_a_bare_record_makes_nothing_up() -> None:
    text = card_text(replace(small_prior().record, training={}, latents={}))
    assert text.count("not recorded") >= 6
    assert "not known steps" in text
    assert "Not evaluated in training" in text and "holds no fit of the codes" in text
    for made_up in ("nan", "None", "{}", "[]"):
        assert made_up not in text


def test_the_card_warns_of_what_a_prior_cannot_do() -> None:
    record = small_prior().record
    ae = replace(record, architecture=replace(record.architecture, model="ae"))
    assert 'latents="fitted"' in card_text(ae) and "no standard normal" in card_text(ae)
    bare = replace(record, representation=Representation("joints"))
    assert "two hands, no interaction" in card_text(bare)
    assert "MANO parameters have to be fitted" in card_text(bare)
    mano = replace(record, hand_model={**record.hand_model, "name": "MANO_v1_2"})
    assert "non-commercial" in card_text(mano)
    averaged = {"weight": 10.0, "reduction": "mean"}
    assert "averaged over the numbers" in card_text(replace(record, training={"options": averaged}))
    beside = {"weight": 100.0, "likeness": 10.0, "plausibility": 0.0, "resident": "auto"}
    text = card_text(replace(record, training={"options": beside}))
    assert "+ 10 likeness of what it draws" in text and "plausibility of what" not in text
    assert "resident" not in text
    nested = {"val": {"loss": 3.0, "mpjpe_mm": float("nan")}, "units": [1, 2]}
    text = card_text(replace(record, training={"final": nested}))
    assert "| val, loss | 3 |" in text and "| val, mpjpe mm | not known |" in text

"""The frozen decoder on disk: the prior's numbers, any batch, its meaning beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from prior_fixture import small_prior  # noqa: E402

from interaction_prior.prior import export  # noqa: E402
from interaction_prior.representations import Representation  # noqa: E402
from twohand500k.errors import DataError  # noqa: E402

pytestmark = pytest.mark.torch


def test_the_torch_program_is_the_decoder(tmp_path: Path) -> None:
    prior = small_prior()
    done = prior.export(tmp_path / "new" / "decoder.pt2")
    assert done.checked_with == "torch.export.load" and done.difference < 1e-5
    extra = {export.META: ""}
    program = torch.export.load(done.path, extra_files=extra).module()
    for n in (1, 3, 64):
        z = torch.randn(n, prior.latents, generator=torch.Generator().manual_seed(n))
        torch.testing.assert_close(program(z), prior.decode(z).x, atol=1e-5, rtol=1e-5)
    told = json.loads(extra[export.META])
    _says_what_the_numbers_are(told, prior.decode(z).x)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["decoder.pt2"]


def _says_what_the_numbers_are(told: dict[str, object], x: torch.Tensor) -> None:
    representation = Representation(**told["representation"])  # type: ignore[arg-type]
    for block, part in zip(
        told["output"]["blocks"],  # type: ignore[index]
        representation.split(x),
        strict=True,
    ):
        assert torch.equal(x[:, block["start"] : block["stop"]], part)
        assert part.reshape(-1, *block["shape"]).shape[0] == len(x)


def test_a_program_needs_none_of_this_code(tmp_path: Path) -> None:
    prior = small_prior()
    done = prior.export(tmp_path / "decoder.pt2")
    z = torch.ones(2, prior.latents)
    code = (
        "import sys, torch\n"
        f"x = torch.export.load({str(done.path)!r}).module()(torch.ones(2, {prior.latents}))\n"
        "assert not any(m.split('.')[0] in ('interaction_prior', 'twohand500k') "
        "for m in sys.modules)\n"
        "print(float(x.double().sum()))"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(said.stdout) == pytest.approx(float(prior.decode(z).x.double().sum()), abs=1e-3)


def test_the_onnx_program_is_the_decoder(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    prior = small_prior(Representation("joints"), steps=20)
    done = prior.export(tmp_path / "decoder.onnx", form="onnx")
    assert done.checked_with in ("onnxruntime", "onnx.reference") and done.difference < 1e-5
    model = onnx.load(done.path)
    onnx.checker.check_model(model)
    # Another run time than the one it was checked with.
    evaluator = ReferenceEvaluator(model)
    for n in (1, 5):
        z = torch.randn(n, prior.latents, generator=torch.Generator().manual_seed(n))
        (x,) = evaluator.run(None, {"z": z.numpy()})
        torch.testing.assert_close(torch.from_numpy(x), prior.decode(z).x, atol=1e-5, rtol=1e-5)
    told = json.loads({p.key: p.value for p in model.metadata_props}["interaction_prior"])
    _says_what_the_numbers_are(told, prior.decode(z).x)
    # One file: no weights beside it.
    assert [p.name for p in tmp_path.iterdir()] == ["decoder.onnx"]


def test_a_program_with_other_numbers_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(path: Path) -> tuple[str, object]:
        name, program = real(path)
        return name, lambda z: program(z) + 0.01

    real = export._read_torch
    monkeypatch.setattr(export, "_read_torch", spoiled)
    with pytest.raises(DataError, match="gives other numbers than the prior"):
        small_prior().export(tmp_path / "decoder.pt2")
    assert not list(tmp_path.iterdir())


def test_without_the_packages_onnx_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export.importlib.util.find_spec
    monkeypatch.setattr(
        export.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxscript" else real(name),
    )
    with pytest.raises(DataError, match=r'needs onnxscript: pip install "twohand500k\[onnx\]"'):
        small_prior().export(tmp_path / "decoder.onnx", form="onnx")
    assert not list(tmp_path.iterdir())


def test_misuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a \*\.onnx file"):
        small_prior().export(tmp_path / "decoder.pt2", form="onnx")
    with pytest.raises(DataError, match="'tflite' is none of torch, onnx"):
        small_prior().export(tmp_path / "decoder.pt2", form="tflite")  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        small_prior().export(tmp_path / "file" / "decoder.pt2")

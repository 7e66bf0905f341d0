"""The frozen decoder as a file that needs none of this code: `torch.export` or ONNX.

Comes in: a prior. Goes out: a program z (B, d_z) -> raw vector (B, D), any B, with the
normalisation undone inside, and beside it, as JSON, what the vector's numbers mean. The paper's
image network uses the prior so: "we discard the encoder and only use the decoder with the frozen
parameters" (section 3.2). The file is read back and compared with the prior before it takes its
name.
"""

import contextlib
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from twohand500k.errors import DataError

if TYPE_CHECKING:
    from interaction_prior.prior.prior import InteractionPrior

Form = Literal["torch", "onnx"]
FORMS: tuple[Form, ...] = get_args(Form)
META = "interaction_prior.json"
_META_KEY = "interaction_prior"

# How far the file's numbers may be from the prior's, relative to 1 + |x|: float32, other kernels.
_TOLERANCE = 1e-4
_TRIED = (1, 2, 7)


@dataclass(frozen=True)
class Exported:
    """A decoder on disk.

    checked_with: what read it back (``onnx.reference`` is slow and no run time of anybody's; where
    onnxruntime is installed it is that). difference: the largest between its numbers and the
    prior's, relative to 1 + |x|.
    """

    path: Path
    form: Form
    checked_with: str
    difference: float


class FrozenDecoder(nn.Module):
    """z (B, d_z) -> raw vectors (B, D): the decoder with its normalisation undone, on the CPU."""

    mean: Tensor
    scale: Tensor

    def __init__(self, prior: "InteractionPrior") -> None:
        super().__init__()
        linear = [m for m in prior.network.decoder if isinstance(m, nn.Linear)]
        layers: list[nn.Module] = []
        for m in linear:
            copy = nn.Linear(m.in_features, m.out_features)
            copy.load_state_dict({name: tensor.cpu() for name, tensor in m.state_dict().items()})
            layers += [copy, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.register_buffer("mean", prior.normalisation.mean.cpu().clone())
        self.register_buffer("scale", prior.normalisation.scale.cpu().clone())
        self.eval().requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z) * self.scale + self.mean


def export_decoder(prior: "InteractionPrior", path: str | Path, form: Form = "torch") -> Exported:
    """Write the frozen decoder to `path`: ``torch`` (.pt2) or ``onnx`` (.onnx).

    Raises DataError where a package is missing, the disk refuses, or the file, read back, gives
    other numbers than the prior.
    """
    path = Path(path)
    if form not in FORMS:
        raise DataError(f"form {form!r} is none of {', '.join(FORMS)}")
    suffix = {"torch": ".pt2", "onnx": ".onnx"}[form]
    if path.suffix != suffix:
        raise DataError(f"{path}: a decoder in the form {form!r} is a *{suffix} file")
    decoder = FrozenDecoder(prior)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.tmp{suffix}")
    write, read = {"torch": (_write_torch, _read_torch), "onnx": (_write_onnx, _read_onnx)}[form]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _quietly():
            write(decoder, prior.latents, partial, json.dumps(meaning(prior)))
        checked_with, program = read(partial)
        difference = _difference(decoder, program, prior.latents)
        if difference > _TOLERANCE:
            raise DataError(
                f"the decoder written as {form} gives other numbers than the prior (by up to "
                f"{difference:.1e}): this torch {torch.__version__} exports it wrongly, nothing "
                "was kept"
            )
        partial.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return Exported(path, form, checked_with, difference)


def meaning(prior: "InteractionPrior") -> dict[str, Any]:
    """What goes in and comes out, for a reader who has the file alone; plain JSON."""
    blocks, start = [], 0
    for block in prior.representation.blocks:
        shape = [block.sides, block.items, block.item_width]
        blocks.append(
            {"name": block.name, "kind": block.kind, "unit": block.unit, "start": start,
             "stop": start + block.width, "shape": shape}
        )  # fmt: skip
        start += block.width
    return {
        "format": 1,
        "input": {"name": "z", "shape": ["batch", prior.latents], "from": "standard normal"},
        "output": {"name": "x", "shape": ["batch", prior.representation.dim], "blocks": blocks},
        "representation": asdict(prior.representation),
        "sides": ["right", "left"],
        "convention": "each hand from its own wrist, both in one frame; pose relative to the flat "
        "hand; place = wrist_left - wrist_right",
        "model": prior.model,
        "rotation": dict(prior.training.get("rotation", {})),
        "hand_model": dict(prior.record.hand_model),
    }


def _write_torch(decoder: nn.Module, latents: int, path: Path, meta: str) -> None:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        decoder, (torch.zeros(2, latents),), dynamic_shapes={"z": {0: batch}}
    )
    torch.export.save(program, path, extra_files={META: meta})


def _read_torch(path: Path) -> tuple[str, Callable[[Tensor], Tensor]]:
    module = torch.export.load(path).module()
    return "torch.export.load", module


def _write_onnx(decoder: nn.Module, latents: int, path: Path, meta: str) -> None:
    _need("onnx", "onnxscript")
    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        decoder,
        (torch.zeros(2, latents),),
        dynamo=True,
        dynamic_shapes={"z": {0: batch}},
        input_names=["z"],
        output_names=["x"],
        verbose=False,
    )
    if program is None:
        raise DataError(f"torch {torch.__version__} wrote no ONNX program: upgrade torch")
    program.model.metadata_props[_META_KEY] = meta
    program.save(path)


def _read_onnx(path: Path) -> tuple[str, Callable[[Tensor], Tensor]]:
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return "onnxruntime", lambda z: torch.from_numpy(session.run(None, {"z": z.numpy()})[0])
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))

    def run(z: Tensor) -> Tensor:
        # One output, which the evaluator hands over in a list.
        outputs: Any = evaluator.run(None, {"z": z.numpy()})
        return torch.from_numpy(outputs[0])

    return "onnx.reference", run


def _difference(decoder: nn.Module, program: Callable[[Tensor], Tensor], latents: int) -> float:
    """The largest difference over batches of several sizes, relative to 1 + |x|."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for n in _TRIED:
        z = torch.randn(n, latents, generator=generator)
        x = decoder(z)
        apart = (program(z) - x).abs() / (1.0 + x.abs())
        # A NaN is no agreement.
        worst = max(worst, float(apart.nan_to_num(nan=float("inf")).max()))
    return worst


def _need(*packages: str) -> None:
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        raise DataError(
            f'writing ONNX needs {" and ".join(missing)}: pip install "twohand500k[onnx]"'
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Torch's exporters speak of other packages (torchvision) and of their own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""`export_dataset`: a dataset in, a folder in other people's formats out.

    OUT/parquet/…  OUT/npz/…  OUT/interhand/…  OUT/obj/…   as asked
    OUT/README.md, samples.png     the dataset card
    OUT/croissant.json             Croissant 1.0
    OUT/export.json                written last: what was asked, hashes of files and of contents

Memory holds one shard. A killed export is written again by the same command; a finished one is left
alone; another one's folder is refused.
"""

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from twohand500k import __version__
from twohand500k.errors import DataError
from twohand500k.export import card, croissant, interhand, meshes, npz, parquet
from twohand500k.export.content import Array, Arrays, Digest, Log, Source
from twohand500k.export.croissant import WrittenFile
from twohand500k.export.licences import licences_of
from twohand500k.hand import HandPair
from twohand500k.shards import Dataset, Samples
from twohand500k.shards.files import (
    INDEX,
    disk_error,
    json_bytes,
    read_json,
    sha256_of_file,
    write_whole,
)

EXPORT: Final = "export.json"
_BEGUN: Final = ".export-begun.json"
ROUNDING: Final = {
    "parquet": "none",
    "npz": "none",
    "interhand": "joints 0.001 mm; pose, shape, trans 1e-6",
    "obj": "1e-6 m",
    "glb": "none (float32)",
    "ply": "none (float32)",
}


@dataclass(frozen=True)
class Format:
    """One format: see `export.content`. read takes the folder and the files in their order."""

    name: str
    order: Callable[[Source], Iterator[Array]]
    arrays: Callable[[Source, Array], Arrays]
    write: Callable[[Source, Path, Digest], None]
    read: Callable[[Path, list[str]], Iterator[Arrays]]


def _read_all(
    read: Callable[[Path], Iterator[Arrays]], folder: Path, names: list[str]
) -> Iterator[Arrays]:
    """A format that finds its files by itself."""
    return read(folder)


FORMATS: Final[Mapping[str, Format]] = {
    module.NAME: Format(
        module.NAME,
        module.order,
        module.arrays,
        module.write,
        partial(_read_all, module.read),
    )
    for module in (parquet, npz, interhand)
} | {
    kind: Format(
        kind,
        meshes.order,
        meshes.arrays_of(kind),
        partial(meshes.write, kind),
        partial(meshes.read, kind),
    )
    for kind in meshes.NAMES
}


@dataclass(frozen=True)
class ExportOptions:
    """formats: of `FORMATS`. name: what the dataset is called, by default its folder. closed:
    meshes have their wrists capped. where: the condition the rows were chosen by, for the record.
    """

    formats: tuple[str, ...]
    name: str = ""
    closed: bool = False
    where: str = ""


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    folder: Path
    samples: int
    files: int
    bytes: int
    was_finished: bool


Draw = Callable[[Samples], np.ndarray]


def export_dataset(
    dataset: Dataset,
    out: Path,
    hands: HandPair,
    options: ExportOptions,
    *,
    rows: Sequence[int] | Array | None = None,
    draw: Draw | None = None,
    command: str = "twohand export",
    log: Log = lambda line: None,
) -> Exported:
    """Write `rows` (ascending; None all) of a dataset to `out`.

    draw: makes the card's picture (H, W, 3) uint8 of a few samples.

    Raises DataError if the dataset was made on other hands or holds nothing, `out` is something
    else or another export, a library is missing, or the disk refuses.
    """
    chosen = np.arange(len(dataset)) if rows is None else np.asarray(rows, dtype=np.int64)
    _check(dataset, hands, options, chosen)
    source = Source(dataset, hands, chosen, options.closed)
    asked = _asked(source, options)
    if (done := _prepare(out, asked)) is not None:
        return done
    content: dict[str, Any] = {}
    paths: list[Path] = []
    for kind in options.formats:
        log(f"{kind}: {len(chosen):,} samples")
        digest = Digest()
        FORMATS[kind].write(source, out / kind, digest)
        content[kind] = {"samples": digest.rows, "fields": digest.told()}
        if digest.files:
            paths += [out / kind / name for name in digest.files]
        else:
            paths += sorted(p for p in (out / kind).rglob("*") if p.is_file())
    if draw is not None:
        few = np.unique(np.linspace(0, len(chosen) - 1, 8).round().astype(np.int64))
        paths.append(out / card.PICTURE)
        write_whole(paths[-1], _png(draw(dataset.samples(chosen[few]))))
    licences = licences_of(dataset)
    name = options.name or dataset.path.resolve().name
    files = [_written(out, path) for path in paths]
    text = card.card(
        name, source, options.formats, licences, command, draw is not None,
        len(chosen) == len(dataset),
    )  # fmt: skip
    write_whole(out / card.FILE, text.encode())
    told = croissant.croissant(name, card.description(source), files, licences, dataset.groups)
    write_whole(out / croissant.FILE, json_bytes(told))
    files += [_written(out, out / name) for name in (card.FILE, croissant.FILE)]
    write_whole(
        out / EXPORT,
        json_bytes(
            asked
            | {
                "content": content,
                "rounding": {kind: ROUNDING[kind] for kind in options.formats},
                "files": [vars(file) for file in files],
                "version": __version__,
            }
        ),
    )
    (out / _BEGUN).unlink(missing_ok=True)
    return _exported(out, len(chosen), files, False)


def _check(dataset: Dataset, hands: HandPair, options: ExportOptions, rows: Array) -> None:
    strangers = [kind for kind in options.formats if kind not in FORMATS]
    if strangers or not options.formats:
        named = repr(strangers[0]) if strangers else "nothing"
        raise DataError(f"{named} is no export format: {', '.join(FORMATS)}")
    if not len(rows):
        raise DataError(f"{dataset.path}: no sample to export")
    if (np.diff(rows) <= 0).any():
        raise ValueError("rows to export are ascending and none comes twice")
    declared = dataset.conventions
    for side in (0, 1):
        model = hands[side]
        if declared[f"hand_model_{model.side}_sha256"] != model.sha256:
            raise DataError(
                f"{dataset.path} was made on the hand model {declared['hand_model'][side]!r}, "
                f"--hand-model is {model.name!r} {model.sha256[:12]}…: give the model it "
                "was made on"
            )


def _asked(source: Source, options: ExportOptions) -> dict[str, Any]:
    """What decides the bytes of an export."""
    return {
        "format": 1,
        "dataset": {
            "name": source.dataset.path.resolve().name,
            "index_sha256": sha256_of_file(source.dataset.path / INDEX),
            "samples": len(source.dataset),
        },
        "name": options.name,
        "formats": list(options.formats),
        "closed": options.closed,
        "where": options.where,
        "samples": len(source),
        "rows_sha256": hashlib.sha256(source.rows.astype("<i8").tobytes()).hexdigest(),
    }


def _prepare(out: Path, asked: Mapping[str, Any]) -> Exported | None:
    """Make the folder ready; what was done, if it is done already. Raises DataError for a folder
    that is something else."""
    try:
        if out.exists() and not out.is_dir():
            raise DataError(f"{out} is a file: choose a folder for --out")
        for name in (EXPORT, _BEGUN):
            if (out / name).is_file():
                before = read_json(out / name)
                _check_same(out, before, asked)
                if name == EXPORT:
                    files = [WrittenFile(**file) for file in before["files"]]
                    if all(_size(out / f.path) == f.bytes for f in files):
                        return _exported(out, int(asked["samples"]), files, True)
                break
        else:
            if out.is_dir() and any(out.iterdir()):
                raise DataError(
                    f"{out} already holds other files ({sorted(out.iterdir())[0].name}, …): choose "
                    "an empty or new folder for --out"
                )
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / _BEGUN, json_bytes(asked))
        (out / EXPORT).unlink(missing_ok=True)
        # What a killed export left is this one's own: it is written anew.
        for kind in asked["formats"]:
            shutil.rmtree(out / kind, ignore_errors=True)
    except OSError as error:
        raise disk_error(error, out) from error
    return None


def _check_same(out: Path, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for key, value in asked.items():
        if before.get(key) != value:
            raise DataError(
                f"{out} is an export with {key} = {before.get(key)!r}, this command has {value!r}: "
                "choose another --out"
            )


def _written(out: Path, path: Path) -> WrittenFile:
    return WrittenFile(path.relative_to(out).as_posix(), path.stat().st_size, sha256_of_file(path))


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _exported(out: Path, samples: int, files: Sequence[WrittenFile], finished: bool) -> Exported:
    return Exported(out, samples, len(files) + 1, sum(f.bytes for f in files), finished)


def _png(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG", optimize=True)
    return content.getvalue()

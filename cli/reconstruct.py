"""`twohand reconstruct`: pictures in, two hands of each out: parameters, meshes, an overlay."""

import contextlib
import json
import signal
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from twohand500k.cli import options
from twohand500k.cli.reconstruct_dataset import UNREADABLE, write_dataset
from twohand500k.cli.reconstruct_inputs import Known, Picture, Pictures, find_pictures
from twohand500k.cli.reconstruct_outputs import MESHES, Found, Wanted, write_found
from twohand500k.cli.training import device_of, need_torch, typed_command
from twohand500k.cores import available_cores
from twohand500k.errors import DataError
from twohand500k.hand import HandPair, load_hands
from twohand500k.pipeline import RunSummary
from twohand500k.pipeline.progress import RunProgress
from twohand500k.shards import Reject
from twohand500k.shards.files import (
    REJECTS,
    disk_error,
    json_line,
    remove_temporaries,
    write_whole,
)

if TYPE_CHECKING:
    from interaction_prior.reconstruction import HandsInImage, Reconstructor

Array = np.ndarray

# Pictures decoded ahead of the network, in batches.
_AHEAD = 2


@click.command(context_settings={"max_content_width": 100})
@click.argument("inputs", nargs=-1, required=True, metavar="IMAGE|FOLDER|VIDEO…",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--model", "run", required=True, metavar="RUN",
              type=click.Path(path_type=Path),
              help="A run folder of train-recon, or its recon.safetensors.")  # fmt: skip
@options.out_dir
@click.option("--box", metavar="X0,Y0,X1,Y1",
              help="Around the hands, pixels, for every picture.  [default: a first look at the "
              "whole picture finds it]")  # fmt: skip
@click.option("--K", "K", metavar="FX,FY,CX,CY",
              help="Intrinsics in pixels, for every picture.  [default: a focal length of 1.2 "
              "longer sides is assumed]")  # fmt: skip
@click.option("--known", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help='JSON with what is known of each picture: {"NAME": {"box": [x0, y0, x1, y1], '
              '"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}}.')  # fmt: skip
@click.option("--mesh", "meshes", type=click.Choice([*MESHES, "none"]), multiple=True,
              default=("glb",), show_default=True,
              help="May be repeated.")  # fmt: skip
@click.option("--overlay/--no-overlay", default=True, show_default=True,
              help="Draw the hands over the picture, as NAME_overlay.png.")  # fmt: skip
@click.option("--as-dataset", "dataset", type=click.Path(path_type=Path, file_okay=False),
              metavar="DIR", help="Write the hands as a dataset too, for verify, physics-fix, "
              "report.")  # fmt: skip
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True,
              help="Of a video, each so many-th frame.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True,
              help="Pictures shown to the network at a time.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True)  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: torch's]")
@click.option("--overwrite", is_flag=True, help="Do pictures again whose files are there.")
@options.hand_model
@options.workers
@options.as_json
@options.quiet
def reconstruct(**given: Any) -> None:
    """Two hands out of each picture: MANO parameters, meshes, and a picture to judge them by.

    Pictures whose files are there are passed over. One that cannot be read is refused with the
    reason, the others go on, and the exit status is 1.
    """
    meshes = tuple(dict.fromkeys(given["meshes"]))
    if "none" in meshes and len(meshes) > 1:
        raise click.UsageError("--mesh none goes with no other --mesh")
    known = Known.read(given["known"], given["box"], given["K"])
    pictures = find_pictures(given["inputs"], given["every"])
    need_torch("transformers")
    import torch

    from interaction_prior.reconstruction import Reconstructor

    if given["threads"]:
        torch.set_num_threads(given["threads"])
    hands = load_hands(given["hand_model"])
    look = Reconstructor.load(given["run"], hands=hands, device=device_of(given["device"]))
    wanted = Wanted(
        given["out"],
        tuple(kind for kind in meshes if kind != "none"),
        given["overlay"],
        {"network": look.name, "network_sha256": look.sha256},
    )
    session = _Session(look, hands, known, wanted, given)
    try:
        session.run(pictures)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; what was written stays, resume with: {typed_command()}"
        ) from None
    summary = _dataset(session, given) if given["dataset"] is not None else None
    click.echo(json.dumps(session.to_json(summary)) if given["as_json"] else session.told(summary))
    if session.refused:
        first = session.refused[0]
        what = f"{first.sample_id}: {first.detail}"
        if len(session.refused) > 1:
            what = f"{len(session.refused):,} pictures were refused, the first {what}"
        raise DataError(f"{what} (all in {given['out'] / REJECTS})")


@dataclass(eq=False)
class _Session:
    """One call of the command."""

    look: "Reconstructor"
    hands: HandPair
    known: Known
    wanted: Wanted
    given: Mapping[str, Any]
    files: list[Path] = field(default_factory=list)
    refused: list[Reject] = field(default_factory=list)
    reused: int = 0
    keys: list[tuple[str, ...]] = field(default_factory=list)
    assumed: dict[str, float] = field(default_factory=dict)
    first: dict[str, Any] | None = None

    def run(self, pictures: Pictures) -> None:
        """Do all pictures. Raises DataError where nothing can go on: the disk, another run's
        files."""
        out = self.wanted.out
        _make(out)
        remove_temporaries(out)
        quiet = self.given["quiet"]
        workers = self.given["workers"] or available_cores()
        with (
            RunProgress("reconstruct", pictures.count, 0, not quiet) as bar,
            _writers(workers if pictures.count > self.given["batch"] else 1, self.hands) as write,
            ThreadPoolExecutor(2, thread_name_prefix="pictures") as reader,
        ):
            for batch in _loaded(self._todo(pictures, bar), self.given["batch"], reader):
                for done in write.each(self._jobs(batch, bar)):
                    self._done(done, bar)
            for done in write.rest():
                self._done(done, bar)
        lines = (
            json_line({"picture": r.sample_id, "reason": r.reason, "detail": r.detail})
            for r in self.refused
        )
        if self.refused:
            write_whole(out / REJECTS, b"".join(lines))
        else:
            (out / REJECTS).unlink(missing_ok=True)
        unused = self.known.unused(self.keys)
        if unused:
            raise DataError(
                f"{self.given['known']} names {unused[0]!r}, and no picture is called so"
                + (f" (and {len(unused) - 1} more)" if len(unused) > 1 else "")
            )

    def _todo(self, pictures: Pictures, bar: RunProgress) -> Iterator[Picture]:
        for picture in pictures.each:
            self.keys.append(picture.keys)
            done = not self.given["overwrite"] and self.wanted.is_done(
                picture.name, self._known_of(picture)
            )
            self.files.append(self.wanted.files(picture.name)[-1])
            if done:
                self.reused += 1
                bar.unit_done(1, 0)
            else:
                yield picture

    def _known_of(self, picture: Picture) -> dict[str, Any]:
        """What was said of a picture, as its JSON keeps it."""
        return {"box": self.known.box(picture), "K": self.known.K(picture)}

    def _jobs(
        self, batch: list[tuple[Picture, "Future[Array]"]], bar: RunProgress
    ) -> Iterator[tuple[Found, Array | None, dict[str, Any], Wanted]]:
        """Show a batch to the network; what is refused is told of."""
        good: list[Picture] = []
        images: list[Array] = []
        for picture, loading in batch:
            try:
                images.append(loading.result())
                good.append(picture)
            except DataError as error:
                self._refuse(picture, error, bar)
        for picture, image, found in self._asked(good, images, bar):
            if found.K_assumed:
                size = f"{image.shape[1]} x {image.shape[0]}"
                self.assumed[size] = float(found.K[0, 0])
            shown = _rgb(image) if self.wanted.overlay else None
            yield _found(picture, image, found), shown, self._known_of(picture), self.wanted

    def _asked(
        self, pictures: list[Picture], images: list[Array], bar: RunProgress
    ) -> Iterator[tuple[Picture, Array, "HandsInImage"]]:
        boxes, Ks = map(self.known.box, pictures), map(self.known.K, pictures)
        asked = list(zip(pictures, images, list(boxes), list(Ks), strict=True))
        try:
            found = self.look.reconstruct_many(
                images, [a[2] for a in asked], [a[3] for a in asked], batch=self.given["batch"]
            )
            yield from zip(pictures, images, found, strict=True)
        except DataError:
            # One of them is at fault: each by itself.
            for picture, image, box, K in asked:
                try:
                    yield picture, image, self.look.reconstruct(image, box, K)
                except DataError as error:
                    self._refuse(picture, error, bar)

    def _refuse(self, picture: Picture, error: DataError, bar: RunProgress) -> None:
        said = str(error)
        self.refused.append(Reject(picture.name, str(picture.file), UNREADABLE, said))
        self.files.remove(self.wanted.files(picture.name)[-1])
        bar.unit_done(0, 1)

    def _done(self, done: dict[str, Any], bar: RunProgress) -> None:
        self.first = self.first or done
        bar.unit_done(1, 0)

    @property
    def source(self) -> str:
        """What a dataset calls the hands."""
        return f"reconstruct:{self.look.name}"

    def told(self, summary: RunSummary | None) -> str:
        """What was done, in words."""
        out = self.wanted.out
        n = len(self.files)
        lines = []
        if n == 1 and self.first is not None:
            lines.append(_one(self.first))
        for size, focal in self.assumed.items():
            lines.append(
                f"no K was given: {focal:.0f} px assumed as the focal length of {size} pictures; "
                "distances scale with it"
            )
        reused = f", {self.reused:,} of them from before" if self.reused else ""
        lines.append(f"{out}: the hands of {n:,} picture{'s' * (n != 1)}{reused}")
        if summary is not None:
            lines.append(f"{summary.folder}: a dataset of {summary.n_kept:,} samples")
        return "\n".join(lines)

    def to_json(self, summary: RunSummary | None) -> dict[str, Any]:
        """The same for programs."""
        return {
            "folder": str(self.wanted.out),
            "pictures": len(self.files),
            "reused": self.reused,
            "refused": [{"picture": r.sample_id, "detail": r.detail} for r in self.refused],
            "assumed_focal_px": self.assumed,
            "files": [str(file) for file in self.files],
            "dataset": None if summary is None else str(summary.folder),
        }


def _found(picture: Picture, image: Array, found: "HandsInImage") -> Found:
    told = {
        "name": picture.name,
        "picture": str(picture.file),
        "take": picture.take,
        "number": picture.frame,
        "timestamp": picture.timestamp if np.isfinite(picture.timestamp) else None,
    }
    values = {f.name: getattr(found, f.name) for f in fields(found)}
    return Found(
        name=picture.name, told=told, size=(image.shape[1], image.shape[0]),
        fit_error=np.full(2, np.nan), **values,
    )  # fmt: skip


def _rgb(image: Array) -> Array:
    from interaction_prior.reconstruction.reconstructor import as_rgb

    return as_rgb(image)


def _one(done: Mapping[str, Any]) -> str:
    right, left = done["wrists"]
    return (
        f"right wrist at ({right[0]:.3f}, {right[1]:.3f}, {right[2]:.3f}) m, left at "
        f"({left[0]:.3f}, {left[1]:.3f}, {left[2]:.3f}) m before the camera; peaks and joints "
        f"{done['off_px']:.1f} px apart (median)"
    )


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, out) from error


def _loaded(
    pictures: Iterator[Picture], size: int, reader: ThreadPoolExecutor
) -> Iterator[list[tuple[Picture, "Future[Array]"]]]:
    """Batches of pictures that are being decoded, a few batches ahead."""
    waiting: deque[tuple[Picture, Future[Array]]] = deque()
    for picture in pictures:
        waiting.append((picture, reader.submit(picture.load)))
        if len(waiting) >= (1 + _AHEAD) * size:
            yield [waiting.popleft() for _ in range(size)]
    while waiting:
        yield [waiting.popleft() for _ in range(min(size, len(waiting)))]


# Writing, in this process or in others

_hands: HandPair | None = None


def _start_writer(hands: HandPair) -> None:
    global _hands
    _hands = hands


def _start_process(hands: HandPair) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _start_writer(hands)


def _write(job: tuple[Found, Array | None, dict[str, Any], Wanted]) -> dict[str, Any]:
    """Write a picture's files; what is told of it."""
    found, image, known, wanted = job
    assert _hands is not None
    done = write_found(found, image, known, wanted, _hands)
    return {"name": done.name, "wrists": done.joints[:, 0].tolist(), "off_px": done.off_px}


class _Writers:
    """Writes pictures' files, a few at a time."""

    def __init__(self, pool: ProcessPoolExecutor | None, most: int) -> None:
        self._pool, self._most = pool, most
        self._pending: deque[Future[dict[str, Any]]] = deque()

    def each(self, jobs: Iterator[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
        """Take jobs on; what has been done meanwhile."""
        for job in jobs:
            if self._pool is None:
                yield _write(job)
                continue
            self._pending.append(self._pool.submit(_write, job))
            while len(self._pending) > self._most:
                yield self._pending.popleft().result()

    def rest(self) -> Iterator[dict[str, Any]]:
        """Wait for what is still being written."""
        while self._pending:
            yield self._pending.popleft().result()


@contextlib.contextmanager
def _writers(workers: int, hands: HandPair) -> Iterator[_Writers]:
    """Processes that draw and write, or this one."""
    if workers == 1:
        _start_writer(hands)
        yield _Writers(None, 0)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_process, (hands,))
    try:
        yield _Writers(pool, 2 * workers)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _dataset(session: _Session, given: Mapping[str, Any]) -> RunSummary:
    """The dataset of --as-dataset."""
    if not session.files:
        raise DataError("--as-dataset: no picture was reconstructed, a dataset would be empty")
    return write_dataset(
        session.files,
        [
            Reject(f"{session.source}/{r.sample_id}", session.source, r.reason, r.detail)
            for r in session.refused
        ],
        given["dataset"],
        session.hands,
        source=session.source,
        options={"network_sha256": session.look.sha256},
        history=session.look.history,
        progress=not given["quiet"],
    )

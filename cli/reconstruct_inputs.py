"""Which pictures `twohand reconstruct` is asked about: files, folders, the frames of videos.

Comes in: paths, and what is known of them (boxes, intrinsics). Goes out: `Picture`s, each with a
name of its own and a way to its pixels. A picture that cannot be read is a `DataError` when it is
loaded, so that the others go on.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from twohand500k.errors import DataError

Array = np.ndarray

# What is taken out of a folder; a file that is named is tried whatever it is called.
STILLS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".gif")
_FRAMES = "or give a folder of its frames (ffmpeg -i VIDEO frames/%06d.png makes one)"


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture. name: of its outputs, unique. file: where it is. take: the folder or video.

    frame: its number in a video, or in its folder; -1 for a file by itself. timestamp: seconds into
    a video, NaN otherwise. load: gives (H, W, 3 or 4) uint8, upright.
    """

    name: str
    file: Path
    take: str
    frame: int
    timestamp: float
    load: Callable[[], Array]

    @property
    def keys(self) -> tuple[str, ...]:
        """What a file of boxes may call it by, the nearest first."""
        return (self.name, str(self.file), self.file.name, self.file.stem)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures to come, and how many, as far as that is known beforehand."""

    each: Iterator[Picture]
    count: int


def find_pictures(inputs: Sequence[Path], every: int = 1) -> Pictures:
    """The pictures of files, folders and videos, in the order of `inputs` and of their names.

    every: of a video, each so many-th frame. Raises DataError for paths that are not there, folders
    without pictures, two pictures that would have one name.
    """
    # By the file itself: one that is named beside its folder is one picture, the first it was.
    files: dict[Path, tuple[Path, str, int]] = {}
    for path in inputs:
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in STILLS and f.is_file())
            if not inside:
                raise DataError(
                    f"{path} holds no picture ({', '.join(STILLS)}); videos, and files by other "
                    "names, have to be named"
                )
            for number, file in enumerate(inside):
                files.setdefault(file.resolve(), (file, path.resolve().name, number))
        elif not path.exists():
            raise DataError(f"{path} is not there: give pictures, folders of them, or videos")
        else:
            files.setdefault(path.resolve(), (path, path.resolve().parent.name, -1))
    named = list(zip(_names([file for file, _, _ in files.values()]), files.values(), strict=True))
    counts = [_frame_count(f) if _is_video(f) else every for f, _, _ in files.values()]

    def each() -> Iterator[Picture]:
        for name, (file, take, frame) in named:
            if _is_video(file):
                yield from _frames(file, name, every)
            else:
                yield Picture(name, file, take, frame, np.nan, partial(read_still, file))

    return Pictures(each(), sum(-(-count // every) for count in counts))


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEOS


def _names(files: list[Path]) -> list[str]:
    """A name for each file: its stem, with the suffix where stems are alike."""
    stems = Counter(_plain(file.stem).lower() for file in files)
    names = [
        _plain(file.stem if stems[_plain(file.stem).lower()] == 1 else file.name.replace(".", "_"))
        for file in files
    ]
    name, times = Counter(n.lower() for n in names).most_common(1)[0]
    if times > 1:
        twice = [str(f) for f, n in zip(files, names, strict=True) if n.lower() == name]
        raise DataError(
            f"{' and '.join(twice[:2])} would both be written as {name!r}: reconstruct them into "
            "two folders"
        )
    return names


def _plain(name: str) -> str:
    """What any file system holds."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name)


def read_still(file: Path) -> Array:
    """A picture file as (H, W, 3 or 4) uint8, turned as its EXIF orientation says."""
    try:
        with Image.open(file) as opened:
            return _pixels(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise DataError(f"{file} is no picture that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{file} is too large: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _pixels(image: Image.Image) -> Array:
    """Any mode as 8 bits a channel: RGBA where it has transparency, RGB otherwise."""
    if image.mode.startswith("I;16") or image.mode == "I":
        # 16 bits of grey; Pillow would clip them.
        grey = np.asarray(image).astype(np.int64)
        return np.clip(grey >> 8 if grey.max() > 255 else grey, 0, 255).astype(np.uint8)
    if image.mode == "F":
        raise DataError("a picture of floating-point numbers has no agreed white: save 8 bits")
    transparent = "A" in image.getbands() or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if transparent else "RGB"))


def _frame_count(video: Path) -> int:
    """How many frames a video says it has, 0 where it does not say."""
    if video.suffix.lower() == ".gif":
        try:
            with Image.open(video) as opened:
                return int(getattr(opened, "n_frames", 1))
        except OSError as error:
            raise DataError(f"{video} cannot be read: {error}") from error
    meta = _decoded(video, lambda iio: iio.immeta(video))
    seconds, fps = float(meta.get("duration") or 0.0), float(meta.get("fps") or 0.0)
    return round(seconds * fps) if np.isfinite(seconds * fps) else 0


def _frames(video: Path, name: str, every: int) -> Iterator[Picture]:
    """The frames of a video as they are decoded."""
    if video.suffix.lower() == ".gif":
        frames, fps = _gif(video), 0.0
    else:
        meta = _decoded(video, lambda iio: iio.immeta(video))
        fps = float(meta.get("fps") or 0.0)
        frames = _decoded(video, lambda iio: iter(iio.imiter(video)))
    number = 0
    while (frame := _decoded(video, lambda _: next(frames, None))) is not None:
        if number % every == 0:
            pixels = np.asarray(frame)
            yield Picture(
                f"{name}_{number:06d}", video, name, number,
                number / fps if fps > 0 else np.nan, partial(np.asarray, pixels),
            )  # fmt: skip
        number += 1


def _gif(video: Path) -> Iterator[Array]:
    with Image.open(video) as opened:
        for frame in ImageSequence.Iterator(opened):
            yield _pixels(frame)


def _decoded(video: Path, ask: Callable[[Any], Any]) -> Any:
    """What imageio says of a video; DataError where there is no decoder or it gives up."""
    try:
        import imageio.v3 as iio
    except ImportError as error:
        raise DataError(
            f"{video}: reading videos needs imageio: pip install imageio imageio-ffmpeg, {_FRAMES}"
        ) from error
    try:
        return ask(iio)
    except ImportError as error:
        raise DataError(
            f"{video}: no decoder of videos is installed: pip install imageio-ffmpeg, {_FRAMES}"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        said = " ".join(str(error).split())[:160]
        raise DataError(
            f"{video} cannot be decoded ({said}): is a decoder installed (pip install "
            f"imageio-ffmpeg)? {_FRAMES}"
        ) from error


@dataclass(frozen=True, eq=False)
class Known:
    """Boxes and intrinsics by name of picture; "" holds for all others."""

    boxes: Mapping[str, Any]
    Ks: Mapping[str, Any]

    def box(self, picture: Picture) -> Any | None:
        """x0, y0, x1, y1 px, or None."""
        return _of(self.boxes, picture)

    def K(self, picture: Picture) -> Any | None:
        """(3, 3) px, or None."""
        return _of(self.Ks, picture)

    @staticmethod
    def read(file: Path | None, box: str | None, K: str | None) -> "Known":
        """From a JSON file {"NAME": {"box": [x0, y0, x1, y1], "K": [[…], […], […]]}}, and from what
        holds for all pictures. Raises DataError for what is malformed."""
        boxes: dict[str, Any] = {}
        Ks: dict[str, Any] = {}
        if file is not None:
            table = _table(file)
            for name, entry in table.items():
                if not isinstance(entry, dict) or not set(entry) <= {"box", "K"}:
                    raise DataError(f"{file}: {name!r} is not {{'box': …, 'K': …}}, or one of them")
                if "box" in entry:
                    boxes[name] = entry["box"]
                if "K" in entry:
                    Ks[name] = entry["K"]
        if box is not None:
            boxes[""] = _numbers(box, (4,), "--box", "x0,y0,x1,y1")
        if K is not None:
            fx, fy, cx, cy = _numbers(K, (4,), "--K", "fx,fy,cx,cy")
            Ks[""] = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
        return Known(boxes, Ks)

    def unused(self, pictures: Sequence[tuple[str, ...]]) -> list[str]:
        """Names that no picture has, of the keys of each."""
        asked = {key for keys in pictures for key in keys}
        return sorted(name for name in {*self.boxes, *self.Ks} - asked if name)


def _of(table: Mapping[str, Any], picture: Picture) -> Any | None:
    for key in (*picture.keys, ""):
        if key in table:
            return table[key]
    return None


def _table(file: Path) -> dict[str, Any]:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from error
    if not isinstance(table, dict):
        raise DataError(f"{file} is not a table of pictures: {{'NAME': {{'box': …, 'K': …}}}}")
    return table


def _numbers(text: str, counts: tuple[int, ...], option: str, form: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts or not np.isfinite(numbers).all():
        raise DataError(f"{option} {text!r} is not {form}")
    return numbers

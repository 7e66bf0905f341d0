"""Pictures put side by side with captions, and written as small PNG files.

In: (height, width, 3) uint8 tiles. Out: one (height, width, 3) uint8 sheet, or a file. Text is set
with Pillow in the DejaVu Sans that matplotlib ships, so a sheet looks the same on every machine.
"""

import contextlib
import io
import os
import uuid
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from twohand500k.errors import DataError

_INK = (52, 56, 62)
_QUIET = (120, 126, 134)


@lru_cache(maxsize=16)
def _font(size: int, bold: bool = False) -> "ImageFont.FreeTypeFont":
    from matplotlib import get_data_path

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


def contact_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    title: str = "",
    row_labels: Sequence[str] = (),
    gap: int = 6,
    background: tuple[int, int, int] = (255, 255, 255),
) -> np.ndarray:
    """Lay tiles out in rows with a caption under each.

    images: (height, width, 3) uint8, all of one size. labels: one caption per image; a line break
    starts a second, quieter line. columns: tiles per row, by default as square a sheet as fits.
    title stands above everything, row_labels above each row. Returns (H, W, 3) uint8.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    height, width = images[0].shape[:2]
    if any(image.shape[:2] != (height, width) for image in images):
        raise ValueError("the images of a contact sheet must all have one size")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(images)} images but {len(labels)} labels")
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    text = max(11, min(18, width // 22))
    captions = [0] * rows  # height of each row's captions
    for k, label in enumerate(labels or ()):
        if label:
            height_needed = int((label.count("\n") + 1) * text * 1.45) + 6
            captions[k // columns] = max(captions[k // columns], height_needed)
    heading = int(text * 2.2) if title else 0
    row_heading = int(text * 1.9) if row_labels else 0
    sheet = Image.new(
        "RGB",
        (
            columns * (width + gap) + gap,
            heading + rows * (row_heading + height + gap) + sum(captions) + gap,
        ),
        background,
    )
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap + 4, gap + 2), title, fill=_INK, font=_font(int(text * 1.2), True))
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        x = gap + column * (width + gap)
        y = gap + heading + row * (row_heading + height + gap) + sum(captions[:row])
        if row_labels and column == 0 and row < len(row_labels):
            draw.text((x + 4, y + 2), row_labels[row], fill=_INK, font=_font(text, True))
        y += row_heading
        sheet.paste(Image.fromarray(image[..., :3]), (x, y))
        if labels:
            for at, line in enumerate(labels[k].split("\n")):
                draw.text(
                    (x + width / 2, y + height + 3 + at * text * 1.45),
                    line,
                    fill=_INK if at == 0 else _QUIET,
                    font=_font(text if at == 0 else text - 1),
                    anchor="ma",
                )
    return np.asarray(sheet)


def save_png(path: "str | Path", image: np.ndarray, *, colours: int | None = None) -> Path:
    """Write (H, W, 3 or 4) uint8 as PNG, whole or not at all. Returns the path.

    colours: reduce to a palette of so many colours (at most 256) for a smaller file.

    Raises DataError when the disk refuses; a picture of that name is then as before.
    """
    path = Path(path)
    picture = Image.fromarray(image)
    if colours is not None:
        picture = picture.convert("RGB").quantize(colours, dither=Image.Dither.FLOYDSTEINBERG)
    # Encoded in memory: whatever goes wrong from here on is the disk's doing.
    png = io.BytesIO()
    picture.save(png, format="PNG", optimize=True)
    # Named as the temporaries of a dataset are, which a rerun clears away.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(png.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        _discard(temporary)
        raise DataError(f"cannot write the picture {path}: {error.strerror}") from error
    except BaseException:
        _discard(temporary)
        raise
    return path


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()

"""What evaluations of priors and of image networks share: a folder, pictures in it, tables told."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twohand500k.shards.files import disk_error

if TYPE_CHECKING:
    from interaction_prior.evaluation.html import Table


def folder_for(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, out) from error
    return out


def save_image(image: np.ndarray, out: Path, name: str) -> None:
    """A picture as PNG and as a PDF of it."""
    from PIL import Image

    from twohand500k.pictures import save_png

    save_png(out / f"{name}.png", image, colours=256)
    temporary = out / f".{name}.pdf.tmp"
    Image.fromarray(image).save(temporary, format="PDF", resolution=150)
    temporary.replace(out / f"{name}.pdf")


def as_text(table: "Table") -> str:
    rows = [table.head, *table.rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(table.head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )

"""A picture on a disk that refuses: one line, and the old picture or none."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twohand500k.errors import DataError
from twohand500k.pictures import save_png
from twohand500k.shards.files import temporaries

PICTURE = np.zeros((20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("operation", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_refusal_is_one_line_and_leaves_the_old_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, code: int
) -> None:
    save_png(tmp_path / "a.png", PICTURE)
    before = (tmp_path / "a.png").read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, refuse)
        with pytest.raises(DataError, match=rf"a\.png.*{os.strerror(code)}") as raised:
            save_png(tmp_path / "a.png", PICTURE + 1)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before
    save_png(tmp_path / "a.png", PICTURE + 1)
    assert np.asarray(Image.open(tmp_path / "a.png")).max() == 1


def test_a_place_where_no_folder_can_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"file/a\.png"):
        save_png(tmp_path / "file" / "a.png", PICTURE)


def test_what_a_killed_writer_leaves_is_known_as_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture is written into a dataset's folder: a rerun must know what to clear away."""

    def kill(*_: object) -> None:
        left.extend(tmp_path.iterdir())
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    left: list[Path] = []
    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(DataError):
        save_png(tmp_path / "a.png", PICTURE)
    assert len(left) == 1
    left[0].touch()
    assert temporaries(tmp_path) == left

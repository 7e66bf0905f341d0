"""One page that needs no network: sections of text, tables and pictures.

A number that is not known shows as a dash.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

Rows = tuple[tuple[str, ...], ...]

UNKNOWN = "–"


@dataclass(frozen=True)
class Picture:
    """A PNG for the section of that name. wide: it may be scrolled."""

    section: str
    caption: str
    png: bytes
    wide: bool = False

    @property
    def base64(self) -> str:
        return base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    head: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    texts: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]


def html(
    title: str, about: str, keys: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> str:
    """The page as text. keys: a few figures that stand first, each with what it is."""
    environment = Environment(
        loader=PackageLoader("interaction_prior.evaluation", "."),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        title=title, about=about, keys=keys, sections=sections
    )


def number(value: float | None, digits: int = 2) -> str:
    """A value as people read it; a dash for what is not known."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share; a dash for what is not known."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %"

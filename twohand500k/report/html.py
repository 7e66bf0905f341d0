"""The page: one HTML file with its style, scripts, pictures and geometry inside.

In: a `PageContent`. Out: the text of `index.html`. Everything that comes from data is escaped by
the template (autoescape) or put into JSON without a `<`; nothing is fetched from elsewhere.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from twohand500k.report.charts import COLOURS, contact_map, histogram, most_frequent
from twohand500k.report.gallery import Exhibit
from twohand500k.report.scenes import Scene, pack

if TYPE_CHECKING:
    from twohand500k.report.run import Section

_MOST_POINTS: Final = 60_000
_RASTER: Final = 320
_LEVELS: Final = 65535
_SCRIPTS: Final = ("viewer.js", "map.js", "page.js")


@dataclass(frozen=True, eq=False)
class MapPoints:
    """Pairs on the map. xy (n, 2); dataset (n,) place among the datasets; place (n,) index into its
    features; source (n,) index into source_names[dataset]."""

    xy: np.ndarray
    dataset: np.ndarray
    place: np.ndarray
    source: np.ndarray
    source_names: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, eq=False)
class PageContent:
    """All the page shows. faces, faces_left (F, 3): closed skins; hero (height, width, 4) uint8."""

    title: str
    numbers: dict[str, Any]
    points: MapPoints | None
    scenes: Sequence[Scene]
    exhibits: Sequence[Exhibit]
    hero: np.ndarray
    faces: np.ndarray
    faces_left: np.ndarray
    sections: "Sequence[Section]"


def page(content: PageContent) -> str:
    """The whole page as text."""
    numbers = content.numbers
    names = [entry["name"] for entry in numbers["datasets"]]
    levels, shown_points, map_data = _map_data(content.points)
    lines, vertices = pack(
        content.scenes, [_point(scene, content.points, levels) for scene in content.scenes]
    )
    data = {
        "datasets": names,
        "scenes": lines,
        "map": map_data,
        "vertices": int(content.scenes[0].skins.shape[1]) if content.scenes else 0,
        "faces": [_base64(f.astype("<u2")) for f in (content.faces, content.faces_left)],
    }
    template = _environment().get_template("page.html")
    return template.render(
        title=content.title,
        numbers=numbers,
        datasets=numbers["datasets"],
        first=numbers["datasets"][0],
        names=names,
        colours=COLOURS,
        figures=_key_figures(numbers["datasets"][0]),
        hero=_webp(content.hero, 88),
        hero_size=(content.hero.shape[1], content.hero.shape[0]),
        shown_points=shown_points,
        exhibits=[
            (e, [(name, _webp(tile, 84)) for name, tile in e.tiles]) for e in content.exhibits
        ],
        qualities=_qualities(numbers["datasets"]),
        measures=_MEASURES,
        likeness=_LIKENESS,
        hands_alone=_HANDS_ALONE,
        contact_map=lambda *a: Markup(contact_map(*a)),
        most_frequent=most_frequent,
        histogram=lambda q: Markup(histogram(q, names)),
        sections=[
            (s, [(caption, _webp(picture, 84)) for caption, picture in s.pictures])
            for s in content.sections
        ],
        data=data,
        mesh=vertices,
        style=Markup(_read("style.css")),
        script=Markup("\n".join(_read(name) for name in _SCRIPTS)),
    )


# (key, how to get it, label, unit, how to read it)
_MEASURES: Final = (
    ("n_used", ("n_used",), "Pairs looked at", "",
     "Drawn at random from those left when near-repeats of the frame before are thinned."),
    ("pair_distance_mm", ("pair_distance_mm",), "Two pairs at random", "mm",
     "How far apart the 42 joints are on average. Larger: poses spread wider."),
    ("nearest", ("nearest_within_mm", "median"), "To the nearest other pair", "mm",
     "Median. Near 0: poses repeat. It falls as the number of pairs grows."),
    ("near_duplicates", ("near_duplicates",), "Near-duplicates", "%",
     "Pairs with another within 2 mm. Smaller is better."),
    ("directions", ("directions",), "Independent directions", "",
     "Directions in which poses vary, of 123. Small: all are variations of a few poses."),
)  # fmt: skip
_LIKENESS: Final = (
    ("frechet", "Fréchet distance", "mm",
     "How far the joints would have to move to make one set the other, were both Gaussian. "
     "0 is alike."),
    ("precision", "Precision", "",
     "Share of the set that lies where the reference has poses. Low: poses foreign to it."),
    ("recall", "Recall", "", "Share of the reference the set reaches. Low: poses are missing."),
    ("density", "Density", "", "About 1: as dense as the reference. More: heaped where it is dense."
     ),
    ("coverage", "Coverage", "", "Share of the reference's poses with one of the set close by."),
)  # fmt: skip
# Of each hand in its palm's frame: where the two hands lie does not drown how fingers bend.
_HANDS_ALONE: Final = (
    ("frechet", "Fréchet distance, hand by hand", "mm",
     "The same of single hands seen from their own palm. Large: fingers bend as they do not in the "
     "reference."),
    ("coverage", "Coverage, hand by hand", "",
     "Share of the reference's single hands with one of the set close by."),
)  # fmt: skip


def _key_figures(first: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(number, unit, what it is) at the top of the page, of the first dataset."""
    quality, diversity = first["quality"], first["diversity"]
    shown = [(f"{first['samples']:,}", "", "samples" if first["pairs"] else "single hands")]
    if first["pairs"]:
        volume, moved = quality["penetration_volume_cm3"], quality["displacement_mm"]
        before = quality["volume_before_cm3"]
        if volume["n"]:
            shown.append(
                (_number(volume["mean"]), "cm³", "inside both hands, on average"
                 + (f"; {_number(before['mean'])} before repair" if before["n"] else ""))
            )  # fmt: skip
        else:
            shown.append(("not judged", "", "whether hands overlap"))
        if moved["n"]:
            shown.append((_number(moved["median"]), "mm", "moved by the repair, median"))
    limits = quality["limit_violation_deg"]
    if limits["n"]:
        shown.append((_number(limits["p99"]), "°", "past a joint limit at most, in 99 % of hands"))
    contacts = first["contacts"]["realised"]
    if contacts:
        shown.append(
            (f"{contacts['region_pairs_seen']:,}", "", "of 900 ways for skin regions to touch")
        )
    if diversity is not None and diversity["near_duplicates"] is not None:
        shown.append((f"{100 * diversity['near_duplicates']:.2g}", "%", "near-duplicates"))
    return shown


def _qualities(datasets: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], list[Any]]]:
    """(the entry that says what it is, each dataset's entry) of every quality, known ones first."""
    every = [
        (next((e for e in entries if e["n"]), entries[0]), entries)
        for entries in ([d["quality"][key] for d in datasets] for key in datasets[0]["quality"])
    ]
    return sorted(every, key=lambda item: item[0]["n"] == 0)


def _map_data(points: MapPoints | None) -> tuple[np.ndarray, int, Any]:
    """Every pair's place on the page (n, 2) uint16, how many points are drawn, the data."""
    if points is None:
        return np.zeros((0, 2), "<u2"), 0, None
    low, high = points.xy.min(axis=0), points.xy.max(axis=0)
    span = float((high - low).max()) or 1.0
    levels = np.clip(
        np.round((points.xy - (low + high) / 2) / span * _LEVELS + _LEVELS / 2), 0, _LEVELS
    ).astype("<u2")
    names = sorted({name for names in points.source_names for name in names})
    place_of = [np.array([names.index(name) for name in known]) for known in points.source_names]
    source = np.empty(len(levels), dtype=np.int64)
    for k, known in enumerate(place_of):
        source[points.dataset == k] = known[points.source[points.dataset == k]]
    drawn = np.random.default_rng(0).permutation(len(levels))[:_MOST_POINTS]
    raster = None
    if len(levels) > _MOST_POINTS:
        cells = (levels.astype(np.int64) * _RASTER) // (_LEVELS + 1)
        counts = np.bincount(cells[:, 1] * _RASTER + cells[:, 0], minlength=_RASTER**2)
        shade = np.log1p(counts) / np.log1p(counts.max())
        raster = {"size": _RASTER, "shade": _base64(np.round(255 * shade).astype(np.uint8))}
    return levels, len(drawn), {
        "sources": names,
        "xy": _base64(levels[drawn]),
        "dataset": _base64(points.dataset[drawn].astype(np.uint8)),
        "source": _base64(np.minimum(source[drawn], 255).astype(np.uint8)),
        "raster": raster,
    }  # fmt: skip


def _point(scene: Scene, points: MapPoints | None, levels: np.ndarray) -> list[int] | None:
    if points is None or scene.place < 0:
        return None
    here = np.flatnonzero((points.dataset == scene.dataset) & (points.place == scene.place))
    return [int(x) for x in levels[here[0]]] if len(here) else None


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _webp(picture: np.ndarray, quality: int) -> str:
    """A picture as a data address."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: float | None) -> str:
    """Three digits, thousands with a comma; a dash where nothing is known."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return "< 0.001"
    return f"{value:.3g}"


def _bytes(n: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n = n / 1000  # type: ignore[assignment]
    return f"{n:.3g} GB"


def _revision(revision: str | None) -> str:
    """A commit, short, with what git_revision() says of changes."""
    if not revision:
        return "not known"
    commit, _, changes = revision.partition("+")
    return commit[:12] + (" with changes" if changes else "")


def _dig(entry: dict[str, Any], path: Sequence[str]) -> Any:
    """entry[path[0]][path[1]]...; None where something on the way is None or missing."""
    found: Any = entry
    for key in path:
        found = None if found is None else found.get(key)
    return found


def _read(name: str) -> str:
    from importlib.resources import files

    return (files("twohand500k.report.page") / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("twohand500k.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number, "bytes": _bytes, "dig": _dig, "revision": _revision,
    }  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment

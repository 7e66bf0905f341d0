"""A recipe: the TOML that says what makes a dataset. Text in, a checked `Recipe` out.

    title = "…"            samples = 20000      seed = 0

    [builds.NAME]          a dataset of hands or of interactions: what `twohand build` does
    source = "freihand"    input = "freihand"   … any declaration and option of build

    [parts.NAME]           a share of the finished dataset
    share = 0.6
    splice = ["NAME", …]   pairs spliced from builds, with the options of `twohand splice`, or
    take = "NAME"          the interactions of one build as they were recorded
    where = "…"            of these only such samples, in the words of `twohand select`

    [repair]               options of `twohand physics-fix`; [parts.NAME.repair] for one part alone
    [report]               what the page shows

Every key is checked: one that is unknown, of the wrong type, or pointing nowhere is named with its
place and with what would be right.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from twohand500k.errors import DataError
from twohand500k.ik import BuildOptions
from twohand500k.physics.run import PhysicsFixOptions
from twohand500k.select.where import parse_where
from twohand500k.sources import DECLARATIONS, SOURCES, Choice, Reading
from twohand500k.splice import SpliceOptions

# The take that `twohand demo` makes: a source of recipes only, read as a recording.
DEMO: Final = "demo"
_MOCAP: Final = "mocap"
# What the recipe itself decides of a stage's options.
_SPLICE_KEYS: Final = ("shares", "contacts", "thin_mm", "mirror", "shard_size")
_REPAIR_KEYS: Final = ("method", "effort", "smooth", "shard_size")


@dataclass(frozen=True)
class Build:
    """One dataset to build first. frames: about how many it has, for estimates without the data.
    is_demo: what it reads is the take that the toolkit makes itself."""

    name: str
    reading: Reading
    options: BuildOptions
    frames: int | None = None
    is_demo: bool = False


@dataclass(frozen=True)
class Part:
    """A share of the finished dataset: recorded interactions (`take`) or spliced pairs (`splice`).

    share: weight among the parts. splice: builds that are the pose bank; its options without the
    count, which follows from the share. learn_from: builds of interactions to take relative poses
    from. take: the build whose interactions they are. where: a condition on the repaired samples.
    """

    name: str
    share: float
    repair: PhysicsFixOptions
    take: str = ""
    splice: tuple[str, ...] = ()
    learn_from: tuple[str, ...] = ()
    spliced: SpliceOptions = field(default_factory=lambda: SpliceOptions(count=1))
    where: str = ""


@dataclass(frozen=True)
class ReportKeys:
    """What the page shows. parts: the parts beside the whole, on one map. gallery: how many
    repairs are drawn. map_samples: so many of each dataset on the map at most; None is all."""

    parts: bool = True
    gallery: int = 6
    map_samples: int | None = None


@dataclass(frozen=True)
class Recipe:
    """What makes a dataset. samples: how many it shall hold. spare: so many more are spliced than
    are needed, as a share, since the repair refuses some."""

    name: str
    title: str
    about: str
    samples: int
    seed: int
    spare: float
    shard_size: int
    builds: tuple[Build, ...]
    parts: tuple[Part, ...]
    report: ReportKeys

    def build(self, name: str) -> Build:
        return next(build for build in self.builds if build.name == name)

    def record(self) -> dict[str, Any]:
        """Every option that can change the samples, key by key; nothing that cannot."""
        return {
            "samples": self.samples,
            "seed": self.seed,
            "spare": self.spare,
            "shard_size": self.shard_size,
            "builds": {
                build.name: build.reading.record() | dataclasses.asdict(build.options)
                for build in self.builds
            },
            "parts": {part.name: _part_record(part) for part in self.parts},
        }


def list_recipes() -> list[str]:
    """Names of the recipes that are shipped."""
    folder = resources.files("twohand500k.manifests.recipes")
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_recipe(
    which: str,
    *,
    data: Path | None = None,
    places: Mapping[str, Path] | None = None,
    without: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe: a TOML file, or the name of a shipped one.

    data: the folder that relative inputs are under, by default the current one. places: where the
    inputs of a build lie, by its name, over what the recipe says. without: builds and parts to
    leave out; the other parts share what they would have given. changes: dotted key to value, over
    what the file says. Raises DataError naming file and key.
    """
    where, text = _text(which)
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where} is not TOML: {error}") from error
    for key, value in (changes or {}).items():
        _change(given, key, value, where)
    for name in without:
        _leave_out(given, name, where)
    return _Reader(where, Path(which).stem, data or Path(), dict(places or {})).recipe(given)


def _text(which: str) -> tuple[str, str]:
    path = Path(which)
    try:
        if path.suffix == ".toml" or path.is_file():
            return str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(
            f"cannot read the recipe {path}: {reason}; shipped are {', '.join(list_recipes())}"
        ) from error
    if which not in list_recipes():
        raise DataError(
            f"no recipe {which!r}: give a TOML file, or one that is shipped "
            f"({', '.join(list_recipes())})"
        )
    file = resources.files("twohand500k.manifests.recipes").joinpath(f"{which}.toml")
    return f"recipe {which}", file.read_text(encoding="utf-8")


def _change(given: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set one dotted key."""
    *tables, last = key.split(".")
    table = given
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise DataError(f"{where}: {key} cannot be set, {name} is no table")
    table[last] = value


def _leave_out(given: dict[str, Any], name: str, where: str) -> None:
    """Drop a part, or a build and what can no longer be made without it."""
    builds, parts = given.get("builds", {}), given.get("parts", {})
    if name not in builds and name not in parts:
        raise DataError(
            f"{where} has neither a build nor a part {name!r}; builds: {', '.join(builds)}; "
            f"parts: {', '.join(parts)}"
        )
    parts.pop(name, None)
    build = builds.pop(name, None)
    if build is None:
        return
    for part_name, part in list(parts.items()):
        for key in ("splice", "learn_from"):
            if name in part.get(key, ()):
                part[key] = [other for other in part[key] if other != name]
                if not part[key]:
                    parts.pop(part_name, None)
        if part.get("take") == name:
            parts.pop(part_name, None)
        if "shares" in part:
            gone = build.get("source")
            part["shares"] = [
                text for text in part["shares"] if text.partition("=")[0].split(":")[0] != gone
            ]


class _Reader:
    """Turns the tables of one file into records, naming the key of whatever is wrong."""

    def __init__(self, where: str, name: str, data: Path, places: dict[str, Path]) -> None:
        self.where, self.name, self.data, self.places = where, name, data, places

    def wrong(self, key: str, what: str) -> DataError:
        return DataError(f"{self.where}: {key} {what}")

    def recipe(self, given: dict[str, Any]) -> Recipe:
        known = ["title", "about", "samples", "seed", "spare", "shard_size"]
        self.only(given, "", [*known, "builds", "parts", "repair", "report"])
        samples = self.value(given, "samples", int, "")
        builds = tuple(self.build(n, t) for n, t in self.tables(given, "builds"))
        for name in self.places:
            if name not in [build.name for build in builds]:
                raise self.wrong(f"builds.{name}", "is given a place by --data, but is not there")
        default = self.record(PhysicsFixOptions, given.get("repair", {}), "repair", _REPAIR_KEYS)
        size = self.value(given, "shard_size", int, "", 4096)
        parts = tuple(self.part(n, t, default, size) for n, t in self.tables(given, "parts"))
        report = self.record(ReportKeys, given.get("report", {}), "report")
        recipe = Recipe(
            name=self.name,
            title=self.value(given, "title", str, "", self.name),
            about=self.value(given, "about", str, "", "").strip(),
            samples=samples,
            seed=self.value(given, "seed", int, "", 0),
            spare=self.value(given, "spare", float, "", 0.02),
            shard_size=size,
            builds=builds,
            parts=parts,
            report=report,
        )
        self.check(recipe)
        return recipe

    def check(self, recipe: Recipe) -> None:
        """What holds between the tables."""
        for key, value, least in (
            ("samples", recipe.samples, 1), ("seed", recipe.seed, 0), ("spare", recipe.spare, 0),
            ("shard_size", recipe.shard_size, 1),
        ):  # fmt: skip
            if value < least:
                raise self.wrong(key, f"is {value}, it must be at least {least}")
        if not recipe.parts:
            raise self.wrong("parts", "has no part: nothing makes the dataset")
        names = [build.name for build in recipe.builds]
        used: set[str] = set()
        for part in recipe.parts:
            key = f"parts.{part.name}"
            if bool(part.take) == bool(part.splice):
                raise self.wrong(key, "needs either take = NAME or splice = [NAMES]")
            try:
                if part.where:
                    parse_where(part.where)
            except DataError as error:
                raise self.wrong(f"{key}.where", f"cannot be read: {error}") from error
            if part.share <= 0:
                raise self.wrong(f"{key}.share", f"is {part.share}, it must be above 0")
            for name in (*part.splice, *part.learn_from, *((part.take,) if part.take else ())):
                if name not in names:
                    raise self.wrong(key, f"names {name!r}, builds are {', '.join(names)}")
                used.add(name)
        if idle := [name for name in names if name not in used]:
            raise self.wrong(f"builds.{idle[0]}", "is used by no part")

    def build(self, name: str, table: dict[str, Any]) -> Build:
        key = f"builds.{name}"
        declared = sorted({n for names in DECLARATIONS.values() for n in names})
        options = [f.name for f in dataclasses.fields(BuildOptions)]
        own = ["source", "input", "split", "subset", "frames"]
        self.only(table, key, [*own, *declared, *options])
        source = self.value(table, "source", str, key)
        if source not in (*SOURCES, DEMO):
            raise self.wrong(
                f"{key}.source", f"is {source!r}, none of {', '.join((*SOURCES, DEMO))}"
            )
        chosen = self.record(
            BuildOptions, {n: v for n, v in table.items() if n in options}, key, options
        )
        most = chosen.limit and chosen.limit * chosen.every
        reading = Reading(
            source=_MOCAP if source == DEMO else source,
            inputs=self.inputs(name, table, source),
            choice=Choice(
                tuple(self.value(table, "split", tuple[str, ...], key, ())),
                self.value(table, "subset", Literal["", "single", "interacting"], key, ""),
                most,
            ),
            declared={n: self.declared(n, table[n], key) for n in declared if n in table},
        )
        if misuse := reading.misuse():
            raise self.wrong(key, misuse.replace("--", ""))
        frames = self.value(table, "frames", int | None, key, None)
        return Build(name, reading, chosen, frames, is_demo=source == DEMO)

    def inputs(self, name: str, table: dict[str, Any], source: str) -> tuple[Path, ...]:
        if source == DEMO:
            # Made by the recipe itself, in the folder of the run.
            return (Path(DEMO),)
        if "input" not in table:
            return ()
        given = table["input"]
        texts = self.value(
            {"input": [given] if isinstance(given, str) else given},
            "input", tuple[str, ...], f"builds.{name}",
        )  # fmt: skip
        if name in self.places:
            return (self.places[name],)
        return tuple(self.data / text for text in texts)

    def declared(self, name: str, value: Any, key: str) -> Any:
        wanted = int if name == "count" else str
        found = self.value({name: value}, name, wanted, key)
        file = self.data / found if name in ("map", "convention") else None
        return str(file) if file is not None and file.is_file() else found

    def part(
        self, name: str, table: dict[str, Any], repair: PhysicsFixOptions, shard_size: int
    ) -> Part:
        key = f"parts.{name}"
        own = ["share", "take", "splice", "learn_from", "where", "repair"]
        self.only(table, key, [*own, *_SPLICE_KEYS])
        spliced = {n: v for n, v in table.items() if n in _SPLICE_KEYS}
        if "take" in table and (spliced or "learn_from" in table):
            raise self.wrong(
                f"{key}.{next(iter(spliced), 'learn_from')}", "goes with splice, not with take"
            )
        options = self.record(SpliceOptions, spliced, key, _SPLICE_KEYS, count=1)
        if "shard_size" not in spliced:
            options = dataclasses.replace(options, shard_size=shard_size)
        if "repair" in table:
            base = {n: getattr(repair, n) for n in _REPAIR_KEYS}
            repair = self.record(
                PhysicsFixOptions, base | self.table(table, "repair", key), f"{key}.repair",
                _REPAIR_KEYS,
            )  # fmt: skip
        return Part(
            name=name,
            share=self.value(table, "share", float, key, 1.0),
            repair=repair,
            take=self.value(table, "take", str, key, ""),
            splice=self.value(table, "splice", tuple[str, ...], key, ()),
            learn_from=self.value(table, "learn_from", tuple[str, ...], key, ()),
            spliced=options,
            where=self.value(table, "where", str, key, ""),
        )

    # Keys and values

    def tables(self, given: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
        found = self.table(given, key, "")
        for name in found:
            if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise self.wrong(f"{key}.{name}", "is named by something else than a-z, 0-9, -, _")
        return [(name, self.table(found, name, key)) for name in found]

    def table(self, given: Mapping[str, Any], name: str, key: str) -> dict[str, Any]:
        value = given.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(_join(key, name), "is no table")
        return value

    def only(self, table: Mapping[str, Any], key: str, known: Sequence[str]) -> None:
        """Refuse a key that does not exist, and say which was meant."""
        for name in table:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                meant = f"did you mean {near[0]!r}" if near else f"there are {', '.join(known)}"
                raise self.wrong(_join(key, name), f"is no key of a recipe: {meant}")

    def record(
        self,
        kind: type,
        table: Any,
        key: str,
        known: Sequence[str] | None = None,
        **fixed: Any,
    ) -> Any:
        """A record of options from a table of the same names."""
        if not isinstance(table, dict):
            raise self.wrong(key, "is no table")
        hints = get_type_hints(kind)
        self.only(table, key, list(known or hints))
        return kind(
            **{n: self.value(table, n, hints[n], key) for n in table},
            **fixed,
        )

    def value(self, table: Mapping[str, Any], name: str, kind: Any, key: str, *default: Any) -> Any:
        """One value of the wanted type; the default where it is left out."""
        if name not in table:
            if default:
                return default[0]
            raise self.wrong(_join(key, name), "is missing")
        value = _as_type(table[name], kind)
        if value is _NOT:
            raise self.wrong(
                _join(key, name), f"is {table[name]!r}, it must be {_type_in_words(kind)}"
            )
        return value


_NOT: Final = object()


def _as_type(value: Any, kind: Any) -> Any:
    """`value` as `kind` has it, or `_NOT`. A list becomes a tuple, a whole number a float."""
    if get_origin(kind) in (UnionType, Union):
        return next((v for k in get_args(kind) if (v := _as_type(value, k)) is not _NOT), _NOT)
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else _NOT
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        items = [_as_type(v, inner) for v in value] if isinstance(value, list | tuple) else [_NOT]
        return _NOT if _NOT in items else tuple(items)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path:
        return Path(value) if isinstance(value, str) else _NOT
    if isinstance(value, bool) != (kind is bool):
        return _NOT
    return value if isinstance(value, kind) else _NOT


def _type_in_words(kind: Any) -> str:
    if get_origin(kind) in (UnionType, Union):
        return " or ".join(_type_in_words(k) for k in get_args(kind) if k is not NoneType)
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return f"a list, each {_type_in_words(get_args(kind)[0])}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return words.get(kind, str(kind))


def _part_record(part: Part) -> dict[str, Any]:
    repair = {name: getattr(part.repair, name) for name in _REPAIR_KEYS}
    told: dict[str, Any] = {"share": part.share, "where": part.where, "repair": repair}
    if part.take:
        return told | {"take": part.take}
    spliced = {name: getattr(part.spliced, name) for name in _SPLICE_KEYS}
    return told | {"splice": part.splice, "learn_from": part.learn_from} | spliced


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name

"""`--where`: which samples, in a small language over the fields of a dataset.

In: text such as ``penetration_volume_cm3 < 0.1 and source in ("splice", "mocap")``. Out: a `Where`,
whose `mask` says of every row of a dataset whether it is chosen. The text has Python's form and is
parsed by Python, but nothing of it is run: what stands below is the whole language.

    numbers   < <= > >= == !=, chained (0 < displacement_mm < 3), against a number or another field
    texts     == !=, in ("a", "b"), not in (…), "part" in FIELD, FIELD.startswith("…"), .endswith
    all       and, or, not, parentheses, known(FIELD)

A comparison with a number that is not known is neither true nor false, as in SQL: such a sample is
chosen neither by a condition nor by its negation; `known(FIELD)` tells. A field of two values
(`contact`, the regions of both hands) compares as true where either does.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, Literal, NoReturn

import numpy as np

from twohand500k.errors import DataError
from twohand500k.shards import Dataset
from twohand500k.shards.schema import FIELD_BY_ATTRIBUTE

Array = np.ndarray
Kind = Literal["number", "text"]


@dataclass(frozen=True)
class Name:
    """A word of the language: `attributes` of Samples, scaled to the unit in its name.

    hand: which side of a per-hand field; "worse" takes the larger of the hands that are there,
    "either" compares both.
    """

    kind: Kind
    attribute: str
    meaning: str
    scale: float = 1.0
    hand: Literal["", "right", "left", "worse", "either"] = ""


NAMES: Final[Mapping[str, Name]] = {
    "penetration_volume_cm3": Name("number", "penetration_volume", "inside both hands", 1e6),
    "penetration_depth_mm": Name("number", "penetration_depth", "deepest overlap", 1e3),
    "contact_distance_mm": Name("number", "contact_distance", "0 where the skins touch", 1e3),
    "self_penetration_volume_cm3": Name(
        "number", "self_penetration_volume", "a hand inside itself, the worse hand", 1e6, "worse"
    ),
    "fit_error_mm": Name("number", "fit_error", "fit to its points, the worse hand", 1e3, "worse"),
    "limit_violation_deg": Name(
        "number", "limit_violation", "over joint limits, the worse hand", 180 / np.pi, "worse"
    ),
    "volume_before_cm3": Name("number", "volume_before", "before the repair", 1e6),
    "depth_before_mm": Name("number", "depth_before", "before the repair", 1e3),
    "displacement_mm": Name("number", "displacement", "how far the repair moved joints", 1e3),
    "hands": Name("number", "present", "1 or 2"),
    "frame": Name("number", "frame", "frame number in its take"),
    "timestamp_s": Name("number", "timestamp", "time in its take"),
    "source": Name("text", "source", ""),
    "subject": Name("text", "subject", "empty where the source does not say"),
    "take": Name("text", "take", ""),
    "split": Name("text", "split", "train, val, test or empty"),
    "sample_id": Name("text", "sample_id", ""),
    "verdict": Name("text", "repair_verdict", "of the repair"),
    "placement": Name("text", "placement", "of a spliced pair"),
    "contact": Name("text", "contact_realised", "region nearest, of either hand", hand="either"),
    "contact_right": Name("text", "contact_realised", "of the right hand", hand="right"),
    "contact_left": Name("text", "contact_realised", "of the left hand", hand="left"),
    "intended": Name("text", "contact_intended", "region drawn, of either hand", hand="either"),
    "intended_right": Name("text", "contact_intended", "of the right hand", hand="right"),
    "intended_left": Name("text", "contact_intended", "of the left hand", hand="left"),
}

_COMPARE: Final[Mapping[type, Callable[[Any, Any], Any]]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_METHODS: Final[Mapping[str, Callable[[Array, str], Array]]] = {
    "startswith": np.char.startswith,
    "endswith": np.char.endswith,
}


@dataclass(frozen=True)
class _Truth:
    """Of every row: true (N,) bool; known (N,) bool. What is not known is not true either."""

    true: Array
    known: Array

    @staticmethod
    def of(true: Array) -> "_Truth":
        return _Truth(true, np.ones(len(true), dtype=np.bool_))

    def __invert__(self) -> "_Truth":
        return _Truth(self.known & ~self.true, self.known)

    def __and__(self, other: "_Truth") -> "_Truth":
        false = (self.known & ~self.true) | (other.known & ~other.true)
        return _Truth(self.true & other.true, (self.known & other.known) | false)

    def __or__(self, other: "_Truth") -> "_Truth":
        return ~(~self & ~other)


Column = Callable[[str], Array]
_Test = Callable[[Column], _Truth]


@dataclass(frozen=True)
class Where:
    """A condition that was read; `names` are the words of `NAMES` it looks at."""

    text: str
    names: tuple[str, ...]
    _test: _Test

    def mask(self, dataset: Dataset) -> Array:
        """Which rows (N,) of the dataset meet it. Reads the fields it names, no others."""
        read: dict[str, Array] = {}

        def column(name: str) -> Array:
            if name not in read:
                read[name] = column_of(dataset, name)
            return read[name]

        return self._test(column).true if len(dataset) else np.zeros(0, dtype=np.bool_)


def parse_where(text: str) -> Where:
    """Read a condition. Raises DataError that shows the place and says what can stand there."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"--where {text!r} cannot be read: {_first(error)}; {_EXAMPLE}") from None
    try:
        test = _Reader(text).truth(tree)
    except RecursionError:
        raise DataError(f"--where {text[:60]!r}… is nested too deeply") from None
    names = dict.fromkeys(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in NAMES)
    return Where(text, tuple(names), test)


def column_of(dataset: Dataset, name: str) -> Array:
    """One word's values: numbers (N,) float64, NaN unknown; texts (N,) or (N, 2) where it has two.

    A dataset without the field's group has it unknown throughout.
    """
    word = NAMES[name]
    spec = FIELD_BY_ATTRIBUTE[word.attribute]
    if spec.group != "core" and spec.group not in dataset.groups:
        empty: Array = np.full(len(dataset), np.nan if word.kind == "number" else "")
        return empty
    values = dataset.array(word.attribute)
    if name == "hands":
        count: Array = values.sum(axis=1).astype(np.float64)
        return count
    if word.kind == "text":
        return values[:, ("right", "left").index(word.hand)] if word.hand in _SIDES else values
    values = values.astype(np.float64)
    if name == "frame":
        values[values < 0] = np.nan
    if word.hand == "worse":
        present = dataset.array("present")
        values = np.where(present, values, -np.inf).max(axis=1)
    return values * word.scale


_SIDES: Final = ("right", "left")
_EXAMPLE: Final = 'write it like: penetration_volume_cm3 < 0.1 and source in ("splice", "mocap")'


@dataclass(frozen=True)
class _Reader:
    """Turns the parsed text into tests of columns; whatever it does not know it refuses."""

    text: str

    def fail(self, node: ast.AST, why: str) -> NoReturn:
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        raise DataError(f"--where {self.text!r}: {part!r} {why}")

    def truth(self, node: ast.expr) -> _Test:
        match node:
            case ast.BoolOp(op=op, values=values):
                join = operator.and_ if isinstance(op, ast.And) else operator.or_
                tests = [self.truth(value) for value in values]
                return lambda column: reduce(join, (test(column) for test in tests))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                test = self.truth(inner)
                return lambda column: ~test(column)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                links = [self.link(node, sides[k], op, sides[k + 1]) for k, op in enumerate(ops)]
                return lambda column: reduce(operator.and_, (link(column) for link in links))
            case ast.Call(func=ast.Name(id="known"), args=[ast.Name() as name], keywords=[]):
                word = self.name(name)
                return lambda column: _Truth.of(_is_known(column(word)))
            case ast.Call(
                func=ast.Attribute(value=ast.Name() as name, attr=method),
                args=[ast.Constant(value=str() as part)],
                keywords=[],
            ) if method in _METHODS:
                word = self.name(name, "text")
                has = _METHODS[method]
                return lambda column: _Truth.of(_either(has(column(word), part)))
        self.fail(node, f"is no condition; {_EXAMPLE}")

    def link(self, whole: ast.expr, a: ast.expr, op: ast.cmpop, b: ast.expr) -> _Test:
        """One comparison of a chain."""
        if isinstance(op, ast.In | ast.NotIn):
            return self.membership(whole, a, isinstance(op, ast.NotIn), b)
        if type(op) not in _COMPARE:
            self.fail(whole, "compares in a way that is not known here: use == or known(FIELD)")
        compare = _COMPARE[type(op)]
        (kind_a, left), (kind_b, right) = self.value(a), self.value(b)
        if isinstance(a, ast.Constant) and isinstance(b, ast.Constant):
            self.fail(whole, f"names no field; fields: {', '.join(NAMES)}")
        if kind_a != kind_b:
            self.fail(whole, f"compares a {kind_a} with a {kind_b}")
        if kind_a == "text":
            if not isinstance(op, ast.Eq | ast.NotEq):
                self.fail(whole, "orders texts: they compare with == != in startswith only")
            if isinstance(op, ast.NotEq):
                return lambda column: _Truth.of(~_same_text(left(column), right(column)))
            return lambda column: _Truth.of(_same_text(left(column), right(column)))

        def test(column: Column) -> _Truth:
            x, y = left(column), right(column)
            known = np.broadcast_to(~(np.isnan(x) | np.isnan(y)), np.broadcast(x, y).shape)
            return _Truth(compare(x, y) & known, known)

        return test

    def membership(self, whole: ast.expr, a: ast.expr, negated: bool, b: ast.expr) -> _Test:
        """FIELD in ("a", "b"), or "part" in FIELD."""
        test: _Test
        if isinstance(a, ast.Name) and isinstance(b, ast.Tuple | ast.List | ast.Set):
            word = self.name(a)
            kind = NAMES[word].kind
            values = [self.constant(item, kind) for item in b.elts]
            if not values:
                self.fail(whole, "asks for one of nothing")

            def test(column: Column) -> _Truth:
                x = column(word)
                known = np.ones(len(x), dtype=np.bool_) if kind == "text" else _is_known(x)
                return _Truth(_either(np.isin(x, values)), known)

        elif isinstance(a, ast.Constant) and isinstance(a.value, str) and isinstance(b, ast.Name):
            word, part = self.name(b, "text"), a.value

            def test(column: Column) -> _Truth:
                return _Truth.of(_either(np.char.find(column(word), part) >= 0))

        elif isinstance(b, ast.Constant) and isinstance(b.value, str):
            self.fail(b, f"is one text: write ({b.value!r},) for one of a list, or ==")
        else:
            self.fail(whole, 'is neither FIELD in ("a", "b") nor "part" in FIELD')
        return (lambda column: ~test(column)) if negated else test

    def value(self, node: ast.expr) -> tuple[Kind, Callable[[Column], Any]]:
        """A field or a constant: its kind, and what gives its values."""
        if isinstance(node, ast.Name):
            word = self.name(node)
            return NAMES[word].kind, lambda column: column(word)
        constant = self.constant(node)
        kind: Kind = "text" if isinstance(constant, str) else "number"
        return kind, lambda column: constant

    def constant(self, node: ast.expr, kind: Kind | None = None) -> float | str:
        """A number or a text; of `kind`, if given."""
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if isinstance(inner, ast.Constant):
            value = inner.value
            if isinstance(value, str) and not negative and kind in (None, "text"):
                return value
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and kind in (None, "number"):
                assert isinstance(value, int | float)
                return -float(value) if negative else float(value)
        wanted = {"text": "a text in quotes", "number": "a number"}.get(
            kind or "", "a field, a number or a text in quotes"
        )
        self.fail(node, f"is not {wanted}")

    def name(self, node: ast.Name, kind: Kind | None = None) -> str:
        if node.id not in NAMES:
            self.fail(node, f"is no field; fields: {', '.join(NAMES)}; texts stand in quotes")
        if kind and NAMES[node.id].kind != kind:
            self.fail(node, f"is a {NAMES[node.id].kind}, not a {kind}")
        return node.id


def names_help() -> Iterator[str]:
    """One line a word: name, kind, meaning."""
    for name, word in NAMES.items():
        meaning = f", {word.meaning}" if word.meaning else ""
        yield f"{name:28}{word.kind}{meaning}"


def _either(values: Array) -> Array:
    """(N,) from (N,) or, for a field of two values, (N, 2): true of either."""
    if values.ndim == 1:
        return values
    either: Array = np.any(values, axis=1)
    return either


def _same_text(a: Array | str, b: Array | str) -> Array:
    """(N,): whether two texts, or either of two, are the same."""
    one, other = (x[:, None] if isinstance(x, np.ndarray) and x.ndim == 1 else x for x in (a, b))
    equal: Array = np.asarray(one == other)
    return _either(equal)


def _is_known(values: Array) -> Array:
    known: Array = ~np.isnan(values) if values.dtype.kind == "f" else _either(values != "")
    return known


def _first(error: BaseException) -> str:
    return str(error.args[0]) if error.args else type(error).__name__

"""`docs/format.md`, generated: ``python -m twohand500k.shards.format_doc > docs/format.md``.

A test holds the file in step with the schema.
"""

from twohand500k.shards.schema import (
    DECLARED_CONVENTIONS,
    FIELDS,
    FIXED_CONVENTIONS,
    FORMAT,
    OPTIONAL_GROUPS,
    Field,
)

_TYPES = {
    "f4": "float32",
    "f8": "float64",
    "i4": "int32",
    "i8": "int64",
    "u1": "uint8",
    "bool": "bool",
    "text": "UTF-8, fixed width",
    "name": "u1 + `names`",
}

_FOLDER = """\
```
DIR/index.json        written last: a folder that has it is a finished dataset
DIR/shard-00000.h5 …  one HDF5 file per work unit that kept anything; numbers may have gaps
DIR/rejects.jsonl     one line per sample refused: {sample_id, source, reason, detail}
DIR/run.json          options, seed, inputs, versions, git revision, counts, statistics, timings
DIR/.work/            plan, one marker per work unit, lock: for resuming, not for reading
```

`index.json`: `format`, `samples`, `shards` (file, samples, arrays_sha256), `counts` per source
(kept, rejected), `conventions` (the root attributes below), `history` (one record per stage, oldest
first: stage, version, seed, options, inputs by sha256).

Index, shards and rejects are the same bytes for any number of workers and restarts; what depends on
time and machine is in `run.json` and `.work/` only.

`arrays_sha256` does not depend on HDF5 layout or compression: sha256 over one JSON line of the root
attributes, then for every dataset in alphabetical order one JSON line [path, numpy type, shape,
attributes] and its little-endian C-order bytes. JSON lines have sorted keys and end in a newline.
"""

_READING = """\
```python
from twohand500k.shards import Dataset

dataset = Dataset("DIR")  # reads index.json only
first = dataset.samples(range(100))  # Samples: first.pose (100, 2, 16, 3), first.joints, …
for samples in dataset.shards():  # shard by shard, each checked against its hash
    ...
joints = dataset.array("joints")  # one dataset of all shards, (N, 2, 21, 3)
```

Without this package, any HDF5 library does: datasets are plain arrays, compressed with gzip and
byte shuffle in chunks of 512 rows. A dataset of type u1 with the attribute `names` holds positions
in `names`; 255 is not known.
"""


def render() -> str:
    """The text of docs/format.md."""
    parts = [
        f"# The dataset on disk, format {FORMAT}\n",
        "Generated from the schema by `python -m twohand500k.shards.format_doc`; do not edit.\n",
        _FOLDER,
        "## Datasets of a shard\n",
        "N samples; S = 2 sides, index 0 right, 1 left. NaN means not known or not there, never "
        "zero.\n",
        _table([field for field in FIELDS if field.group == "core"]),
    ]
    titles = {
        "splice": "Only in shards of a splice",
        "repair": "Only in shards that went through the repair",
        "image": "Only in shards of pictures (`twohand render`), whose frame is the camera's",
    }
    for group in OPTIONAL_GROUPS:
        parts += [f"## {titles[group]}\n", _table([f for f in FIELDS if f.group == group])]
    parts += [
        "## Root attributes of a shard\n",
        "Every shard declares these; the reader refuses any other value and names it.\n",
        _rows(
            ["attribute", "value"], [[f"`{k}`", _value(v)] for k, v in FIXED_CONVENTIONS.items()]
        ),
        "Each dataset declares, the same in all its shards:\n",
        _rows(["attribute", "meaning"], [[f"`{k}`", v] for k, v in DECLARED_CONVENTIONS.items()]),
        "## Reading\n",
        _READING,
    ]
    return "\n".join(parts)


def _table(fields: list[Field]) -> str:
    head = ["dataset", "`Samples.`", "type", "shape", "unit", "meaning", "not known"]
    rows = []
    for field in fields:
        shape = f"({', '.join(map(str, field.shape))}{',' if len(field.shape) == 1 else ''})"
        names = f" ({', '.join(field.vocabulary)})" if field.vocabulary else ""
        rows.append(
            [
                f"`{field.path}`",
                f"`{field.attribute}`",
                _TYPES[field.kind],
                shape,
                field.unit or "–",
                field.meaning + names,
                field.unknown,
            ]
        )
    return _rows(head, rows)


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _value(value: int | str | tuple) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    print(render(), end="")

"""Parquet: the dataset's twin as one table, every field, nothing rounded.

`parquet/samples.parquet`, one row group a shard. Columns are the schema's paths with "/" written as
"_"; arrays are fixed-size lists of the same shape; unit, meaning and what an unknown value looks
like stand in each column's metadata, conventions and history in the table's. NaN stays NaN.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twohand500k.errors import DataError
from twohand500k.export.content import Array, Arrays, Digest, Source, whole_file
from twohand500k.shards import FIELDS
from twohand500k.shards.schema import Field

if TYPE_CHECKING:
    import pyarrow

NAME = "parquet"
FILE = "samples.parquet"
_TYPES = {
    "f4": "float32", "f8": "float64", "i4": "int32", "i8": "int64", "u1": "uint8", "bool": "bool_",
}  # fmt: skip


def column(spec: Field) -> str:
    """The column's name."""
    return spec.path.replace("/", "_")


def fields_of(groups: tuple[str, ...]) -> list[Field]:
    """The fields that a dataset with these optional groups has."""
    return [spec for spec in FIELDS if spec.group == "core" or spec.group in groups]


def order(source: Source) -> Iterator[Array]:
    """Rows, a row group at a time."""
    return source.by_shard()


def arrays(source: Source, rows: Array) -> Arrays:
    """Every field of the rows, as stored."""
    samples = source.samples(rows)
    return {
        column(spec): getattr(samples, spec.attribute) for spec in fields_of(source.dataset.groups)
    }


def write(source: Source, folder: Path, digest: Digest) -> None:
    """One file, a row group a shard."""
    pa, pq = _pyarrow()
    specs = fields_of(source.dataset.groups)
    schema = pa.schema(
        [pa.field(column(s), _type(pa, s), nullable=False, metadata=_metadata(s)) for s in specs],
        metadata={
            "twohand500k": json.dumps(
                {
                    "conventions": source.dataset.conventions,
                    "history": [dict(record) for record in source.dataset.index.history],
                }
            )
        },
    )
    with whole_file(folder / FILE) as file, pq.ParquetWriter(file, schema) as writer:
        for rows in order(source):
            chunk = arrays(source, rows)
            digest.add(chunk)
            columns = [_column(pa, s, chunk[column(s)]) for s in specs]
            writer.write_table(
                pa.Table.from_arrays(columns, schema=schema), row_group_size=len(rows)
            )


def read(folder: Path) -> Iterator[Arrays]:
    """The arrays of each row group. Raises DataError for a file that cannot be read."""
    pa, pq = _pyarrow()
    path = folder / FILE
    try:
        with pq.ParquetFile(path) as file:
            specs = [s for s in FIELDS if column(s) in file.schema_arrow.names]
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                yield {column(s): _array(s, table.column(column(s))) for s in specs}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error


def _type(pa: Any, spec: Field) -> "pyarrow.DataType":
    kind = pa.string() if spec.kind in ("text", "name") else getattr(pa, _TYPES[spec.kind])()
    for size in reversed(spec.tail):
        kind = pa.list_(kind, size)
    return kind


def _metadata(spec: Field) -> dict[str, str]:
    shape = "x".join(map(str, spec.tail)) or "scalar"
    return {"unit": spec.unit, "meaning": spec.meaning, "unknown": spec.unknown, "shape": shape}


def _column(pa: Any, spec: Field, array: Array) -> Any:
    flat = np.ascontiguousarray(array).reshape(-1)
    values = pa.array(flat.tolist() if flat.dtype.kind == "U" else flat)
    for size in reversed(spec.tail):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values


def _array(spec: Field, values: Any) -> Array:
    values = values.combine_chunks()
    n = len(values)
    for _ in spec.tail:
        values = values.flatten()
    if spec.kind in ("text", "name"):
        flat = np.array(values.to_pylist(), dtype=np.str_)
    else:
        flat = values.to_numpy(zero_copy_only=False)
    return flat.reshape(n, *spec.tail)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f'Parquet needs pyarrow ({error}): pip install "twohand500k[export]"'
        ) from error
    return pa, pq

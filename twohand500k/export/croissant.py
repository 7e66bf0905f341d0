"""Croissant 1.0 metadata (JSON-LD): what the files of an export are, for tools that load data.

Every file with its sha256; where there is a Parquet table, a record set with a field for each of
its columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twohand500k import __version__
from twohand500k.export import parquet
from twohand500k.export.licences import Licence
from twohand500k.shards.schema import Field

FILE = "croissant.json"
_TYPES = {"f4": "sc:Float", "f8": "sc:Float", "i4": "sc:Integer", "i8": "sc:Integer",
          "u1": "sc:Integer", "bool": "sc:Boolean", "text": "sc:Text",
          "name": "sc:Text"}  # fmt: skip
_MIME = {".parquet": "application/x-parquet", ".npz": "application/zip",
         ".json": "application/json", ".txt": "text/plain", ".obj": "model/obj",
         ".glb": "model/gltf-binary", ".ply": "application/octet-stream",
         ".png": "image/png"}  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
# So many are listed: a line for each of half a million meshes helps nobody.
_MOST_FILES = 1000


@dataclass(frozen=True)
class WrittenFile:
    """A file of the export. path: relative to it, with "/"."""

    path: str
    bytes: int
    sha256: str


def croissant(
    name: str,
    description: str,
    files: Sequence[WrittenFile],
    licences: Sequence[Licence],
    groups: tuple[str, ...],
) -> dict[str, Any]:
    """The metadata as JSON-LD."""
    objects = [_file_object(file) for file in files[:_MOST_FILES]]
    table = next((f.path for f in files if f.path == f"{parquet.NAME}/{parquet.FILE}"), None)
    cited = [licence.citation for licence in licences if licence.citation]
    if len(files) > _MOST_FILES:
        description += (
            f" Of its {len(files):,} files the first {_MOST_FILES:,} are listed here, all of them "
            "in export.json."
        )
    told: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": description,
        "license": [f"{item.source}: {item.terms}" for item in licences],
        "version": "1.0.0",
        "creator": {"@type": "sc:Organization", "name": f"made with twohand500k {__version__}"},
        "isLiveDataset": False,
        "distribution": objects,
    }
    if cited:
        told["citeAs"] = " ".join(cited)
    if table is not None:
        told["recordSet"] = [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "description": "One interaction (or single hand) a row; side 0 right, 1 left.",
                "key": {"@id": "samples/sample_id"},
                "field": [_field(spec, table) for spec in parquet.fields_of(groups)],
            }
        ]
    return told


def _file_object(file: WrittenFile) -> Mapping[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _MIME["." + file.path.rpartition(".")[2]],
        "sha256": file.sha256,
    }


def _field(spec: Field, table: str) -> Mapping[str, Any]:
    column = parquet.column(spec)
    unit = f" [{spec.unit}]" if spec.unit not in ("", "1") else ""
    shape = f"; shape {'x'.join(map(str, spec.tail))}" if spec.tail else ""
    told: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"samples/{column}",
        "name": column,
        "description": f"{spec.meaning}{unit}{shape}; not known: {spec.unknown}",
        "dataType": _TYPES[spec.kind],
        "source": {"fileObject": {"@id": table}, "extract": {"column": column}},
    }
    if spec.tail:
        # Croissant 1.0 has lists; the shape of the nesting stands in the description.
        told["repeated"] = True
    return told

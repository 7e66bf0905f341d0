"""What a shard holds: one table of datasets and one table of conventions, format 1.

Writer, reader, `verify` and `docs/format.md` are all derived from `FIELDS` and `conventions_for`;
a dataset that is not in the table is not in a shard. Letters of the shapes: N samples, S = 2 sides
(0 right, 1 left). NaN means not known or not there, never zero; text that is not known is the empty
string, an integer that is not known is -1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from twohand500k import __version__
from twohand500k.conventions import (
    DEFAULT_TIP_SET,
    FRAMES,
    JOINT_NAMES,
    MANO_JOINT_NAMES,
    N_BETAS,
    N_JOINTS,
    N_MANO_JOINTS,
    SIDES,
    TIP_SETS,
)
from twohand500k.errors import DataError
from twohand500k.hand.model import HandPair

FORMAT: Final = 1

Kind = Literal["f4", "f8", "i4", "i8", "u1", "bool", "text", "name"]
Group = Literal["core", "splice", "repair", "image"]

SPLITS: Final = ("train", "val", "test")

# Pixels along a side of a picture, and of the map that masks are given on.
IMAGE_SIZE: Final = 256
MASK_SIZE: Final = 64


@dataclass(frozen=True)
class Field:
    """One dataset of a shard.

    path: its name in the HDF5 file; attribute: its name in `Samples`. kind "text" is fixed-width
    UTF-8; kind "name" is text with few distinct values, on disk u1 codes into the dataset attribute
    ``names`` (255 = not known). `vocabulary` fixes those names; otherwise they are the sorted
    values that occur. `per_hand`: NaN exactly where the hand is absent, finite elsewhere.
    """

    path: str
    attribute: str
    kind: Kind
    shape: tuple[str | int, ...]
    unit: str
    meaning: str
    unknown: str = "never"
    group: Group = "core"
    per_hand: bool = False
    required: bool = False
    vocabulary: tuple[str, ...] = ()

    @property
    def tail(self) -> tuple[int, ...]:
        """Shape of one sample's entry."""
        return tuple(len(SIDES) if size == "S" else int(size) for size in self.shape[1:])

    @property
    def is_float(self) -> bool:
        return self.kind in ("f4", "f8")


_ABSENT = "NaN where the hand is absent"
_UNJUDGED = "NaN until judged"

FIELDS: Final[tuple[Field, ...]] = (
    Field("sample_id", "sample_id", "text", ("N",), "",
          "ASCII, unique in the dataset, the same in every run", required=True),
    Field("mano/pose", "pose", "f4", ("N", "S", N_MANO_JOINTS, 3), "rad",
          "axis-angle per MANO joint relative to the flat hand, entry 0 the global orientation",
          _ABSENT, per_hand=True, required=True),
    Field("mano/betas", "betas", "f4", ("N", "S", N_BETAS), "1",
          "shape coefficients, meaningful on the named hand model only",
          _ABSENT, per_hand=True, required=True),
    Field("mano/transl", "transl", "f4", ("N", "S", 3), "m",
          "added after posing: wrist = J0(betas) + transl", _ABSENT, per_hand=True, required=True),
    Field("joints", "joints", "f4", ("N", "S", N_JOINTS, 3), "m",
          "kinematic joints in OpenPose order, the fourth of each finger the tip, in the dataset's "
          "frame", _ABSENT, per_hand=True, required=True),
    Field("present", "present", "bool", ("N", "S"), "",
          "which hands there are (a pose bank has one)", required=True),
    Field("quality/fit_error", "fit_error", "f4", ("N", "S"), "m",
          "mean distance between the fitted joints and the recorded points they were fitted to",
          "NaN where the hand is absent or nothing was fitted"),
    Field("quality/limit_violation", "limit_violation", "f4", ("N", "S"), "rad",
          "largest excess over the anatomy's joint limits, 0 within them",
          "NaN where the hand is absent or not measured"),
    Field("quality/side_ambiguous", "side_ambiguous", "bool", ("N", "S"), "",
          "neither the hand's joints, nearly in a plane, nor its take tell right from left",
          "False where the hand is absent or nobody looked"),
    Field("quality/penetration_volume", "penetration_volume", "f4", ("N",), "m3",
          "volume inside both hands", _UNJUDGED),
    Field("quality/penetration_depth", "penetration_depth", "f4", ("N",), "m",
          "deepest point of one skin inside the other", _UNJUDGED),
    Field("quality/contact_distance", "contact_distance", "f4", ("N",), "m",
          "smallest distance between the two skins, 0 when they touch", _UNJUDGED),
    Field("quality/self_penetration_volume", "self_penetration_volume", "f4", ("N", "S"), "m3",
          "volume of a hand inside its own non-adjacent parts",
          "NaN until judged and where the hand is absent"),
    Field("contact/intended", "contact_intended", "name", ("N", "S"), "",
          "contact region drawn on the right hand and on the left", "empty where none was drawn"),
    Field("contact/realised", "contact_realised", "name", ("N", "S"), "",
          "contact region nearest on the right hand and on the left, as judged",
          "empty until judged"),
    Field("split", "split", "name", ("N",), "",
          "given per subject (else per take) before any pairing", "empty where not given",
          vocabulary=SPLITS),
    Field("provenance/source", "source", "name", ("N",), "",
          "name of the source the sample was read from", required=True),
    Field("provenance/subject", "subject", "text", ("N",), "",
          "subject within the source", "empty where the source does not say"),
    Field("provenance/take", "take", "text", ("N",), "", "take within the source", required=True),
    Field("provenance/frame", "frame", "i8", ("N",), "", "frame number in the take's file",
          "-1 where there is none"),
    Field("provenance/timestamp", "timestamp", "f8", ("N",), "s",
          "time since the start of the take; float64, so that epoch times survive",
          "NaN where not recorded"),
    Field("provenance/mirrored", "mirrored", "bool", ("N", "S"), "",
          "the hand was recorded as the other side and mirrored"),
    Field("provenance/bank_id", "bank_id", "text", ("N", "S"), "",
          "sample_id in the pose bank of the right hand and of the left", group="splice"),
    Field("provenance/placement", "placement", "name", ("N",), "",
          "how the left hand was placed against the right", group="splice"),
    Field("provenance/placement_spin", "placement_spin", "f4", ("N",), "rad",
          "rotation drawn about the contact normal", "NaN where the placement draws none",
          group="splice"),
    Field("provenance/placement_standoff", "placement_standoff", "f4", ("N",), "m",
          "distance drawn between the two contact points along the normal",
          "NaN where the placement draws none", group="splice"),
    Field("repair/pose_before", "pose_before", "f4", ("N", "S", N_MANO_JOINTS, 3), "rad",
          "mano/pose before the repair", _ABSENT, group="repair", per_hand=True),
    Field("repair/transl_before", "transl_before", "f4", ("N", "S", 3), "m",
          "mano/transl before the repair", _ABSENT, group="repair", per_hand=True),
    Field("repair/volume_before", "volume_before", "f4", ("N",), "m3",
          "quality/penetration_volume before the repair", _UNJUDGED, group="repair"),
    Field("repair/depth_before", "depth_before", "f4", ("N",), "m",
          "quality/penetration_depth before the repair", _UNJUDGED, group="repair"),
    Field("repair/displacement", "displacement", "f4", ("N",), "m",
          "mean distance the joints moved, the pair's common rigid motion removed",
          "NaN where a hand is absent", group="repair"),
    Field("repair/evaluations", "evaluations", "i4", ("N",), "",
          "physics evaluations spent", "-1 where not counted", group="repair"),
    Field("repair/verdict", "repair_verdict", "name", ("N",), "",
          "what the repair did with the sample", group="repair"),
    Field("image/image", "image", "u1", ("N", IMAGE_SIZE, IMAGE_SIZE, 3), "",
          "the picture, sRGB, rows from the top", group="image"),
    Field("image/mask", "mask", "u1", ("N", "S", MASK_SIZE, MASK_SIZE), "1/255",
          "the share of a cell of 4 x 4 pixels where that hand is what is seen", group="image"),
    Field("image/uv", "uv", "f4", ("N", "S", N_JOINTS, 2), "px",
          "joints in the picture; the centre of the first pixel is (0.5, 0.5)",
          _ABSENT, group="image", per_hand=True),
    Field("image/visible", "visible", "bool", ("N", "S", N_JOINTS), "",
          "the joint is inside the picture and only its own flesh lies before it", group="image"),
    Field("image/K", "K", "f4", ("N", 3, 3), "px",
          "intrinsics of the picture: (u, v, 1) ~ K x, x in the camera's frame", group="image"),
    Field("image/T_camera_world", "T_camera_world", "f4", ("N", 4, 4), "m",
          "from the frame of the dataset that was pictured to the camera's", group="image"),
    Field("image/hidden", "hidden", "f4", ("N", "S"), "1",
          "share of the hand's own outline that something else covers or the picture cuts off",
          "NaN where the hand is absent", group="image"),
    Field("image/pose_id", "pose_id", "text", ("N",), "",
          "sample_id in the dataset that was pictured", group="image"),
)  # fmt: skip

FIELD_BY_PATH: Final = {field.path: field for field in FIELDS}
FIELD_BY_ATTRIBUTE: Final = {field.attribute: field for field in FIELDS}
OPTIONAL_GROUPS: Final[tuple[Group, ...]] = ("splice", "repair", "image")

# Root attributes that every shard of format 1 carries with exactly these values.
FIXED_CONVENTIONS: Final[Mapping[str, int | str | tuple]] = {
    "format": FORMAT,
    "length_unit": "m",
    "angle_unit": "rad",
    "time_unit": "s",
    "float_precision": "float32",
    "sides": SIDES,
    "joint_order": "OpenPose",
    "joint_names": JOINT_NAMES,
    "joint_definition": "kinematic",
    "tip_set": DEFAULT_TIP_SET,
    "tip_vertex_ids": TIP_SETS[DEFAULT_TIP_SET],
    "mano_joint_names": MANO_JOINT_NAMES,
    "pose_representation": "axis-angle",
    "pose_relative_to": "flat hand",
    "transl": "added after posing: wrist = J0(betas) + transl",
    "mirror": "points x -> -x, axis-angle (x, y, z) -> (x, -y, -z), sides swapped",
    "left_shapedirs": "mirrored from the right",
}

# Root attributes a dataset declares for itself, the same in all its shards.
DECLARED_CONVENTIONS: Final[Mapping[str, str]] = {
    "frame": f"the frame of space of mano and joints: one of {', '.join(FRAMES)}",
    "hand_model": "name of the hand model, right and left",
    "hand_model_right_sha256": "hash of the right model's arrays",
    "hand_model_left_sha256": "hash of the left model's arrays",
}


def conventions_for(hands: HandPair, frame: str = "world") -> dict[str, Any]:
    """The root attributes of a shard made with these hands in this frame.

    Raises ValueError for a frame or a tip set that the house does not use on disk.
    """
    if frame not in FRAMES:
        raise ValueError(f"frame {frame!r} is none of {', '.join(FRAMES)}")
    tips = tuple(TIP_SETS[DEFAULT_TIP_SET])
    for model in (hands.right, hands.left):
        if tuple(model.tip_vertex_ids) != tips:
            raise ValueError(
                f"joints on disk use the {DEFAULT_TIP_SET!r} tips {tips}, the {model.side} model "
                f"has {tuple(model.tip_vertex_ids)}: pass the model with_tips({tips})"
            )
    return dict(FIXED_CONVENTIONS) | {
        "frame": frame,
        "hand_model": (hands.right.name, hands.left.name),
        "hand_model_right_sha256": hands.right.sha256,
        "hand_model_left_sha256": hands.left.sha256,
    }


def check_conventions(attributes: Mapping[str, Any], where: str) -> None:
    """Raise DataError, naming the convention, unless `attributes` are those of format 1."""
    found_format = attributes.get("format")
    if isinstance(found_format, int) and found_format > FORMAT:
        raise DataError(
            f"{where} has format {found_format}, newer than the format {FORMAT} that twohand500k "
            f"{__version__} reads: upgrade twohand500k"
        )
    for key, expected in FIXED_CONVENTIONS.items():
        if key not in attributes:
            raise DataError(
                f"{where} does not declare the convention {key!r} (expected {expected!r}): "
                "it is not a shard of twohand500k, or was edited"
            )
        if attributes[key] != expected:
            raise DataError(
                f"{where} declares {key} = {attributes[key]!r}, format {FORMAT} has {expected!r}: "
                "convert it, reading it as it stands would be silently wrong"
            )
    for key, meaning in DECLARED_CONVENTIONS.items():
        if key not in attributes:
            raise DataError(f"{where} does not declare {key!r} ({meaning})")
    if attributes["frame"] not in FRAMES:
        raise DataError(
            f"{where} declares frame = {attributes['frame']!r}, none of {', '.join(FRAMES)}"
        )
    unknown = sorted(set(attributes) - set(FIXED_CONVENTIONS) - set(DECLARED_CONVENTIONS))
    if unknown:
        raise DataError(
            f"{where} declares {unknown[0]!r}, a convention that format {FORMAT} does not have"
        )

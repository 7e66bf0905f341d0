"""`Representation`: what a pair of hands is to the network, a vector of D numbers, and back.

Three, as in the paper's section 3.2, each hand from its own wrist and both in one frame:

- ``joints``: 20 joints a hand (the wrist is the origin), metres, D = 120;
- ``vertices``: the skin, 778 points a hand, metres, D = 4668;
- ``mano``: orientation, 15 local rotations and 10 betas a hand; rotations as axis-angle
  (MANO's own, D = 116) or ``6d`` (no jump at half a turn, D = 212).

`with_translation` appends the left hand's place, wrist_left - wrist_right in the same frame,
metres: without it a vector says how two hands are held, not where they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from interaction_prior.hands.layer import HandLayer
from interaction_prior.hands.rotations import (
    matrix_from_axis_angle,
    matrix_from_sixd,
    sixd_from_matrix,
)
from interaction_prior.representations.blocks import Block
from twohand500k.conventions import N_BETAS, N_JOINTS, N_MANO_JOINTS, N_VERTICES
from twohand500k.errors import DataError

Name = Literal["joints", "vertices", "mano"]
RotationForm = Literal["axis-angle", "6d"]
NAMES: tuple[Name, ...] = get_args(Name)
ROTATION_FORMS: tuple[RotationForm, ...] = get_args(RotationForm)


@dataclass(frozen=True)
class Representation:
    """Which numbers stand for a pair. `rotation` matters for ``mano`` alone."""

    name: Name
    rotation: RotationForm = "6d"
    with_translation: bool = False

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise DataError(f"representation {self.name!r} is none of {', '.join(NAMES)}")
        if self.rotation not in ROTATION_FORMS:
            raise DataError(
                f"rotation form {self.rotation!r} is none of {', '.join(ROTATION_FORMS)}"
            )

    def __str__(self) -> str:
        form = f" ({self.rotation})" if self.name == "mano" else ""
        return f"{self.name}{form}{' with translation' if self.with_translation else ''}"

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The vector's blocks in their order."""
        if self.name == "mano":
            blocks: tuple[Block, ...] = (
                Block("orientation", self.rotation, 1, turns=True, unit=self._rotation_unit),
                Block("fingers", self.rotation, N_MANO_JOINTS - 1, False, self._rotation_unit),
                Block("betas", "betas", N_BETAS, turns=False, unit="1"),
            )
        else:
            n = N_JOINTS - 1 if self.name == "joints" else N_VERTICES
            blocks = (Block(self.name, "points", n, turns=True, unit="m"),)
        place = (Block("place of the left hand", "place", 1, turns=True, unit="m"),)
        return blocks + place * self.with_translation

    @property
    def _rotation_unit(self) -> str:
        return "rad" if self.rotation == "axis-angle" else "1"

    @property
    def dim(self) -> int:
        """D, the numbers of a vector."""
        return sum(block.width for block in self.blocks)

    @property
    def joint_definition(self) -> str:
        """Whose joints `joints` gives: the chain's, or the regressor's on the skin."""
        return "regressed" if self.name == "vertices" else "kinematic"

    # Vectors, as a whole

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The blocks of vectors (..., D)."""
        return x.split([block.width for block in self.blocks], dim=-1)

    def mirrored(self, x: Tensor) -> Tensor:
        """Vectors (..., D) of the mirrored pairs, sides swapped."""
        return self._each(x, lambda block, part: block.mirrored(part))

    def turned(self, x: Tensor, Q: Tensor) -> Tensor:
        """Vectors (..., D) of the pairs turned by rotations Q (..., 3, 3)."""
        return self._each(x, lambda block, part: block.turned(part, Q))

    def _each(self, x: Tensor, change: Callable[[Block, Tensor], Tensor]) -> Tensor:
        parts = zip(self.blocks, self.split(x), strict=True)
        return torch.cat([change(block, part) for block, part in parts], dim=-1)

    # Hands to vectors

    def vectors(self, hands: HandLayer, pose: Tensor, betas: Tensor, place: Tensor) -> Tensor:
        """Vectors (..., D) of hands.

        pose (..., 2, 16, 3) axis-angle in radians relative to the flat hand; betas (..., 2, 10);
        place (..., 3), wrist_left - wrist_right, metres, in the frame of the orientations.
        """
        if self.name == "mano":
            form = (
                pose
                if self.rotation == "axis-angle"
                else sixd_from_matrix(matrix_from_axis_angle(pose))
            )
            parts = [form[..., 0, :].flatten(-2), form[..., 1:, :].flatten(-3), betas.flatten(-2)]
        else:
            R = matrix_from_axis_angle(pose)
            points = (
                hands.joints(R, betas)[..., 1:, :]
                if self.name == "joints"
                else hands.vertices(R, betas)
            )
            parts = [points.flatten(-3)]
        return torch.cat([*parts, place] if self.with_translation else parts, dim=-1)

    # Vectors to hands

    def rotations(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Local rotations (..., 2, 16, 3, 3) and betas (..., 2, 10) of ``mano`` vectors.

        Raises DataError for the others: their parameters have to be fitted.
        """
        if self.name != "mano":
            raise DataError(f"a {self.name} vector has no MANO parameters, they have to be fitted")
        blocks = self.blocks
        root, fingers, betas = self.split(x)[:3]
        form = torch.cat([blocks[0].split(root), blocks[1].split(fingers)], dim=-2)
        matrix = matrix_from_axis_angle if self.rotation == "axis-angle" else matrix_from_sixd
        return matrix(form), betas.unflatten(-1, (2, N_BETAS))

    def joints(self, hands: HandLayer, x: Tensor) -> Tensor:
        """Joints (..., 2, 21, 3) of vectors, metres, each hand from its own wrist."""
        if self.name == "mano":
            return hands.joints(*self.rotations(x))
        points = self.blocks[0].split(self.split(x)[0])
        if self.name == "vertices":
            return hands.regressed_joints(points)
        return torch.cat([torch.zeros_like(points[..., :1, :]), points], dim=-2)

    def vertices(self, hands: HandLayer, x: Tensor) -> Tensor:
        """Skin (..., 2, V, 3) of vectors, metres, each hand from its own wrist.

        Raises DataError for ``joints``: they have no skin until hands are fitted to them.
        """
        if self.name == "joints":
            raise DataError("a joints vector has no skin: hands have to be fitted to it")
        if self.name == "mano":
            return hands.vertices(*self.rotations(x))
        return self.blocks[0].split(self.split(x)[0])

    def place(self, x: Tensor) -> Tensor:
        """wrist_left - wrist_right (..., 3), metres. Raises DataError without translation."""
        if not self.with_translation:
            raise DataError(
                f"a prior of {self} holds no relative translation: how two hands are held, not "
                "where; train one with --with-translation"
            )
        return self.split(x)[-1]

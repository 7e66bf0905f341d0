"""The hand model in stages: shape, then pose, then joints and skin.

``model.with_shape(betas).with_pose(pose, transl)`` gives an immutable `PosedHand` whose `.joints`
(..., 21, 3) cost only the kinematic chain and five skin points, and whose `.vertices`
(..., V, 3) are linear blend skinning in full. Any batch shape, broadcast between betas, pose and
translation. Equations: Romero, Tzionas, Black, "Embodied Hands", 2017 (MANO), as `smplx.MANO`
computes them with ``flat_hand_mean=True``: `pose` is relative to the FLAT hand.
"""

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from twohand500k.conventions import (
    DEFAULT_TIP_SET,
    MANO_PARENTS,
    N_BETAS,
    N_MANO_JOINTS,
    OPENPOSE_FROM_MANO21,
    TIP_SETS,
    Side,
)
from twohand500k.errors import DataError
from twohand500k.hand import mesh
from twohand500k.hand.rotations import Array, matrix_from_axis_angle, mirror_axis_angle

if TYPE_CHECKING:
    import smplx


@dataclass(frozen=True, eq=False)
class HandModel:
    """One side's hand model, MANO's arrays under MANO's names.

    v_template (V, 3) m; shapedirs (V, 3, 10) m per unit beta; posedirs (V, 3, 135) m per unit of
    (R - I); J_regressor (16, V); weights (V, 16); faces (F, 3) int, outward counter-clockwise;
    hands_mean (45,) rad, the mean pose relative to flat; hands_components (45, 45);
    hands_coeffs (n, 45) the poses MANO was learned from, as ``hands_mean + coeffs @ components``,
    where the file has them. notes: what was changed between the file and this record, in words.
    """

    side: Side
    name: str
    v_template: Array
    shapedirs: Array
    posedirs: Array
    J_regressor: Array
    weights: Array
    faces: np.ndarray
    hands_mean: Array
    hands_components: Array
    tip_vertex_ids: tuple[int, int, int, int, int] = TIP_SETS[DEFAULT_TIP_SET]
    hands_coeffs: Array | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def J_template(self) -> Array:
        """Rest joints (16, 3) at zero betas, metres."""
        return self.J_regressor @ self.v_template

    @cached_property
    def J_shapedirs(self) -> Array:
        """Change of the rest joints per unit beta (16, 3, 10), metres."""
        return np.einsum("jv,vcb->jcb", self.J_regressor, self.shapedirs)

    @cached_property
    def sha256(self) -> str:
        """Hash of the arrays that decide joints and skin: names the model in a dataset."""
        digest = hashlib.sha256(f"{self.side}:{self.tip_vertex_ids}".encode())
        for array in (
            self.v_template,
            self.shapedirs,
            self.posedirs,
            self.J_regressor,
            self.weights,
            self.faces.astype(np.int64),
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def closed_faces(self) -> np.ndarray:
        """Faces (F + 14, 3) of the watertight hand: the wrist capped, no vertex added."""
        return mesh.closed_faces(self.faces)

    def with_tips(self, tip_vertex_ids: tuple[int, int, int, int, int]) -> "HandModel":
        """The same hand with other fingertip vertices (thumb, index, middle, ring, little)."""
        return replace(self, tip_vertex_ids=tip_vertex_ids)

    def with_shape(self, betas: ArrayLike | None = None) -> "ShapedHand":
        """Apply shape coefficients (..., 10); None is the template hand."""
        betas = np.zeros(N_BETAS) if betas is None else np.asarray(betas, dtype=np.float64)
        if betas.shape[-1] != N_BETAS:
            raise ValueError(f"betas must end in {N_BETAS} numbers, got shape {betas.shape}")
        return ShapedHand(self, betas)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz that `load_hands` and ``smplx.MANO(path, ext="npz")`` read unchanged.

        Keys are MANO's. smplx looks for MANO_RIGHT.npz or MANO_LEFT.npz when given a folder, and
        takes the side of a file from its name. Missing folders are made; the file is there whole or
        not at all. Raises `DataError` when the disk refuses.
        """
        path = Path(path)
        content = io.BytesIO()
        np.savez_compressed(content, **self.mano_arrays())
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content.getbuffer())
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise DataError(f"cannot write {path}: {error.strerror}") from error

    def mano_arrays(self) -> dict[str, Any]:
        """The model under the keys of a MANO file, with `side`, `name`, tips and notes added."""
        # MANO writes the root's parent as the largest uint32; smplx sets it to -1 itself.
        parents = np.array(MANO_PARENTS).astype(np.uint32)
        coeffs = {} if self.hands_coeffs is None else {"hands_coeffs": self.hands_coeffs}
        return {
            "v_template": self.v_template,
            "shapedirs": self.shapedirs,
            "posedirs": self.posedirs,
            "J_regressor": self.J_regressor,
            "J": self.J_template,
            "weights": self.weights,
            "f": self.faces.astype(np.uint32),
            "kintree_table": np.stack([parents, np.arange(N_MANO_JOINTS, dtype=np.uint32)]),
            "hands_mean": self.hands_mean,
            "hands_components": self.hands_components,
            **coeffs,
            "bs_style": np.array("lbs"),
            "bs_type": np.array("lrotmin"),
            "side": np.array(self.side),
            "name": np.array(self.name),
            "tip_vertex_ids": np.array(self.tip_vertex_ids),
            "notes": np.array(self.notes, dtype=np.str_),
        }

    def to_smplx(self, **options: Any) -> "smplx.MANO":
        """This hand as an ``smplx.MANO``: full axis-angle poses relative to the flat hand.

        options go to smplx (batch_size, dtype, ...). Needs torch and smplx, ImportError without.
        """
        # Not at the top: the toolkit works without torch, only this call needs it.
        from twohand500k.hand.smplx_bridge import to_smplx

        return to_smplx(self, **options)

    def mirrored(self) -> "HandModel":
        """The other side's hand: points x -> -x, rotations (x, y, z) -> (x, -y, -z)."""
        flip = np.array([-1.0, 1.0, 1.0])
        # posedirs multiply the entries of R - I, row-major; mirrored R' = S R S, S = diag(flip).
        entry_sign = np.tile(np.outer(flip, flip).ravel(), N_MANO_JOINTS - 1)
        return replace(
            self,
            side="left" if self.side == "right" else "right",
            v_template=self.v_template * flip,
            shapedirs=self.shapedirs * flip[:, None],
            posedirs=self.posedirs * flip[:, None] * entry_sign,
            faces=self.faces[:, ::-1].copy(),
            hands_mean=mirror_axis_angle(self.hands_mean.reshape(-1, 3)).ravel(),
            hands_components=mirror_axis_angle(self.hands_components.reshape(45, -1, 3)).reshape(
                45, 45
            ),
        )


@dataclass(frozen=True, eq=False)
class ShapedHand:
    """A hand of a given shape in its rest pose. betas (..., 10)."""

    model: HandModel
    betas: Array

    @cached_property
    def rest_joints(self) -> Array:
        """Rest joints (..., 16, 3) in MANO order, metres."""
        return self.model.J_template + _along_betas(self.model.J_shapedirs, self.betas)

    @cached_property
    def rest_vertices(self) -> Array:
        """Rest skin (..., V, 3) before pose correctives, metres."""
        return self.rest_vertices_at(slice(None))

    def rest_vertices_at(self, ids: "slice | list[int]") -> Array:
        """Rest skin (..., len(ids), 3) at chosen vertices, metres."""
        return self.model.v_template[ids] + _along_betas(self.model.shapedirs[ids], self.betas)

    def with_pose(
        self, pose: ArrayLike | None = None, transl: ArrayLike | None = None
    ) -> "PosedHand":
        """Pose the hand.

        pose (..., 16, 3) axis-angle in radians relative to the flat hand, entry 0 the global
        orientation; transl (..., 3) metres, added after posing, so wrist = J0(betas) + transl.
        """
        pose = np.zeros((N_MANO_JOINTS, 3)) if pose is None else np.asarray(pose, dtype=np.float64)
        if pose.shape[-2:] != (N_MANO_JOINTS, 3):
            raise ValueError(f"pose must be (..., 16, 3) axis-angle, got shape {pose.shape}")
        transl = np.zeros(3) if transl is None else np.asarray(transl, dtype=np.float64)
        return PosedHand(self, pose, transl)


@dataclass(frozen=True, eq=False)
class PosedHand:
    """A posed hand; joints and skin are computed when asked for, once."""

    shaped: ShapedHand
    pose: Array
    transl: Array

    @cached_property
    def R_parent_joint(self) -> Array:
        """Local rotations (..., 16, 3, 3)."""
        return matrix_from_axis_angle(self.pose)

    @cached_property
    def T_world_joint(self) -> Array:
        """Joint frames in the world (..., 16, 4, 4). At rest all are aligned with the world."""
        rest = self.shaped.rest_joints
        batch = np.broadcast_shapes(rest.shape[:-2], self.pose.shape[:-2], self.transl.shape[:-1])
        rest = np.broadcast_to(rest, (*batch, N_MANO_JOINTS, 3))
        local = np.broadcast_to(self.R_parent_joint, (*batch, N_MANO_JOINTS, 3, 3))
        T = np.zeros((*batch, N_MANO_JOINTS, 4, 4))
        T[..., 3, 3] = 1.0
        T[..., 0, :3, :3] = local[..., 0, :, :]
        T[..., 0, :3, 3] = rest[..., 0, :] + self.transl
        for joint in range(1, N_MANO_JOINTS):
            parent = MANO_PARENTS[joint]
            R_world_parent = T[..., parent, :3, :3]
            T[..., joint, :3, :3] = R_world_parent @ local[..., joint, :, :]
            bone = rest[..., joint, :] - rest[..., parent, :]
            T[..., joint, :3, 3] = T[..., parent, :3, 3] + np.einsum(
                "...ij,...j->...i", R_world_parent, bone
            )
        return T

    @cached_property
    def joints(self) -> Array:
        """21 joints (..., 21, 3), metres, OpenPose order: the chain, skin points at the tips."""
        chain = self.T_world_joint[..., :3, 3]
        tips = self._skin(list(self.shaped.model.tip_vertex_ids))
        return np.concatenate([chain, tips], axis=-2)[..., OPENPOSE_FROM_MANO21, :]

    @cached_property
    def vertices(self) -> Array:
        """Skin (..., V, 3), metres, by linear blend skinning with pose correctives."""
        return self._skin(slice(None))

    @property
    def regressed_joints(self) -> Array:
        """MANO's other joint definition (..., 16, 3): J_regressor on the posed skin, metres."""
        return np.einsum("jv,...vc->...jc", self.shaped.model.J_regressor, self.vertices)

    def _skin(self, ids: "slice | list[int]") -> Array:
        model = self.shaped.model
        T = self.T_world_joint
        rest = self.shaped.rest_joints
        relative = self.R_parent_joint[..., 1:, :, :] - np.eye(3)
        # Sizes written out, never -1: a batch may be empty.
        feature = relative.reshape(*relative.shape[:-3], model.posedirs.shape[-1])
        correctives = model.posedirs[ids]
        points = self.shaped.rest_vertices_at(ids) + (
            feature @ correctives.reshape(-1, feature.shape[-1]).T
        ).reshape(*feature.shape[:-1], len(correctives), 3)
        # x_world = sum_j w_j (R_j x + t_j - R_j J_j)
        offset = T[..., :3, 3] - np.einsum("...jab,...jb->...ja", T[..., :3, :3], rest)
        affine = np.concatenate([T[..., :3, :3], offset[..., None]], axis=-1)
        blended = model.weights[ids] @ affine.reshape(*affine.shape[:-2], 12)
        blended = blended.reshape(*blended.shape[:-1], 3, 4)
        return np.einsum("...vab,...vb->...va", blended[..., :3], points) + blended[..., 3]


def _along_betas(directions: Array, betas: Array) -> Array:
    """directions (n, 3, 10) times betas (..., 10): offsets (..., n, 3), metres."""
    flat = betas @ directions.reshape(-1, N_BETAS).T
    return flat.reshape(*betas.shape[:-1], len(directions), 3)


@dataclass(frozen=True, eq=False)
class HandPair:
    """A right and a left model that belong together. Index with 0 (right) or 1 (left)."""

    right: HandModel
    left: HandModel

    def __getitem__(self, side: int) -> HandModel:
        return (self.right, self.left)[side]

    @cached_property
    def sha256(self) -> str:
        """Hash of both sides."""
        return hashlib.sha256((self.right.sha256 + self.left.sha256).encode()).hexdigest()

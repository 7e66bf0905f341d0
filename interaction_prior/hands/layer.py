"""`HandLayer`: both hands of a pair posed in torch, differentiable.

The twin of `twohand500k.hand.model` on tensors, for what a training step needs: rotations and
betas in, joints or skin out, each hand relative to its own wrist. Sides are an axis of the batch
(index 0 right, 1 left), so both hands are one call; the joints alone cost the chain and five skin
points. Equations: Romero, Tzionas, Black, "Embodied Hands", 2017, relative to the flat hand.
"""

import numpy as np
import torch
from torch import Tensor, nn

from twohand500k.conventions import (
    MANO_CHAINS,
    N_MANO_JOINTS,
    OPENPOSE_FROM_MANO21,
)
from twohand500k.hand import HandPair

# A hand's joints by how far out they are: the five joints of a row hang on the row before.
_ROWS = tuple(tuple(chain[k] for chain in MANO_CHAINS) for k in range(3))


class HandLayer(nn.Module):
    """The two hand models as a module without parameters: its arrays are buffers.

    Move it with ``.to(device)``. Made from any `HandPair`, so from MANO or the open hand.
    """

    v_template: Tensor
    shapedirs: Tensor
    posedirs: Tensor
    weights: Tensor
    J_template: Tensor
    J_shapedirs: Tensor
    J_regressor: Tensor
    tips: Tensor
    skin: Tensor
    faces: Tensor
    closed_faces: Tensor
    faces_about: Tensor

    def __init__(self, hands: HandPair) -> None:
        super().__init__()
        pair = (hands.right, hands.left)

        def stacked(name: str) -> Tensor:
            return torch.tensor(np.stack([getattr(m, name) for m in pair]), dtype=torch.float32)

        n = pair[0].v_template.shape[0]
        for name, array in {
            "v_template": stacked("v_template"),
            "shapedirs": stacked("shapedirs"),
            "posedirs": stacked("posedirs"),
            "weights": stacked("weights"),
            "J_template": stacked("J_template"),
            "J_shapedirs": stacked("J_shapedirs"),
            "J_regressor": stacked("J_regressor"),
            "tips": torch.tensor([m.tip_vertex_ids for m in pair]),
            "skin": torch.arange(n).expand(2, n).contiguous(),
            "faces": torch.tensor(np.stack([m.faces for m in pair]).astype(np.int64)),
            "closed_faces": torch.tensor(np.stack([m.closed_faces for m in pair]).astype(np.int64)),
            "faces_about": torch.tensor(np.stack([_faces_about(m.closed_faces, n) for m in pair])),
        }.items():
            self.register_buffer(name, array, persistent=False)

    def joints(self, R: Tensor, betas: Tensor) -> Tensor:
        """Joints (..., 2, 21, 3), metres, OpenPose order, each hand from its own wrist.

        R (..., 2, 16, 3, 3) local rotations, entry 0 the global one; betas (..., 2, 10).
        """
        chain = self._chain(R, betas)
        points = torch.cat([chain[1], self._skinned(R, betas, chain, self.tips)], dim=-2)
        return points[..., OPENPOSE_FROM_MANO21, :]

    def vertices(self, R: Tensor, betas: Tensor) -> Tensor:
        """Skin (..., 2, V, 3), metres, each hand from its own wrist; arguments as for `joints`."""
        return self._skinned(R, betas, self._chain(R, betas), self.skin)

    def regressed_joints(self, vertices: Tensor) -> Tensor:
        """MANO's other joints (..., 2, 21, 3) of a skin (..., 2, V, 3): the regressor's and tips.

        Each hand from its regressed wrist.
        """
        tips = torch.stack([vertices[..., s, self.tips[s], :] for s in range(2)], dim=-3)
        points = torch.cat([self.J_regressor @ vertices, tips], dim=-2)
        points = points[..., OPENPOSE_FROM_MANO21, :]
        return points - points[..., :1, :]

    def _chain(self, R: Tensor, betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Global rotations (..., 2, 16, 3, 3), joints and rest joints (..., 2, 16, 3)."""
        rest = self.J_template + torch.einsum("sjcb,...sb->...sjc", self.J_shapedirs, betas)
        shape = (*R.shape[:-4], 2, 5)
        R_world = [R[..., 0, :, :]]
        points = [torch.zeros_like(rest[..., 0, :])]
        parent_R = R[..., :1, :, :].expand(*shape, 3, 3)
        parent_p = torch.zeros_like(rest[..., :1, :]).expand(*shape, 3)
        parent_rest = rest[..., :1, :].expand(*shape, 3)
        rows_R, rows_p = [], []
        for row in _ROWS:
            here = list(row)
            bone = rest[..., here, :] - parent_rest
            parent_p = parent_p + (parent_R @ bone[..., None]).squeeze(-1)
            parent_R = parent_R @ R[..., here, :, :]
            parent_rest = rest[..., here, :]
            rows_R.append(parent_R)
            rows_p.append(parent_p)
        order = [0] * N_MANO_JOINTS
        for place, joint in enumerate((0, *(j for row in _ROWS for j in row))):
            order[joint] = place
        all_R = torch.cat([R_world[0][..., None, :, :], *rows_R], dim=-3)[..., order, :, :]
        all_p = torch.cat([points[0][..., None, :], *rows_p], dim=-2)[..., order, :]
        return all_R, all_p, rest

    def _skinned(
        self, R: Tensor, betas: Tensor, chain: tuple[Tensor, Tensor, Tensor], ids: Tensor
    ) -> Tensor:
        """Linear blend skinning with pose correctives at vertices `ids` (2, n)."""
        R_world, joints, rest = chain
        side = torch.arange(2, device=ids.device)[:, None]
        eye = torch.eye(3, dtype=R.dtype, device=R.device)
        feature = (R[..., 1:, :, :] - eye).flatten(-3)
        points = (
            self.v_template[side, ids]
            + torch.einsum("svcb,...sb->...svc", self.shapedirs[side, ids], betas)
            + torch.einsum("svcf,...sf->...svc", self.posedirs[side, ids], feature)
        )
        # x = sum_j w_j (R_j (x_rest - J_j) + p_j)
        offset = joints - (R_world @ rest[..., None]).squeeze(-1)
        affine = torch.cat([R_world, offset[..., None]], dim=-1).flatten(-2)
        blended = (self.weights[side, ids] @ affine).unflatten(-1, (3, 4))
        return (blended[..., :3] @ points[..., None]).squeeze(-1) + blended[..., 3]


def _faces_about(faces: np.ndarray, n: int) -> np.ndarray:
    """The faces about each of n vertices (n, most), -1 beside the last of a vertex with fewer."""
    rows: list[list[int]] = [[] for _ in range(n)]
    for number, face in enumerate(faces.tolist()):
        for vertex in face:
            rows[vertex].append(number)
    table = np.full((n, max(map(len, rows))), -1)
    for vertex, own in enumerate(rows):
        table[vertex, : len(own)] = own
    return table

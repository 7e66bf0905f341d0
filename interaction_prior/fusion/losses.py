"""What a reconstruction is held to (section 3.3), beside equation 2.

Joints and vertices: L1, as the paper says. MANO: the paper says only that normal and penetration
losses are "additional"; the base loss is ours: L1 of the rotation matrices and of the shapes, and
of joints and skin, each hand from its own wrist. L1 is a mean over numbers; distances are in
millimetres, so that the terms stand beside equation 2's sums over pixels.

Normal loss (Moon and Lee, I2L-MeshNet, 2020, equation 5; Li et al. 2022): the edges of predicted
faces are to lie across the true faces' normals, the mean of |cos| over faces and their edges.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from interaction_prior.fusion.network import Reconstruction
from interaction_prior.fusion.penetration import penetration_loss
from interaction_prior.images import ImageBatch

_MM = 1e3
# Weights: of a unit of each term.
PARAMETERS, BETAS = 30.0, 1.0  # rotation matrices' numbers; shape coefficients
JOINTS_MM, VERTICES_MM = 1.0, 1.0
NORMAL = 10.0
PENETRATION_MM = 1.0


@dataclass(frozen=True, eq=False)
class ReconTerms:
    """The terms, weights included, zero where the representation has none; and their sum."""

    parameters: Tensor
    joints: Tensor
    vertices: Tensor
    normal: Tensor
    penetration: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.parameters + self.joints + self.vertices + self.normal + self.penetration


def reconstruction_loss(said: Reconstruction, batch: ImageBatch) -> ReconTerms:
    """The terms of a batch, in float32."""
    layer, form = said.layer, said.representation.name
    R, betas = batch.rotations, batch.betas
    zero = said.x.new_zeros(())
    if form == "joints":
        joints = JOINTS_MM * _l1_mm(said.joints, layer.joints(R, betas))
        return ReconTerms(zero, joints, zero, zero, zero)
    skin = layer.vertices(R, betas)
    vertices = VERTICES_MM * _l1_mm(said.vertices, skin)
    if form == "vertices":
        return ReconTerms(zero, zero, vertices, zero, zero)
    said_R, said_betas = said.representation.rotations(said.x)
    parameters = PARAMETERS * (said_R - R).abs().mean() + BETAS * (said_betas - betas).abs().mean()
    return ReconTerms(
        parameters=parameters,
        joints=JOINTS_MM * _l1_mm(said.joints, layer.joints(R, betas)),
        vertices=vertices,
        normal=NORMAL * normal_loss(said.vertices, skin, layer.faces),
        penetration=PENETRATION_MM * _MM * penetration_loss(said.vertices, said.tau, layer),
    )


def normal_loss(said: Tensor, true: Tensor, faces: Tensor) -> Tensor:
    """Mean |cos| between edges of skins (..., 2, V, 3) and normals of true ones, 0 if parallel.

    faces (2, F, 3) of each side.
    """
    total = said.new_zeros(())
    for side in (0, 1):
        corners = true[..., side, :, :][..., faces[side], :]
        a, b, c = corners.unbind(-2)
        normal = normalize(torch.linalg.cross(b - a, c - a, dim=-1), dim=-1)
        mine = said[..., side, :, :][..., faces[side], :]
        edges = normalize(mine - mine.roll(1, dims=-2), dim=-1)
        total = total + (edges * normal[..., None, :]).sum(-1).abs().mean()
    return total / 2


def _l1_mm(said: Tensor, true: Tensor) -> Tensor:
    return _MM * (said - true).abs().mean()

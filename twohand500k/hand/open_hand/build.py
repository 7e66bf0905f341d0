"""From anthropometry to the finished right hand.

skeleton -> skin (implicit surface) -> mesh -> weights, shape directions, joint regressor -> pose
correctives, natural poses -> `HandModel`. No random state is shared and nothing is read from disk.
"""

from dataclasses import replace

import numpy as np

from twohand500k.conventions import N_MANO_JOINTS, N_VERTICES
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandModel
from twohand500k.hand.open_hand.correctives import fit_posedirs
from twohand500k.hand.open_hand.natural_poses import mean_and_components
from twohand500k.hand.open_hand.shape_space import BETA_NAMES, shape_space
from twohand500k.hand.open_hand.skeleton import rest_skeleton
from twohand500k.hand.open_hand.skinning import joint_regressor, skin_weights
from twohand500k.hand.open_hand.surface import Skin
from twohand500k.hand.open_hand.topology import build_mesh
from twohand500k.hand.rotations import Array

_MM = 1e-3
_DECIMALS = 9  # a nanometre: the file packs better and does not hang on a processor's last bit


def generate() -> HandModel:
    """The open hand, right side, from its numbers alone."""
    skeleton = rest_skeleton()
    skin = Skin(skeleton)
    mesh = build_mesh(skin)
    weights = _rounded_shares(skin_weights(skin, mesh))
    shapes = shape_space(skeleton, mesh.vertices, weights)
    model = HandModel(
        side="right",
        name="open",
        v_template=np.round(mesh.vertices * _MM, _DECIMALS),
        shapedirs=np.round(shapes.vertices * _MM, _DECIMALS),
        posedirs=np.zeros((N_VERTICES, 3, 9 * (N_MANO_JOINTS - 1))),
        J_regressor=joint_regressor(mesh.vertices, skeleton.joints, shapes.vertices, shapes.joints),
        weights=weights,
        faces=mesh.faces,
        hands_mean=np.zeros(45),
        hands_components=np.eye(45),
        notes=(f"betas, one standard deviation each: {'; '.join(BETA_NAMES)}",),
    )
    anatomy = Anatomy.of(model)
    mean, components = mean_and_components(anatomy)
    return replace(
        model,
        posedirs=np.round(fit_posedirs(model, anatomy), _DECIMALS),
        hands_mean=np.round(mean, _DECIMALS),
        hands_components=components,
    )


def _rounded_shares(weights: Array) -> Array:
    """Weights rounded, the largest of each row taking up what is missing from 1."""
    rounded = np.round(weights, _DECIMALS)
    rows = np.arange(len(rounded))
    largest = rounded.argmax(axis=1)
    rounded[rows, largest] = 0.0
    rounded[rows, largest] = 1.0 - rounded.sum(axis=1)
    return rounded

"""From anthropometry to the arrays of `open_hand.npz`."""

from dataclasses import dataclass, replace

import numpy as np

from twohand500k.conventions import MANO_PARENTS, N_BETAS, N_MANO_JOINTS, N_VERTICES
from twohand500k.hand.anatomy import Anatomy
from twohand500k.hand.model import HandModel
from twohand500k.hand.open_hand.correctives import fit_posedirs
from twohand500k.hand.open_hand.natural_poses import mean_and_components
from twohand500k.hand.open_hand.shape_space import shape_space
from twohand500k.hand.open_hand.skeleton import rest_skeleton
from twohand500k.hand.open_hand.skinning import joint_regressor, skin_weights
from twohand500k.hand.open_hand.surface import Skin
from twohand500k.hand.open_hand.topology import build_mesh
from twohand500k.hand.rotations import Array

MM = 1e-3


@dataclass(frozen=True, eq=False)
class OpenHand:
    """The generated right hand: `model` and the arrays of the file under MANO's names."""

    model: HandModel
    arrays: dict[str, np.ndarray]


def generate() -> OpenHand:
    """Build the right hand from scratch. Deterministic."""
    skeleton = rest_skeleton()
    skin = Skin(skeleton)
    mesh = build_mesh(skin)
    weights = skin_weights(skin, mesh)
    shapes = shape_space(skeleton, mesh.vertices, weights)
    regressor = joint_regressor(
        mesh.vertices, skeleton.joints, shapes.vertices, shapes.joints, mesh.digit
    )
    model = HandModel(
        side="right",
        name="open",
        v_template=mesh.vertices * MM,
        shapedirs=shapes.vertices * MM,
        posedirs=np.zeros((N_VERTICES, 3, 9 * (N_MANO_JOINTS - 1))),
        J_regressor=regressor,
        weights=weights,
        faces=mesh.faces,
        hands_mean=np.zeros(45),
        hands_components=np.eye(45),
    )
    anatomy = Anatomy.of(model)
    mean, components = mean_and_components(anatomy)
    model = replace(
        model,
        posedirs=fit_posedirs(model, anatomy),
        hands_mean=mean,
        hands_components=components,
    )
    arrays = {
        "v_template": _rounded(model.v_template),
        "shapedirs": _rounded(model.shapedirs),
        "posedirs": _rounded(model.posedirs),
        "J_regressor": model.J_regressor,
        "weights": model.weights,
        "f": mesh.faces.astype(np.uint32),
        "kintree_table": np.array([MANO_PARENTS, range(N_MANO_JOINTS)], dtype=np.int64),
        "hands_mean": mean,
        "hands_components": components,
    }
    assert shapes.vertices.shape[2] == N_BETAS
    return OpenHand(model, arrays)


def _rounded(metres: Array) -> Array:
    """To a nanometre: the file packs better and does not hang on the last bit of a processor."""
    return np.round(metres, 9)

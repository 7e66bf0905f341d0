"""A hand model as the torch layer that the field's code expects.

Comes in: a `HandModel`. Goes out: an ``smplx.MANO`` holding the same arrays. torch and smplx are
imported when asked for and not before: the toolkit runs without them.
"""

import contextlib
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import smplx

    from twohand500k.hand.model import HandModel


def to_smplx(model: "HandModel", **options: Any) -> "smplx.MANO":
    """``smplx.MANO`` with this model's arrays; options are smplx's own (batch_size, dtype, ...).

    Unless told otherwise it takes all 45 axis-angle numbers relative to the FLAT hand, which is
    what this house stores, where smplx's own default is 6 PCA numbers about the mean pose. smplx
    rounds the arrays to float32 whatever the dtype. Raises ImportError naming the extra to
    install.
    """
    try:
        import smplx
        from smplx.utils import Struct
    except ImportError as error:
        raise ImportError(
            f"to_smplx needs torch and smplx ({error}); pip install 'twohand500k[train]', "
            "in a checkout pip install -e '.[train]'"
        ) from error
    arrays = model.mano_arrays()
    defaults = {"use_pca": False, "flat_hand_mean": True}
    # smplx prints a warning that the model has only 10 shape coefficients; stdout is for results.
    with contextlib.redirect_stdout(io.StringIO()):
        return smplx.MANO(
            model_path="",
            is_rhand=model.side == "right",
            data_struct=Struct(**arrays),
            **(defaults | options),
        )

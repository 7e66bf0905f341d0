"""Pictures of interactions: hands as a camera sees them, with every label of an image dataset."""

from twohand500k.render.picture import Pair, Picture, PictureOptions, draw_picture
from twohand500k.render.preview import draw_preview
from twohand500k.render.run import RenderOptions, RenderPlan, plan_render, render

__all__ = [
    "Pair",
    "Picture",
    "PictureOptions",
    "RenderOptions",
    "RenderPlan",
    "draw_picture",
    "draw_preview",
    "plan_render",
    "render",
]

"""Pictures: a CPU ray caster for hands, contact sheets, and fits drawn over their input."""

from twohand500k.pictures.camera import Camera
from twohand500k.pictures.overlay import (
    FittedFrames,
    draw_frame,
    overlay_sheet,
    pick_moments,
    skeleton_edges,
)
from twohand500k.pictures.pair import draw_pair, pair_cameras
from twohand500k.pictures.photo import K_of_part, PhotoCamera
from twohand500k.pictures.render import BACKDROP, BONES, SKIN, Skeleton, Surface, render_meshes
from twohand500k.pictures.sheet import contact_sheet, save_png

__all__ = [
    "BACKDROP",
    "BONES",
    "SKIN",
    "Camera",
    "FittedFrames",
    "K_of_part",
    "PhotoCamera",
    "Skeleton",
    "Surface",
    "contact_sheet",
    "draw_frame",
    "draw_pair",
    "overlay_sheet",
    "pair_cameras",
    "pick_moments",
    "render_meshes",
    "save_png",
    "skeleton_edges",
]

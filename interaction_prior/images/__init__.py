"""Pictures of two hands: read from image datasets, changed on the device, handed out in batches."""

from interaction_prior.images.augment import NONE, Augmentation, augmented, drawn
from interaction_prior.images.batch import ImageBatch
from interaction_prior.images.batches import ImageBatches, LabelledImages
from interaction_prior.images.pictures import ResidentPictures, StreamedPictures, picture_bytes
from interaction_prior.images.read import ImagePairs, read_images
from interaction_prior.images.view import Views, straight_views

__all__ = [
    "NONE",
    "Augmentation",
    "ImageBatch",
    "ImageBatches",
    "ImagePairs",
    "LabelledImages",
    "ResidentPictures",
    "StreamedPictures",
    "Views",
    "augmented",
    "drawn",
    "picture_bytes",
    "read_images",
    "straight_views",
]

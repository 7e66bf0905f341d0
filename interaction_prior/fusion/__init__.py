"""From features to a code of the prior, and through its frozen decoder to hands (section 3.3)."""

from interaction_prior.fusion.files import RECON_FILE, ReconRecord, read_recon, write_recon
from interaction_prior.fusion.floor import FloorReport, decoder_floor
from interaction_prior.fusion.losses import ReconTerms, reconstruction_loss
from interaction_prior.fusion.network import ReconArchitecture, ReconNetwork, Reconstruction
from interaction_prior.fusion.variants import VARIANTS, Variant

__all__ = [
    "RECON_FILE",
    "VARIANTS",
    "FloorReport",
    "ReconArchitecture",
    "ReconNetwork",
    "ReconRecord",
    "ReconTerms",
    "Reconstruction",
    "Variant",
    "decoder_floor",
    "read_recon",
    "reconstruction_loss",
    "write_recon",
]

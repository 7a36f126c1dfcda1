"""Simulated heads: one labelled anatomy, seen by a CT and by an MR scanner.

Continuous shapes in the coordinates of an average head (``cranium``, ``brain``) are bent,
scaled and posed by a subject drawn from a seed (``subject``), evaluated on any voxel grid and
turned into images by published tissue values (``tissues``, ``scanner``).
"""

from __future__ import annotations

from napari_ct2mri.imaging.phantom.make import Phantom, phantom, sample_pair
from napari_ct2mri.imaging.phantom.study import phantom_job, splits
from napari_ct2mri.imaging.phantom.tissues import PROPERTIES, SEQUENCES, Tissue

__all__ = [
    "PROPERTIES",
    "SEQUENCES",
    "Phantom",
    "Tissue",
    "phantom",
    "phantom_job",
    "sample_pair",
    "splits",
]

"""Every command as a job: a generator of events with a frozen result.

The terminal (``app.cli``) and the viewer (through ``app.process``) run the same ones. Importing
them is cheap; torch and the image libraries come with the first step of a job.
"""

from napari_ct2mri.app.workflows.demo import Demo, demo, phantom
from napari_ct2mri.app.workflows.evaluation import Evaluated, evaluate
from napari_ct2mri.app.workflows.firmware import build, export
from napari_ct2mri.app.workflows.images import Converted, Found, Info, PairCount, convert, info
from napari_ct2mri.app.workflows.synthesis import Synthesized, synthesize, synthesize_volume
from napari_ct2mri.app.workflows.training import settings_of, train

__all__ = [
    "Converted",
    "Demo",
    "Evaluated",
    "Found",
    "Info",
    "PairCount",
    "Synthesized",
    "build",
    "convert",
    "demo",
    "evaluate",
    "export",
    "info",
    "phantom",
    "settings_of",
    "synthesize",
    "synthesize_volume",
    "train",
]

"""Every command as a job: a generator of events with a frozen result.

The terminal (``app.cli``) and the viewer (through ``app.process``) run the same ones. Importing
them is cheap; torch and the image libraries come with the first step of a job.
"""

from napari_ct2mri.app.workflows.board import (
    Asked,
    Booted,
    ExportedPushed,
    PortState,
    StepBegun,
    ask_board,
    boot,
    export_build_push,
    ports,
    push,
)
from napari_ct2mri.app.workflows.board_grid import BoardModel, Grid
from napari_ct2mri.app.workflows.board_run import BoardRun, run
from napari_ct2mri.app.workflows.cluster_line import Cluster, pick_cluster
from napari_ct2mri.app.workflows.demo import Demo, demo, phantom
from napari_ct2mri.app.workflows.evaluation import Evaluated, evaluate
from napari_ct2mri.app.workflows.firmware import build, export
from napari_ct2mri.app.workflows.images import Converted, Found, Info, PairCount, convert, info
from napari_ct2mri.app.workflows.live import Live, LiveSlice
from napari_ct2mri.app.workflows.monitor import BoardStats, monitor
from napari_ct2mri.app.workflows.registration import (
    Registered,
    RegisteredFile,
    read_landmarks,
    register,
    register_volumes,
    write_landmarks,
)
from napari_ct2mri.app.workflows.simulated import (
    Running,
    firmware_for,
    running_boards,
    start_board,
)
from napari_ct2mri.app.workflows.synthesis import Synthesized, synthesize, synthesize_volume
from napari_ct2mri.app.workflows.training import settings_of, train

__all__ = [
    "Asked",
    "BoardModel",
    "BoardRun",
    "BoardStats",
    "Booted",
    "Cluster",
    "Converted",
    "Demo",
    "Evaluated",
    "ExportedPushed",
    "Found",
    "Grid",
    "Info",
    "Live",
    "LiveSlice",
    "PairCount",
    "PortState",
    "Registered",
    "RegisteredFile",
    "Running",
    "StepBegun",
    "Synthesized",
    "ask_board",
    "boot",
    "build",
    "convert",
    "demo",
    "evaluate",
    "export",
    "export_build_push",
    "firmware_for",
    "info",
    "monitor",
    "phantom",
    "pick_cluster",
    "ports",
    "push",
    "read_landmarks",
    "register",
    "register_volumes",
    "run",
    "running_boards",
    "settings_of",
    "start_board",
    "synthesize",
    "synthesize_volume",
    "train",
    "write_landmarks",
]

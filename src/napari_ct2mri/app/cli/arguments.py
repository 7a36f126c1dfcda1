"""The command line itself, and the arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from napari_ct2mri import __version__
from napari_ct2mri.pix2pix.engines import EngineName, Precision

__all__ = [
    "Baud",
    "Board",
    "Contrast",
    "Device",
    "EngineFlag",
    "ExpectedBoard",
    "Input",
    "Modality",
    "ModalityFlag",
    "Model",
    "Native",
    "NoPatientData",
    "Output",
    "Pairs",
    "Port",
    "PrecisionFlag",
    "Published",
    "SchedulerFlag",
    "SeriesFlag",
    "Split",
    "WorkersFlag",
    "app",
]

app = App(
    name="ct2mri",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    help="CT to MR: pair, train, synthesize, measure. For research; not a diagnostic device.\n\n"
    "Any command takes --debug, which shows where an error arose.",
)

Modality = Literal["CT", "MR"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Input = Annotated[
    Path,
    Parameter(
        name="INPUT",
        help="DICOM folder, NIfTI, NRRD, MHA/MHD, a picture, a folder of pictures, or pairs.csv.",
    ),
]
Output = Annotated[
    Path,
    Parameter(
        help="Its ending is the format; a folder for pictures; for the MR of a DICOM CT, NAME.dcm "
        "is a new folder of DICOM slices; for a pairs.csv a folder with contrast/patient/CT-file "
        "in it."
    ),
]
Contrast = Literal["T1", "T2", "PD", "FLAIR"]
Split = Literal["train", "val", "test", "all"]
Pairs = Annotated[Path, Parameter(help="A CSV with columns ct,mr,patient,contrast,split.")]
SeriesFlag = Annotated[
    str | None, Parameter(help="Which of several: its number in info, or its UID.")
]
ModalityFlag = Annotated[Modality | None, Parameter(help="Decides where a file does not say.")]
Model = Annotated[str | None, Parameter(help="A name that models lists, or a checkpoint.")]
Board = Annotated[str, Parameter(help="A name that boards lists.")]
Port = Annotated[
    str, Parameter(help="A device, or a URL such as socket://127.0.0.1:4711; ports lists them.")
]
Baud = Annotated[
    int | None, Parameter(help="Bit/s; by default the highest that board and cable carry.")
]
ExpectedBoard = Annotated[
    str | None,
    Parameter(name="--board", help="The only one that is welcome at that port, by its name."),
]
Native = Annotated[
    bool, Parameter(help="Leave pixels as they are: no scaling to the model's head size.")
]
NoPatientData = Annotated[
    bool, Parameter(help="In DICOM, name nobody and leave nothing that leads to the CT's study.")
]
Published = Annotated[
    bool,
    Parameter(help="As Isola et al. ran it: each slice's own statistics, dropout on."),
]
EngineFlag = Annotated[
    EngineName, Parameter(help="What computes; auto is the fastest that is installed.")
]
PrecisionFlag = Annotated[
    Precision, Parameter(help="int8 is faster and rounds: see docs/speed.md; never by itself.")
]
SchedulerFlag = Annotated[
    str | None, Parameter(help="A Dask scheduler's address, whose workers do it: docs/cluster.md.")
]
WorkersFlag = Annotated[
    int | None, Parameter(help="Do it in so many processes of this machine, one patient each.")
]

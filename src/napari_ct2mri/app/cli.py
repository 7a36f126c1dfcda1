"""``ct2mri``: every job on the command line.

A command builds a job, the one driver runs it, and what came of it is printed to stdout. A
wrong input is one line on stderr and exit code 1; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from napari_ct2mri import __version__
from napari_ct2mri.app.flags import (
    config_from_flags,
    slices_from_flag,
    window_from_flag,
    with_config_flags,
)
from napari_ct2mri.app.terminal import asked_to_end, run_in_terminal, watch
from napari_ct2mri.config import Preset
from napari_ct2mri.errors import Ct2MriError, FirmwareError, JobCancelled, JobError, PortError
from napari_ct2mri.pix2pix.engines import EngineName, Precision

__all__ = ["app", "main"]

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

app = App(
    name="ct2mri",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    help="CT to MR: pair, train, synthesize, measure. For research; not a diagnostic device.\n\n"
    "Any command takes --debug, which shows where an error arose.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 for an error, 130 for Ctrl-C."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    is_debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (JobCancelled, KeyboardInterrupt) as error:
        return _fail(str(error) or "cancelled", 130)
    except Exception as error:
        if is_debug:
            raise
        return _fail(_in_words(error), 1)
    return 0


@app.command
def demo(
    directory: Annotated[Path, Parameter(help="Where everything goes.")] = Path("ct2mri-demo"),
    /,
    *,
    no_viewer: Annotated[bool, Parameter(help="Do not open the result.")] = False,
) -> None:
    """The main job, end to end, on patients it simulates; takes under 5 minutes."""
    from napari_ct2mri.app import show, workflows

    result = run_in_terminal(workflows.demo(directory))
    show.evaluated(result.evaluated)
    if not no_viewer:
        show.in_viewer((result.ct, result.real, result.synthetic), directory / "viewer.png")


@app.command
def info(path: Input, /, *, modality: ModalityFlag = None, json: bool = False) -> None:
    """Say what was found: series, geometry, ranges, problems.

    Parameters
    ----------
    json
        Print JSON.
    """
    from napari_ct2mri.app import show, workflows

    found = run_in_terminal(workflows.info(path, modality=modality))
    show.as_json(found) if json else show.info(found)


@app.command
def convert(
    path: Input,
    output: Output,
    /,
    *,
    series: SeriesFlag = None,
    modality: ModalityFlag = None,
) -> None:
    """Write INPUT in the format of OUTPUT's ending; voxels and geometry stay as they are."""
    from napari_ct2mri.app import show, workflows

    job = workflows.convert(path, output, series=series, modality=modality)
    show.outputs(run_in_terminal(job).outputs)


@app.command
def phantom(
    directory: Annotated[Path, Parameter(name="DIR", help="Where they go.")],
    /,
    *,
    subjects: Annotated[int, Parameter(help="How many heads.")] = 6,
    seed: Annotated[int, Parameter(help="The same seed gives the same heads.")] = 0,
    contrast: Annotated[
        tuple[Contrast, ...], Parameter(help="What to make of each.", consume_multiple=True)
    ] = ("T2",),
) -> None:
    """Simulate CT/MR volume pairs and their pairs.csv."""
    from napari_ct2mri.app import show, workflows

    job = workflows.phantom(directory, subjects=subjects, seed=seed, contrasts=contrast)
    show.outputs([run_in_terminal(job)])


@app.command
def register(
    ct: Annotated[Path, Parameter(name="CT", help="A CT volume, in any format that is read.")],
    mr: Annotated[Path, Parameter(name="MR", help="An MR volume of the same head.")],
    output: Annotated[Path, Parameter(help="Its ending is the format.")],
    /,
    *,
    kind: Annotated[
        Literal["rigid", "affine"], Parameter(help="Affine also scales and shears.")
    ] = "rigid",
    landmarks: Annotated[
        Path | None,
        Parameter(help="Where to start: a CSV with columns ct_x,ct_y,ct_z,mr_x,mr_y,mr_z, LPS mm."),
    ] = None,
    series: Annotated[
        str | None, Parameter(help="Which of several in CT: its number in info, or its UID.")
    ] = None,
    mr_series: Annotated[str | None, Parameter(help="The same in MR.")] = None,
    threads: Annotated[
        int, Parameter(help="More than 1 are faster; then the last bits differ from run to run.")
    ] = 1,
) -> None:
    """Move MR onto CT by mutual information and write it on the CT's grid."""
    from napari_ct2mri.app import show, workflows

    job = workflows.register(
        ct,
        mr,
        output,
        kind=kind,
        landmarks=landmarks,
        series=series,
        mr_series=mr_series,
        threads=threads,
    )
    show.registered(run_in_terminal(job))


def train(
    pairs: Pairs,
    /,
    *,
    output: Annotated[Path, Parameter(help="The checkpoint to write, *.safetensors.")],
    preset: Annotated[Preset, Parameter(help="Decides what no flag says.")] = "default",
    contrast: Annotated[str | None, Parameter(help="Only the rows of this one.")] = None,
    init: Annotated[str | None, Parameter(help="Start from this model.")] = None,
    teacher: Annotated[
        tuple[str, ...],
        Parameter(help="Learn from what these models make, too.", consume_multiple=True),
    ] = (),
    resume: Annotated[
        bool, Parameter(help="Go on where a former run into --output stopped.")
    ] = False,
    **leaves: Any,
) -> None:
    """Train a generator on the train rows of a pairs.csv; val rows choose the best epoch."""
    from napari_ct2mri.app import show, workflows

    resumed = workflows.settings_of(output) if resume else None
    config = config_from_flags(preset, leaves, resumed)
    job = workflows.train(
        pairs, output, config, contrast=contrast, init=init, teachers=teacher, resume=resume
    )
    show.trained(run_in_terminal(job))


app.command(with_config_flags(train))


@app.command
def synthesize(
    path: Input,
    output: Output,
    /,
    *,
    model: Model = None,
    contrast: Annotated[str | None, Parameter(help="Of those the model makes.")] = None,
    window: Annotated[
        tuple[float, float] | None,
        Parameter(help="Level and width in HU, for a model with one window."),
    ] = None,
    slices: Annotated[
        str | None,
        Parameter(
            help="FROM:TO, only these axial slices of one CT: the lowest (a folder's first "
            "picture) is 0, TO is not among them."
        ),
    ] = None,
    native: Native = False,
    published: Published = False,
    series: SeriesFlag = None,
    modality: ModalityFlag = None,
    no_patient_data: NoPatientData = False,
    spread: Annotated[
        Path | None,
        Parameter(help="A volume: how far the MRs of a CT and of its mirror image lie apart."),
    ] = None,
    device: Device = "auto",
    engine: EngineFlag = "auto",
    precision: PrecisionFlag = "float",
    scheduler: SchedulerFlag = None,
    workers: WorkersFlag = None,
) -> None:
    """Make an MR of every CT in INPUT, on the CT's own grid."""
    from napari_ct2mri.app import show, workflows

    job = workflows.synthesize(
        path,
        output,
        model=model,
        contrast=contrast,
        window=window_from_flag(window),
        slices=slices_from_flag(slices),
        native=native,
        published=published,
        series=series,
        modality=modality,
        patient_data=not no_patient_data,
        spread=spread,
        device=device,
        engine=engine,
        precision=precision,
        cluster=workflows.pick_cluster(scheduler, workers),
    )
    show.outputs(run_in_terminal(job).outputs)


@app.command
def evaluate(
    pairs: Pairs,
    /,
    *,
    output: Annotated[Path, Parameter(help="The folder of the report.")],
    model: Model = None,
    predictions: Annotated[
        Path | None, Parameter(help="A folder that synthesize filled from the same pairs.csv.")
    ] = None,
    split: Split = "test",
    contrast: Annotated[str | None, Parameter(help="Only the rows of this one.")] = None,
    native: Native = False,
    published: Published = False,
    device: Device = "auto",
    engine: EngineFlag = "auto",
    precision: PrecisionFlag = "float",
    scheduler: SchedulerFlag = None,
    workers: WorkersFlag = None,
) -> None:
    """Measure predictions against real MR, and say whether the model has seen the patients."""
    from napari_ct2mri.app import show, workflows

    job = workflows.evaluate(
        pairs,
        output,
        model=model,
        predictions=predictions,
        split=split,
        contrast=contrast,
        native=native,
        published=published,
        device=device,
        engine=engine,
        precision=precision,
        cluster=workflows.pick_cluster(scheduler, workers),
    )
    show.evaluated(run_in_terminal(job))


@app.command
def models() -> None:
    """List the released models."""
    from napari_ct2mri.app import show
    from napari_ct2mri.pix2pix.zoo import models as released

    show.models(released())


@app.command
def export(
    model: Annotated[str, Parameter(help="A name that models lists, or a checkpoint.")],
    directory: Annotated[Path, Parameter(name="DIR", help="The C project; is made or replaced.")],
    /,
    *,
    calibration: Annotated[
        Path, Parameter(help="A pairs.csv, whose train rows show the range of every layer.")
    ],
    contrast: Annotated[str | None, Parameter(help="Of those the model makes.")] = None,
    size: Annotated[
        tuple[int, int] | None,
        Parameter(help="Height and width of a slice on the board; by default the model's frame."),
    ] = None,
    board: Board = "host",
    fps: Annotated[
        float | None, Parameter(help="Wished slices a second: say whether they are possible.")
    ] = None,
) -> None:
    """Quantize a model to 8 bits and write it as a C project, with its budget on a board."""
    from napari_ct2mri.app import show, workflows

    job = workflows.export(
        model, directory, calibration, contrast=contrast, size=size, board=board, fps=fps
    )
    show.exported(run_in_terminal(job))


@app.command
def build(
    directory: Annotated[Path, Parameter(name="DIR", help="What export wrote.")],
    /,
    *,
    board: Board,
) -> None:
    """Compile an exported project for a board."""
    from napari_ct2mri.app import show, workflows

    show.built(run_in_terminal(workflows.build(directory, board)))


@app.command
def boards() -> None:
    """List the boards: what each is and needs, and what of that is installed."""
    from napari_ct2mri.app import show
    from napari_ct2mri.firmware.boards import BOARDS

    show.boards(BOARDS.values())


@app.command
def board(
    *,
    board: Annotated[
        Literal["host", "qemu-vexpress-a9"], Parameter(help="Which; boards says what it needs.")
    ],
    project: Annotated[
        Path | None,
        Parameter(help="Run the firmware of this exported project; it is the same for all."),
    ] = None,
    store: Annotated[
        Path | None, Parameter(help="The folder that is its flash; by default in your cache.")
    ] = None,
) -> None:
    """Start a simulated board; its port is the first line. Ctrl-C ends it."""
    from napari_ct2mri.app import show, workflows

    folder = run_in_terminal(workflows.firmware_for(board, project))
    with asked_to_end() as wait, workflows.start_board(folder, board, store) as running:
        show.running(running)
        if not wait():
            raise FirmwareError(
                f"{running.port}: the board's process has ended by itself; start it again, its "
                "models are kept"
            )


@app.command
def ports(
    *,
    port: Annotated[str | None, Parameter(help="Ask the board there what it is.")] = None,
    baud: Baud = None,
) -> None:
    """List what is plugged in, with the likely board, and simulated boards that run."""
    from napari_ct2mri.app import show, workflows

    if port is None:
        return show.ports(workflows.ports())
    show.asked(run_in_terminal(workflows.ask_board(port, baud=baud)))


@app.command
def boot(
    directory: Annotated[
        Path | None,
        Parameter(name="DIR", help="What export wrote; the firmware is the same for all."),
    ] = None,
    /,
    *,
    port: Port,
) -> None:
    """Load the firmware into a C6748 that was just reset, by its boot ROM; then push."""
    from napari_ct2mri.app import show, workflows

    show.booted(run_in_terminal(workflows.boot(directory, port)), port)


@app.command
def push(
    directory: Annotated[Path, Parameter(name="DIR", help="What export wrote.")],
    /,
    *,
    port: Port,
    baud: Baud = None,
    board: ExpectedBoard = None,
) -> None:
    """Bring a model onto a board: only what it lacks, checked, its golden pair run."""
    from napari_ct2mri.app import show, workflows

    show.pushed(run_in_terminal(workflows.push(directory, port, baud=baud, board=board)))


@app.command
def run(
    path: Input,
    output: Output,
    /,
    *,
    port: Port,
    baud: Baud = None,
    board: ExpectedBoard = None,
    native: Native = False,
    series: SeriesFlag = None,
    modality: ModalityFlag = None,
    no_patient_data: NoPatientData = False,
) -> None:
    """Make an MR of every CT in INPUT, on a board, on the CT's own grid."""
    from napari_ct2mri.app import show, workflows

    job = workflows.run(
        path,
        output,
        port,
        baud=baud,
        board=board,
        native=native,
        series=series,
        modality=modality,
        patient_data=not no_patient_data,
    )
    show.ran(run_in_terminal(job))


@app.command
def monitor(
    *,
    port: Port,
    baud: Baud = None,
    board: ExpectedBoard = None,
    once: Annotated[bool, Parameter(help="Measure for a second, print, end.")] = False,
) -> None:
    """Keep a board busy with a simulated head: time a layer, slices a second, use of the line."""
    from napari_ct2mri.app import show, workflows

    job = workflows.monitor(port, baud=baud, board=board, once=once)
    if once:
        return show.board_stats(run_in_terminal(job))
    watch(job, show.board_view, show.board_line)


@app.command
def web(
    *,
    model: Model = None,
    port: Annotated[
        int | None, Parameter(help="Of this machine; by default 8501, or one that is free.")
    ] = None,
    no_browser: Annotated[bool, Parameter(help="Do not open the page.")] = False,
) -> None:
    """Show a sample, or an image of yours, on a page in the browser; its address is the first line.

    It is served to this machine alone, and nothing leaves it. Ctrl-C ends it.
    """
    from napari_ct2mri.app.web import serving

    with asked_to_end() as wait, serving(port, model, is_opened=not no_browser) as address:
        print(address, flush=True)
        if not wait():
            raise JobError(f"{address}: the page's server has ended by itself; start it again")


def _fail(text: str, code: int) -> int:
    print("ct2mri:", " ".join(text.split()), file=sys.stderr)
    return code


def _in_words(error: Exception) -> str:
    """One line for what was expected to go wrong, and for what was not."""
    if isinstance(error, PortError):
        return f"{error}; `ct2mri ports` shows what is where"
    if isinstance(error, Ct2MriError):
        return str(error)
    if isinstance(error, CycloptsError):
        return f"{error} `ct2mri --help` lists what there is."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'system'}: {error.strerror}"
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"

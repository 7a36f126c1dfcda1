"""Commands about boards: export, build, boot, push, run, watch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from napari_ct2mri.app.cli.arguments import (
    Baud,
    Board,
    ExpectedBoard,
    Input,
    ModalityFlag,
    Native,
    NoPatientData,
    Output,
    Port,
    SeriesFlag,
    app,
)
from napari_ct2mri.app.terminal import asked_to_end, run_in_terminal, watch
from napari_ct2mri.errors import ConfigError, FirmwareError


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

    if port is None and baud is not None:
        raise ConfigError("--baud is for asking the board at a --port; give that, too")
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

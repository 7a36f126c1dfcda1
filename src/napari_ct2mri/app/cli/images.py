"""Commands about images and models: read, pair, train, synthesize, measure, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from napari_ct2mri.app.cli.arguments import (
    Contrast,
    Device,
    EngineFlag,
    Input,
    ModalityFlag,
    Model,
    Native,
    NoPatientData,
    Output,
    Pairs,
    PrecisionFlag,
    Published,
    SchedulerFlag,
    SeriesFlag,
    Split,
    WorkersFlag,
    app,
)
from napari_ct2mri.app.flags import (
    config_from_flags,
    slices_from_flag,
    window_from_flag,
    with_config_flags,
)
from napari_ct2mri.app.terminal import asked_to_end, run_in_terminal
from napari_ct2mri.config import Preset
from napari_ct2mri.errors import JobError


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
    preset: Annotated[
        Preset | None, Parameter(help="Decides what no flag says. [default: default]")
    ] = None,
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

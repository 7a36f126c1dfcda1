"""``synthesize``: CT in, MR out, with a manifest that says which model made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from napari_ct2mri.app.workflows.cluster import FilesWritten, over
from napari_ct2mri.app.workflows.cluster_line import Cluster, at
from napari_ct2mri.app.workflows.engines import Engines, open_model
from napari_ct2mri.app.workflows.files import (
    Stack,
    check_choice,
    check_outputs,
    is_pair_list,
    pair_groups,
    pair_stacks,
    prediction_path,
    single_stack,
)
from napari_ct2mri.app.workflows.manifest import NAME as MANIFEST
from napari_ct2mri.app.workflows.manifest import Run, hashed, read_manifest, record_hashed
from napari_ct2mri.app.workflows.models import Model, load_model
from napari_ct2mri.disk import closed_to_files
from napari_ct2mri.errors import ConfigError, PairError
from napari_ct2mri.imaging.formats import VOLUME_ENDINGS
from napari_ct2mri.imaging.volume import Modality, Volume, axial_slices
from napari_ct2mri.jobs import Event, Job, Notice, heard

if TYPE_CHECKING:
    from napari_ct2mri.config import Window
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint
    from napari_ct2mri.pix2pix.engines import EngineName, Precision
    from napari_ct2mri.pix2pix.pairs import PairList

__all__ = ["Synthesized", "makeable", "synthesize", "synthesize_volume"]


@dataclass(frozen=True, slots=True)
class Synthesized:
    """The files that ``synthesize`` wrote, and by which model."""

    outputs: tuple[Path, ...]
    manifest: Path
    model: str
    slices: int


class _How(TypedDict):
    """What every way to run a model is told."""

    contrast: str
    native: bool
    window: Window | None
    slices: range | None


def synthesize(
    path: Path,
    output: Path,
    *,
    model: str | Path | None = None,
    contrast: str | None = None,
    native: bool = False,
    published: bool = False,
    window: Window | None = None,
    slices: range | None = None,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "float",
    series: str | None = None,
    modality: Modality | None = None,
    patient_data: bool = True,
    spread: Path | None = None,
    cluster: Cluster | None = None,
) -> Job[Synthesized]:
    """Make an MR of every CT in INPUT.

    Parameters
    ----------
    model : str or Path, optional
        A released model's name or a checkpoint; by default the default model.
    contrast : str, optional
        By default the model's first, or that of each row of a pair list.
    native : bool
        Leave the pixels as they are instead of bringing the head to the model's size.
    published : bool
        As Isola et al. ran it: statistics of the slice itself, dropout on.
    window : Window, optional
        In which HU are shown to a model that was trained on pictures.
    slices : range, optional
        Which axial slices of the one CT, the most inferior or a folder's first picture is 0.
    engine : EngineName
        What computes; ``auto`` takes the fastest that is installed.
    precision : "float" or "int8"
        In 8 bits faster, at a cost: docs/speed.md.
    patient_data : bool
        Whether DICOM belongs to the CT's patient and study; nothing else holds patient data.
    spread : Path, optional
        A volume to write: how far predictions of the CT and of its mirror image lie apart.
    cluster : Cluster, optional
        Where the patients of a pair list are worked on, at the same time; by default here, one
        after the other. Its workers see the same files under the same paths.

    Raises
    ------
    Ct2MriError
        If the input, the model or the contrast is wrong, before anything is written.
    """
    from napari_ct2mri.pix2pix.pairs import read_pairs

    if cluster is not None:  # its workers are in other folders
        path, output = path.absolute(), output.absolute()
        spread = spread.absolute() if spread else None
    if spread is not None:
        _check_spread(path, output, spread, published)
    if slices is not None:
        _check_slices(path, output)
    check_choice(path, series, modality)
    pairs = read_pairs(path) if is_pair_list(path) else None
    items: list[PairList | Path] = []
    with ExitStack() as last:
        if cluster is not None:
            last.callback(_sweep, output, items, contrast)
        place = last.enter_context(at(cluster))
        opened = open_model(model, engine, precision, device, place, published=published)
        found, engines = yield from opened
        _check_contrast(found, contrast, found.name)
        if pairs is None:
            items.append(path)
        else:
            check_outputs(pairs, output, contrast)
            pairs, left_out = makeable(pairs, found, contrast)
            if left_out:
                yield Notice(left_out)
            read_manifest(output)  # a damaged one is said before the work, not after it
            items += pair_groups(pairs, contrast)
        task = _Synthesis(
            output=output,
            model=found,
            engines=engines,
            contrast=contrast,
            native=native,
            published=published,
            window=window,
            slices=slices,
            series=series,
            modality=modality,
            patient_data=patient_data,
            spread=spread,
        )
        settings = {
            "contrast": contrast,
            "native": native,
            "published": published,
            "window": window.model_dump() if window else None,
            "slices": [slices.start, slices.stop] if slices else None,
            **engines.settings,
        }
        run = Run(model=found.name, digest=found.digest, settings=settings)

        def record(event: Event) -> None:  # at once, whatever comes later
            if isinstance(event, FilesWritten):
                record_hashed(event.folder, run, event.files)

        job = over(task, items, place, what="CTs", size=_size, read=task.read)
        written = yield from heard(job, record)
    outputs = [file for each in written for file, _ in each.files]
    if spread is not None:
        outputs.append(spread)
    slices_made = sum(each.slices for each in written)
    return Synthesized(tuple(outputs), written[-1].folder / MANIFEST, found.name, slices_made)


def _sweep(output: Path, items: Sequence[Path | PairList], contrast: str | None) -> None:
    """Remove what workers that were killed have left half-written."""
    from napari_ct2mri.imaging.writing import remove_leftovers

    for item in items:
        if isinstance(item, Path):
            remove_leftovers(output)
            continue
        for row in item.rows:
            file = prediction_path(output, row, contrast or row.contrast, False)
            remove_leftovers(file)
            remove_leftovers(file.parent)  # pictures come as a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Synthesis:
    """Reads INPUT, or the CTs of one patient and contrast; makes and writes their MR."""

    output: Path
    model: Model
    engines: Engines
    contrast: str | None
    native: bool
    published: bool
    window: Window | None
    slices: range | None
    series: str | None
    modality: Modality | None
    patient_data: bool
    spread: Path | None

    def read(self, item: Path | PairList) -> Iterator[Stack]:
        """Each CT, and where its MR goes."""
        if not isinstance(item, Path):
            yield from pair_stacks(item, self.output, self.contrast)
            return
        stack = single_stack(
            item, self.output, series=self.series, modality=self.modality, as_dicom=True
        )
        if self.slices is not None:
            part = stack.names[self.slices.start : self.slices.stop]
            stack = replace(stack, names=part)
        read_manifest(stack.folder)  # a damaged one is said before the work, not after it
        yield stack

    def __call__(self, stack: Stack) -> Job[FilesWritten]:
        """Make and write one MR; yield what was written as soon as it is true, and return it."""
        from napari_ct2mri.imaging.dicom_out import Derivation
        from napari_ct2mri.imaging.io import write_volume
        from napari_ct2mri.pix2pix.synthesis import as_synthetic

        for note in stack.volume.notes:
            yield Notice(note)
        made = stack.contrast or self.contrast or self.model.checkpoint.contrasts[0]
        ct = as_ct(stack.volume)
        job = self._run(ct, made)
        if stack.can_grow:
            part = axial_slices(ct, self.slices) if self.slices else ct
            nothing = np.broadcast_to(np.float32(0), part.data.shape)
            with stack.growing(as_synthetic(part, nothing, made)) as take:
                mr, apart = yield from heard(job, take)
        else:
            mr, apart = yield from job
            stack.write(mr, Derivation(self.model.name, made, self.patient_data))
        folder = self.output if stack.contrast else stack.folder
        written = FilesWritten(folder, hashed(stack.outputs), len(mr.data))
        yield written
        if self.spread is not None and apart is not None:
            write_volume(apart, self.spread)
        return written

    def _run(self, ct: Volume, contrast: str) -> Job[tuple[Volume, Volume | None]]:
        """The MR, and the spread if it was asked for."""
        from napari_ct2mri.pix2pix.synthesis import synthesize, synthesize_with_spread

        model, device = self.model.checkpoint, self.engines.device
        how = _How(contrast=contrast, native=self.native, window=self.window, slices=self.slices)
        if self.published:
            mr = yield from synthesize(ct, model, published=True, device=device, **how)
            return mr, None
        opened = yield from self.engines.open(model, contrast)
        if self.spread is None:
            return (yield from synthesize(ct, model, engine=opened, **how)), None
        return (yield from synthesize_with_spread(ct, model, engines=[opened], **how))


def _size(item: Path | PairList) -> int:
    return 1 if isinstance(item, Path) else len(item.rows)


def synthesize_volume(
    ct: Volume,
    *,
    model: str | Path | None = None,
    contrast: str | None = None,
    native: bool = False,
    window: Window | None = None,
    slices: range | None = None,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "float",
    spread: bool = False,
    further: Sequence[str | Path] = (),
) -> Job[Volume]:
    """Make an MR of a CT in memory, on the CT's own grid; for the viewer.

    Parameters
    ----------
    slices : range, optional
        Which axial slices; see :func:`synthesize`.
    engine, precision
        See :func:`synthesize`.
    spread : bool
        Also yield SpreadDone: how far apart several predictions lie.
    further : sequence of str or Path
        Models that take part in the spread.
    """
    from napari_ct2mri.pix2pix.synthesis import synthesize as run_model
    from napari_ct2mri.pix2pix.synthesis import synthesize_with_spread

    name, checkpoint = load_model(model)
    _check_contrast(checkpoint, contrast, name)
    made = contrast or checkpoint.contrasts[0]
    how = _How(contrast=made, native=native, window=window, slices=slices)
    others = []
    for other, more in map(load_model, further if spread else ()):
        _check_contrast(more, made, other)
        others.append(more)
    engines = Engines(engine, precision, device)
    opened = []
    for each in (checkpoint, *others):
        opened.append((yield from engines.open(each, made)))
    if not spread:
        return (yield from run_model(as_ct(ct), checkpoint, engine=opened[0], **how))
    mr, _ = yield from synthesize_with_spread(as_ct(ct), checkpoint, others, engines=opened, **how)
    return mr


def makeable(
    pairs: PairList, model: Model | Checkpoint, contrast: str | None = None
) -> tuple[PairList, str]:
    """The rows whose contrast the model makes (all, if asked for one that it makes).

    Returns
    -------
    (PairList, str)
        The rows, and a sentence on those that were left out, if any.

    Raises
    ------
    PairError
        If no row is left.
    """
    made = model.contrasts
    rows = tuple(row for row in pairs.rows if contrast or row.contrast in made)
    others = [c for c in pairs.contrasts if c not in made and not contrast]
    sentence = (
        f"{len(pairs.rows) - len(rows)} of {len(pairs.rows)} rows left out: the model makes "
        f"{', '.join(made)}, not {', '.join(others)}"
    )
    if not rows:
        raise PairError(f"{pairs.path}: {sentence}; choose another --model")
    return replace(pairs, rows=rows), sentence if others else ""


def as_ct(volume: Volume) -> Volume:
    """The same volume as a CT, where nothing says that it is another thing (pictures)."""
    is_ct = volume.modality == "unknown" and volume.unit != "arbitrary"
    return replace(volume, modality="CT") if is_ct else volume


def _check_spread(path: Path, output: Path, spread: Path, published: bool) -> None:
    """Say it before anything is read."""
    if is_pair_list(path):
        raise ConfigError("--spread is of one CT, not of a pairs.csv; synthesize one by one")
    if not spread.name.lower().endswith(VOLUME_ENDINGS):
        raise ConfigError(f"--spread {spread}: a name ends in {', '.join(VOLUME_ENDINGS)}")
    if published:
        raise ConfigError("--spread is of a model as it is used, not --published; leave one out")
    if spread.resolve() in (path.resolve(), output.resolve()):
        raise ConfigError(f"--spread {spread} is INPUT or OUTPUT; give it a name of its own")
    if spread.is_dir():
        raise ConfigError(f"--spread {spread} is a folder; give another name")
    if there := closed_to_files(spread.parent):
        raise ConfigError(
            f"--spread {spread} cannot be written: {there} takes no files; give another name"
        )


def _check_slices(path: Path, output: Path) -> None:
    """Say it before anything is read."""
    if is_pair_list(path):
        raise ConfigError("--slices are of one CT, not of a pairs.csv; synthesize one by one")
    if output.suffix.lower() == ".dcm":
        raise ConfigError(
            f"--slices: {output} would be a DICOM series, which has all slices of its CT; leave "
            "--slices out, or end the name in .nii.gz"
        )


def _check_contrast(checkpoint: Model | Checkpoint, contrast: str | None, name: str) -> None:
    """Say it before anything is read."""
    if contrast is not None and contrast not in checkpoint.contrasts:
        raise ConfigError(
            f"{name} does not make {contrast!r}; it makes {', '.join(checkpoint.contrasts)}"
        )

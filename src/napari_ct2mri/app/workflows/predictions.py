"""Where the MR to be measured comes from: a model that is run, or a folder of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.files import prediction_path
from napari_ct2mri.app.workflows.manifest import AS_PUBLISHED, Manifest, Run, read_manifest
from napari_ct2mri.app.workflows.models import Model
from napari_ct2mri.errors import CheckpointError, EvaluationError
from napari_ct2mri.evaluation import Label
from napari_ct2mri.jobs import Job, Progress

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.engines import Engines
    from napari_ct2mri.app.workflows.reference import Reference
    from napari_ct2mri.imaging.fingerprint import Fingerprint
    from napari_ct2mri.pix2pix.pairs import PairRow
    from napari_ct2mri.pix2pix.slices import PatientPair

__all__ = ["FolderPredictions", "ModelPredictions", "Predictions"]

Floats = NDArray[np.float32]


class Predictions(Protocol):
    """Synthetic MR of a patient, and what may be concluded from it."""

    name: str

    def predict(self, reference: Reference) -> Job[Floats]:
        """(n, h, w) in output units, one for each slice of ``reference``."""

    def label(self, reference: Reference) -> Label:
        """Whether the model has seen this patient."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The slices a model was trained on, and those that chose its best epoch."""

    trained_on: tuple[Fingerprint, ...]
    selected_on: tuple[Fingerprint, ...]

    def label(self, reference: Reference) -> Label:
        """One slice that is known marks the whole patient."""
        from napari_ct2mri.evaluation import label_of

        ct = reference.pair.ct  # all of it: another MR may have shown the head elsewhere
        return label_of(ct.data, ct.unit, self.trained_on, self.selected_on)


class ModelPredictions:
    """Runs a checkpoint on each patient, all its slices together."""

    def __init__(self, model: Model, engines: Engines, *, native: bool, published: bool) -> None:
        self.name = Path(model.name).stem + (AS_PUBLISHED if published else "")
        self._model, self._engines = model, engines
        self._native, self._published = native, published

    def predict(self, reference: Reference) -> Job[Floats]:
        """Synthesize, and keep the slices that can be measured."""
        from napari_ct2mri.pix2pix.synthesis import synthesize

        contrast, engine = reference.pair.contrast, None
        if not self._published:
            engine = yield from self._engines.open(self._model.checkpoint, contrast)
        mr = yield from synthesize(
            reference.pair.ct,
            self._model.checkpoint,
            contrast=contrast,
            native=self._native,
            published=self._published,
            engine=engine,
            device=self._engines.device,
        )
        return mr.data[reference.slices].astype(np.float32, copy=False)

    def label(self, reference: Reference) -> Label:
        """By the checkpoint's own lists."""
        model = self._model.checkpoint
        return Seen(model.trained_on, model.selected_on).label(reference)


class FolderPredictions:
    """Reads ``FOLDER/<contrast>/<patient>/<ct file stem>`` and asks its manifest who made it.

    Parameters
    ----------
    folder : Path
    rows : sequence of PairRow
        Of which predictions are read.

    Attributes
    ----------
    notes : list of str
        How the models ran that made them, as sentences, where that is unusual.
    doubts : list of str
        Why labels are unknown, as sentences.
    """

    def __init__(self, folder: Path, rows: Sequence[PairRow]) -> None:
        if not folder.is_dir():
            raise EvaluationError(f"{folder}: no such folder of predictions")
        self._folder = folder
        self._manifest = read_manifest(folder)
        self._known, self.doubts = _models_of(self._manifest, folder)
        runs = _runs_for(self._manifest, folder, rows) if self._manifest else []
        names = {run.name for run in runs}
        self.name = names.pop() if len(names) == 1 else folder.name
        self.notes = _notes_on(runs, folder)

    def predict(self, reference: Reference) -> Job[Floats]:
        """Read the files of one patient."""
        pair = reference.pair
        stacks = [self._read(row, pair) for row in _rows(reference)]
        yield Progress(len(stacks), len(stacks), "predictions read")
        if pair.ct.is_picture:
            return np.concatenate(stacks)
        return stacks[0][reference.slices]

    def label(self, reference: Reference) -> Label:
        """By the lists of the one model that made every file of this patient."""
        paths = {self._path(row, reference.pair) for row in _rows(reference)}
        makers = {self._maker(path) for path in paths}
        seen = self._known.get(makers.pop()) if len(makers) == 1 else None
        return seen.label(reference) if seen else "unknown"

    def _maker(self, path: Path) -> str:
        """The digest of the lists of the model that made a file; empty if unknown."""
        run = self._manifest.maker(self._folder, path) if self._manifest else None
        return run.digest if run else ""

    def _path(self, row: PairRow, pair: PatientPair) -> Path:
        return prediction_path(self._folder, row, pair.contrast, pair.ct.is_picture)

    def _read(self, row: PairRow, pair: PatientPair) -> Floats:
        """(n, h, w), on closest axes as the pair is."""
        from napari_ct2mri.imaging.io import read_volume
        from napari_ct2mri.imaging.volume import closest_axes, difference

        path = self._path(row, pair)
        if not path.exists():
            raise EvaluationError(
                f"{path}: no prediction for line {row.line} of the pair list; synthesize it into "
                f"{self._folder}, or choose --split and --contrast so that it is left out"
            )
        volume, _ = closest_axes(read_volume(path, modality="MR"))
        if not pair.ct.is_picture and (found := difference(pair.ct, volume)):
            raise EvaluationError(
                f"{path}: it and the CT of line {row.line} differ in {found}; resample it onto "
                "the CT"
            )
        size, expected = (each.data.shape[1:] for each in (volume, pair.ct))
        if size != expected:  # of a picture
            raise EvaluationError(
                f"{path}: {size[0]} x {size[1]} pixels, expected {expected[0]} x {expected[1]} as "
                f"the CT of line {row.line} has; resize it, or synthesize it anew"
            )
        return volume.data.astype(np.float32)


def _runs_for(manifest: Manifest, folder: Path, rows: Sequence[PairRow]) -> list[Run]:
    """Those that wrote a prediction of any of ``rows``."""
    files = {
        prediction_path(folder, row, row.contrast, is_picture).relative_to(folder).as_posix()
        for row in rows
        for is_picture in (True, False)
    }
    return [run for run in manifest.runs if not files.isdisjoint(run.files)]


def _notes_on(runs: Sequence[Run], folder: Path) -> list[str]:
    """How all of them ran; where they differ, what each did."""
    ways = list(dict.fromkeys((run.name, run.remarks) for run in runs))
    if len(ways) <= 1:
        return [remark for _, remarks in ways for remark in remarks]
    several = (name + (f" ({'; '.join(remarks)})" if remarks else "") for name, remarks in ways)
    return [f"{folder} is from runs with different settings: {'; '.join(several)}"]


def _models_of(manifest: Manifest | None, folder: Path) -> tuple[dict[str, Seen], list[str]]:
    """What each run's model has seen, by digest, where its checkpoint is still the same."""
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint, read_header
    from napari_ct2mri.pix2pix.zoo import find_model

    if manifest is None:
        return {}, [f"{folder} has no manifest.json, so who made its files is unknown"]
    known: dict[str, Seen] = {}
    doubts: list[str] = []
    for run in manifest.runs:
        try:
            model = Checkpoint(read_header(find_model(run.checkpoint(folder))), {})
        except CheckpointError as error:
            doubts.append(f"the model of {folder} cannot be asked whom it has seen: {error}")
            continue
        if model.digest == run.digest:
            known[run.digest] = Seen(model.trained_on, model.selected_on)
        else:
            doubts.append(f"{run.model} was trained again since it made {folder}")
    return known, doubts


def _rows(reference: Reference) -> Sequence[PairRow]:
    """The row of each slice that can be measured; the one row of a volume."""
    rows = reference.pair.rows
    return [rows[i] for i in reference.slices] if reference.pair.ct.is_picture else rows

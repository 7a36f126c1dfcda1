"""The pairs of a viewer: one list, which Register & pair fills and Train reads. No Qt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary, ref

from napari_ct2mri.errors import PairError
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.widgets.layers import (
    check_one_grid,
    is_as_read,
    layer_origin,
    layer_to_shown,
    layer_to_volume,
)
from napari_ct2mri.widgets.placing import check_kinds
from napari_ct2mri.widgets.tasks import PairEntry

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer
    from napari.utils.events import Event

    from napari_ct2mri.pix2pix.pairs import PairRow, Split

__all__ = ["REGISTERED", "LayerPair", "LayerPairs", "file_of", "in_no_file", "pairs_of"]

REGISTERED = "ct2mri-registered"
"""Under which the ``metadata`` of a registered MR's layer holds its Registration. Its voxels are
in no file, though the layer names the one that they came from."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerPair:
    """A row whose images are layers."""

    ct: Layer
    mr: Layer
    patient: str
    contrast: str
    split: Split

    @property
    def layers(self) -> tuple[Layer, Layer]:
        """Both."""
        return self.ct, self.mr


Pair: TypeAlias = "LayerPair | PairRow"


class LayerPairs:
    """Rows of layers or files, as ``pairs.csv`` has them; follows the layers of its viewer.

    ``changed`` is emitted after every change; its event has ``words`` where the list changed by
    itself.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        from napari.utils.events import EventEmitter

        self.changed = EventEmitter(source=None, type_name="changed")
        self._rows: list[Pair] = []
        # of rows of files, by their ``id``: the layers that were written to them
        self._written: dict[int, tuple[ref[Layer], ref[Layer]]] = {}
        viewer.layers.events.removed.connect(self._follow_removed)
        viewer.layers.events.renamed.connect(self._follow_renamed)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._rows)

    @property
    def summary(self) -> str:
        """How many there are of what: ``3 pairs of 2 patients (T2): 2 train, 1 val``."""
        if not self._rows:
            return "no pairs yet"
        splits = Counter(pair.split for pair in self._rows)
        patients = len({pair.patient for pair in self._rows})
        return (
            f"{_count(len(self._rows), 'pair')} of {_count(patients, 'patient')} "
            f"({', '.join(self.contrasts)}): "
            + ", ".join(f"{splits[s]} {s}" for s in ("train", "val", "test") if splits[s])
        )

    @property
    def contrasts(self) -> tuple[str, ...]:
        """In the order in which they came."""
        return tuple(dict.fromkeys(pair.contrast for pair in self._rows))

    def add_layers(self, ct: Layer, mr: Layer, patient: str, contrast: str, split: Split) -> None:
        """Add a CT and an MR that lie on one grid.

        Raises
        ------
        PairError, VolumeError
            If they are no such pair, a name is missing, the pair is there already, or its
            patient stands in another split.
        """
        check_kinds(ct, mr)
        if not patient or not contrast:
            raise PairError("a pair needs a patient's name and a contrast; fill in both")
        check_one_grid(
            {
                f"CT {ct.name!r}": layer_to_shown(ct, "CT"),
                f"MR {mr.name!r}": layer_to_shown(mr, "MR"),
            }
        )
        self._append(LayerPair(ct, mr, patient, contrast, split))
        self.changed()

    def fill(self, rows: Iterable[PairRow]) -> None:
        """Take the rows of a file instead of what was there."""
        self._keep(rows)
        self.changed()

    def replace(self, before: Sequence[Pair], after: Sequence[PairRow]) -> bool:
        """Put rows of files in the places of those that were written to them.

        A row that is gone stays away, and one that came stays as it is.

        Returns
        -------
        bool
            Whether the list is now the file's.

        Raises
        ------
        PairError
            If the file has other rows than were written.
        """
        if len(before) != len(after):
            raise PairError(
                f"{_count(len(before), 'pair')} saved, but {_count(len(after), 'pair')} in the "
                "file now: another program wrote it. Open it to see what it holds"
            )
        instead: dict[int, Pair] = {}
        for old, new in zip(before, after, strict=True):
            instead[id(old)] = new
            if isinstance(old, LayerPair):
                self._written[id(new)] = (ref(old.ct), ref(old.mr))
            elif id(old) in self._written:
                self._written[id(new)] = self._written[id(old)]
        self._keep([instead.get(id(pair), pair) for pair in self._rows])
        self.changed()
        return list(map(id, self._rows)) == list(map(id, after))

    def remove(self, places: Iterable[int]) -> None:
        """Take rows out, by their places from 0."""
        gone = set(places)
        self._keep(pair for i, pair in enumerate(self._rows) if i not in gone)
        self.changed()

    def entries(self) -> list[PairEntry]:
        """The rows, ready for a child process; layers that stand in no file become volumes.

        Raises
        ------
        PairError, VolumeError
            If there is no row, or a layer is no grey image.
        """
        if not self._rows:
            raise PairError(
                "the table of pairs is empty; choose a CT and an MR in Register & pair and add them"
            )
        return [_entry(pair) for pair in self._rows]

    def _append(self, pair: LayerPair) -> None:
        files = _files(pair)
        for other in self._rows:
            if other.patient == pair.patient and other.split != pair.split:
                raise PairError(
                    f"patient {pair.patient!r} stands in {other.split} and cannot stand in "
                    f"{pair.split} too; keep all pairs of a patient in one split"
                )
            if self._is_of(other, pair, files):
                raise PairError(
                    f"{pair.ct.name!r} and {pair.mr.name!r} are in the table already; remove that "
                    "row first to change it"
                )
        self._rows.append(pair)

    def _keep(self, rows: Iterable[Pair]) -> None:
        self._rows = list(rows)
        there = set(map(id, self._rows))
        self._written = {key: layers for key, layers in self._written.items() if key in there}

    def _is_of(self, row: Pair, pair: LayerPair, files: _Files | None) -> bool:
        """Whether a row holds the images of a pair: its layers, or the files that they are in."""
        if isinstance(row, LayerPair):
            return row.layers == pair.layers
        if self._written.get(id(row)) == (ref(pair.ct), ref(pair.mr)):
            return True
        return files is not None and files.are_of(row)

    def _follow_removed(self, event: Event) -> None:
        layer = event.value
        kept = [p for p in self._rows if not isinstance(p, LayerPair) or layer not in p.layers]
        if gone := len(self._rows) - len(kept):
            self._keep(kept)
            self.changed(
                words=f"layer {layer.name!r} was removed, and with it {_count(gone, 'pair')}"
            )

    def _follow_renamed(self, event: Event) -> None:
        self.changed()


_OF: WeakKeyDictionary[napari.viewer.Viewer, LayerPairs] = WeakKeyDictionary()


def pairs_of(viewer: napari.viewer.Viewer) -> LayerPairs:
    """The one list of a viewer; it ends with the viewer."""
    if viewer not in _OF:
        _OF[viewer] = LayerPairs(viewer)
    return _OF[viewer]


def file_of(layer: Layer, modality: Modality) -> tuple[Path, str] | None:
    """The file and series that a layer came from, if it is still as it was read."""
    origin = layer_origin(layer)
    if origin is None or not is_as_read(layer) or REGISTERED in layer.metadata:
        return None
    path = Path(origin.source.path)
    if not origin.source.path or not path.exists() or origin.modality != modality:
        return None
    return path.absolute(), origin.source.series_uid


def in_no_file(ct: Layer, *mrs: Layer) -> str:
    """Which of these layers no command line can name, and what to do; empty if it can name all."""
    kinds: list[tuple[Layer, Modality]] = [(ct, "CT"), *((mr, "MR") for mr in mrs)]
    names = [f"layer {layer.name!r}" for layer, kind in kinds if file_of(layer, kind) is None]
    if not names:
        return ""
    is_one = len(names) == 1
    return (
        f"{' and '.join(names)} {'is' if is_one else 'are'} in no file as used here; save "
        f"{'it' if is_one else 'them'} and open what was saved"
    )


@dataclass(frozen=True, slots=True)
class _Files:
    """What the layers of a pair were read from, and still show; ``series`` is the CT's."""

    ct: Path
    mr: Path
    series: str

    def are_of(self, row: PairRow) -> bool:
        """Whether a row names them; it may name a part of the series."""
        is_series = self.series.startswith(row.series) or self.series.endswith(row.series)
        return is_series and (self.ct, self.mr) == (row.ct.resolve(), row.mr.resolve())


def _files(pair: LayerPair) -> _Files | None:
    ct, mr = file_of(pair.ct, "CT"), file_of(pair.mr, "MR")
    if ct is None or mr is None or mr[1]:  # a pair list names the series of the CT alone
        return None
    return _Files(ct[0].resolve(), mr[0].resolve(), ct[1])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _entry(pair: Pair) -> PairEntry:
    if not isinstance(pair, LayerPair):
        return PairEntry(
            pair.ct, pair.mr, pair.patient, pair.contrast, pair.split, pair.slice_index, pair.series
        )
    ct, series = _image(pair.ct, "CT")
    mr, mr_series = _image(pair.mr, "MR")
    if mr_series:  # a pair list names the series of the CT alone
        mr = layer_to_volume(pair.mr, "MR")
    return PairEntry(ct, mr, pair.patient, pair.contrast, pair.split, series=series)


def _image(layer: Layer, modality: Modality) -> tuple[Path | Volume, str]:
    """The file and series that a layer came from, else its volume."""
    return file_of(layer, modality) or (layer_to_volume(layer, modality), "")

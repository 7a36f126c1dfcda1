"""What a command reads and where it writes: one rule for every kind of INPUT and OUTPUT.

INPUT is a volume in any format, one picture, a folder of pictures or a ``pairs.csv`` (its CT
column). OUTPUT takes its format from its ending; ``.dcm``, for the synthetic MR of a DICOM CT,
makes a new folder of DICOM slices; for a folder of pictures it is a folder with the same names; for
a pair list it is ``OUTPUT/<contrast>/<patient>/<ct file stem>`` with ``.png`` for pictures and
``.nii.gz`` for volumes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import ConfigError, ImageError, PairError
from napari_ct2mri.imaging.formats import DICOM_ENDING, VOLUME_ENDINGS
from napari_ct2mri.imaging.volume import Modality, Volume, closest_axes
from napari_ct2mri.jobs import Event, SlicesDone

if TYPE_CHECKING:
    from napari_ct2mri.imaging.dicom_out import Derivation
    from napari_ct2mri.pix2pix.pairs import PairList, PairRow

__all__ = [
    "Stack",
    "check_choice",
    "check_outputs",
    "is_pair_list",
    "new_folder",
    "pair_groups",
    "pair_stacks",
    "prediction_path",
    "single_stack",
    "stem",
]

_PICTURE_ENDINGS = (".png", ".tif", ".tiff")
_SAFE_NAME = re.compile(r"[^\0/\\:*?\"<>|]{1,200}")


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices of one head, read together, and where what is made of them goes.

    Attributes
    ----------
    volume : Volume
    target : Path
        The file to write, or the folder of the pictures ``names``.
    names : tuple of str
        One file name a slice, of pictures or DICOM; empty where ``target`` is the file.
    contrast : str or None
        What the pair list asks for; ``None`` without one.
    """

    volume: Volume
    target: Path
    names: tuple[str, ...] = ()
    contrast: str | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that :meth:`write` writes."""
        return tuple(self.target / name for name in self.names) or (self.target,)

    @property
    def folder(self) -> Path:
        """In which the pictures or the file lie; beside a DICOM series, which stays alone."""
        is_folder = self.names and not _is_dicom_name(self.target)
        return self.target if is_folder else self.target.parent

    @property
    def can_grow(self) -> bool:
        """Whether :meth:`growing` is for it: one volume file, and slices in their order."""
        is_volume_file = not self.names and self.target.name.lower().endswith(VOLUME_ENDINGS)
        return is_volume_file and closest_axes(self.volume)[1].keeps_slices

    def write(self, volume: Volume, derivation: Derivation | None = None) -> None:
        """Write what was made of this stack; each file appears whole or not at all."""
        from napari_ct2mri.imaging.io import write_volume

        with new_folder(self.folder):
            write_volume(volume, self.target, names=self.names or None, derivation=derivation)

    @contextmanager
    def growing(self, like: Volume) -> Iterator[Callable[[Event], None]]:
        """Write slices while others are made; the file appears at the end of the block, whole.

        Parameters
        ----------
        like : Volume
            What will be made, but for its values.

        Yields
        ------
        callable
            Takes the events of the job that makes it.
        """
        from napari_ct2mri.imaging.io import growing_volume

        order = closest_axes(self.volume)[1]
        with new_folder(self.folder), growing_volume(self.target, like) as put:

            def take(event: Event) -> None:
                if isinstance(event, SlicesDone):
                    put(order.undo(event.slices))

            yield take


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make ``folder`` with its parents; after an error, those that are empty go again."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # one holds something: it and those above it stay
            for path in missing:
                path.rmdir()
        raise


def check_choice(path: Path, series: str | None, modality: Modality | None) -> None:
    """Refuse to choose of a pair list what is chosen of one CT.

    Raises
    ------
    ConfigError
        If it was.
    """
    if is_pair_list(path) and (series is not None or modality is not None):
        raise ConfigError(
            "--series and --modality are of one image, not of a pairs.csv, whose columns say it"
        )


def is_pair_list(path: Path) -> bool:
    """Whether INPUT is a ``pairs.csv``."""
    return path.suffix.lower() == ".csv"


def single_stack(
    path: Path,
    output: Path,
    *,
    series: str | None = None,
    modality: Modality | None = None,
    as_dicom: bool = False,
) -> Stack:
    """One volume, one picture, or a folder of pictures.

    Parameters
    ----------
    as_dicom : bool
        Whether what is made may go to a folder of DICOM slices, if ``output`` names one.

    Raises
    ------
    ImageError
        If ``path`` is no image, or ``output`` cannot hold what is made of it.
    """
    from napari_ct2mri.imaging.io import picture_files, read_volume

    if output.resolve() == path.resolve():
        raise ImageError(f"{output}: OUTPUT would overwrite INPUT; give another name")
    if _is_dicom_name(output):
        return _dicom_stack(path, output, series, modality, as_dicom)
    is_file = _is_file_name(output)
    volume = read_volume(path, series=series, modality=modality)
    _check_fits(volume, output, is_file)
    read = [Path(volume.source.path), *volume.source.slices.files]
    if is_file:
        stack = Stack(volume, output)
    else:
        pictures = picture_files(path) if path.is_dir() else (path,)
        names = [file.stem for file in pictures]
        if len(set(names)) != len(volume.data):  # pages of a TIFF, or 1.png beside 1.jpg
            names = [f"slice_{i:04d}" for i in range(1, len(volume.data) + 1)]
        stack = Stack(volume, output, tuple(f"{name}.png" for name in names))
        read += pictures
    _check_apart(stack.outputs, read)
    return stack


def _check_apart(outputs: Iterable[Path], read: Iterable[Path]) -> None:
    """Refuse to write where something was read, or where another file's voxels may lie."""
    inputs = {file.resolve() for file in read}
    for output in outputs:
        if output.resolve() in inputs:
            raise ImageError(f"{output}: OUTPUT would overwrite INPUT; give another name")
        voxels = output.with_suffix(".raw")
        if output.suffix.lower() == ".mhd" and voxels.exists() and not output.exists():
            raise ImageError(
                f"{output}: its voxels would overwrite {voxels.name}, which is there already, "
                "perhaps of another header; give another name, or end it in .mha"
            )


def _dicom_stack(
    path: Path, output: Path, series: str | None, modality: Modality | None, as_dicom: bool
) -> Stack:
    """A CT whose synthetic MR goes to a new folder of DICOM slices."""
    from napari_ct2mri.imaging.dicom_out import check_dicom, check_new, slice_names
    from napari_ct2mri.imaging.io import read_volume

    if not as_dicom:
        raise ImageError(
            f"{output}: only synthesize writes DICOM; end the name in {', '.join(VOLUME_ENDINGS)}"
        )
    check_new(output)
    volume = read_volume(path, series=series, modality=modality)
    check_dicom(volume, output)
    return Stack(volume, output, slice_names(len(volume.data)))


def pair_stacks(pairs: PairList, output: Path, contrast: str | None = None) -> Iterator[Stack]:
    """The CT column of a pair list, patient by patient, each file once a contrast.

    Pictures of one patient come as one stack, so that they share one head size. With
    ``contrast`` every CT of the list is taken for that contrast, whatever its row says.
    """
    if _is_dicom_name(output):
        raise ImageError(
            f"{output}: for a pairs.csv OUTPUT is a folder of .nii.gz and .png, not of DICOM; give "
            "another name, or synthesize its CTs one by one"
        )
    check_outputs(pairs, output, contrast)
    for (wanted, _), rows in _by_output(pairs, contrast).items():
        for rows_, volume in _read_stacks(pairs, rows):
            paths = [prediction_path(output, row, wanted, volume.is_picture) for row in rows_]
            if volume.is_picture:
                names = tuple(path.name for path in paths)
                yield Stack(volume, paths[0].parent, names, wanted)
            else:
                yield Stack(volume, paths[0], contrast=wanted)


def pair_groups(pairs: PairList, contrast: str | None = None) -> list[PairList]:
    """The rows of each patient and contrast, from which :func:`pair_stacks` makes the same."""
    return [replace(pairs, rows=rows) for rows in _by_output(pairs, contrast).values()]


def check_outputs(pairs: PairList, output: Path, contrast: str | None = None) -> None:
    """Say of a whole pair list what is wrong with where :func:`pair_stacks` would write.

    Raises
    ------
    PairError
        If a name cannot be a folder, two results or a result and an image of the list would be
        one file.
    """
    images = {file.resolve(): row.line for row in pairs.rows for file in (row.ct, row.mr)}
    for (wanted, patient), rows in _by_output(pairs, contrast).items():
        _check_stems(pairs, rows, patient)
        for row in rows:
            for is_picture in (False, True):
                path = prediction_path(output, row, wanted, is_picture)
                if line := images.get(path.resolve()):
                    raise PairError(
                        f"{pairs.path}, line {row.line}: {path} would overwrite an image of the "
                        f"list (line {line}); give another OUTPUT"
                    )


def prediction_path(folder: Path, row: PairRow, contrast: str, is_picture: bool) -> Path:
    """Where the prediction of one row lies.

    Raises
    ------
    PairError
        If the patient's or the contrast's name cannot be a folder.
    """
    for what, name in (("patient", row.patient), ("contrast", contrast)):
        if not _SAFE_NAME.fullmatch(name) or name.strip(". ") != name:
            raise PairError(f"line {row.line}: {what} {name!r} cannot name a folder; rename it")
    return folder / contrast / row.patient / (stem(row.ct) + (".png" if is_picture else ".nii.gz"))


def _by_output(pairs: PairList, contrast: str | None) -> dict[tuple[str, str], tuple[PairRow, ...]]:
    """Rows by (contrast, patient), each CT file once."""
    groups: dict[tuple[str, str], dict[Path, PairRow]] = defaultdict(dict)
    for (patient, own), rows in pairs.by_patient().items():
        for row in rows:
            groups[contrast or own, patient].setdefault(row.ct, row)
    return {key: tuple(rows.values()) for key, rows in groups.items()}


def _check_stems(pairs: PairList, rows: Iterable[PairRow], patient: str) -> None:
    """Refuse rows whose predictions would overwrite each other."""
    lines: dict[str, int] = {}
    for row in rows:
        other = lines.setdefault(stem(row.ct), row.line)
        if other != row.line:
            raise PairError(
                f"{pairs.path}: lines {other} and {row.line} of patient {patient!r} have CT files "
                f"of one name, {stem(row.ct)!r}, so their results would overwrite each other; "
                "rename one"
            )


def _read_stacks(
    pairs: PairList, rows: Iterable[PairRow]
) -> Iterator[tuple[tuple[PairRow, ...], Volume]]:
    """Volumes one by one; pictures of one shape together, in the order of the rows."""
    import numpy as np

    from napari_ct2mri.imaging.io import read_volume

    pictures: dict[tuple[int, ...], list[tuple[PairRow, Volume]]] = defaultdict(list)
    for row in rows:
        try:
            volume = read_volume(row.ct, series=row.series or None, modality="CT")
        except ImageError as error:
            raise PairError(f"{pairs.path}, line {row.line}: {error}") from error
        if volume.is_picture:
            pictures[volume.data.shape].append((row, volume))
        else:
            yield (row,), volume
    for group in pictures.values():
        data = np.concatenate([volume.data for _, volume in group])
        yield tuple(row for row, _ in group), replace(group[0][1], data=data)


def _is_dicom_name(output: Path) -> bool:
    return output.suffix.lower() == DICOM_ENDING


def _is_file_name(output: Path) -> bool:
    """Whether OUTPUT names a file and not a folder; asked before anything long is done."""
    if output.is_dir() or not output.suffix:
        return False
    if output.name.lower().endswith((*VOLUME_ENDINGS, *_PICTURE_ENDINGS)):
        return True
    raise ImageError(
        f"{output}: unknown ending {output.suffix!r}; expected a folder or one of "
        f"{', '.join((*VOLUME_ENDINGS, DICOM_ENDING, *_PICTURE_ENDINGS))}"
    )


def _check_fits(volume: Volume, output: Path, is_file: bool) -> None:
    """Say that OUTPUT cannot hold what is made of INPUT before it is made."""
    if is_file and output.name.lower().endswith(VOLUME_ENDINGS):
        return
    if not volume.is_picture:
        raise ImageError(
            f"{output}: pictures cannot hold what is made of a volume; end the name in "
            f"{', '.join(VOLUME_ENDINGS)}, or {DICOM_ENDING} for the MR of a DICOM CT"
        )
    if is_file and len(volume.data) > 1:
        raise ImageError(
            f"{output}: one picture cannot hold {len(volume.data)} slices; give a folder, or a "
            f"name that ends in {', '.join(VOLUME_ENDINGS)}"
        )


def stem(path: Path) -> str:
    """A file's name without its ending, a folder's with what looks like one."""
    for ending in VOLUME_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name if path.is_dir() else path.stem

"""The npe2 contributions without a panel: reader, writer and sample data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.formats import DICOM_ENDING, VOLUME_ENDINGS
from napari_ct2mri.widgets.layers import (
    KEY,
    LayerData,
    data_to_volume,
    slices_made,
    volume_to_layer_data,
)

__all__ = [
    "get_reader",
    "layer_name",
    "read_layers",
    "sample_head",
    "write_image",
]

_LISTED = 12


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """The reader of ``path``, or None if it is for others.

    Folders and files without an ending are taken only when they hold DICOM or a volume:
    pictures stay napari's own.
    """
    paths = [Path(p) for p in ([path] if isinstance(path, str) else path)]
    if all(_is_ours(p) for p in paths):
        return lambda _: _read(paths)
    return None


def read_layers(path: Path) -> list[LayerData]:
    """Read the one volume that ``path`` holds as a layer.

    Raises
    ------
    ImageError
        If there is none or it is damaged; if there are several, with the list of them.
    """
    from napari_ct2mri.imaging.io import find
    from napari_ct2mri.imaging.series import pick

    found = find(path)
    series = [one for one, _ in found]
    usable = [one for one in series if not one.refusal]
    if len(usable) > 1:
        more = f"; and {len(usable) - _LISTED} more" if len(usable) > _LISTED else ""
        raise ImageError(
            f"{path}: holds several series; choose one with the Load panel: "
            f"{'; '.join(map(str, usable[:_LISTED]))}{more}"
        )
    _, read = found[pick(series, None, path)]
    return [volume_to_layer_data(read(None), layer_name(path))]


def _read(paths: Sequence[Path]) -> list[LayerData]:
    """The layers of each path; DICOM files are slices, of as few volumes as they make."""
    slices = [path for path in paths if path.is_file() and _is_dicom(path)]
    if len(slices) < 2:
        return [layer for path in paths for layer in read_layers(path)]
    together = set(slices)
    others = (path for path in paths if path not in together)
    return [*_read_slices(slices), *(layer for path in others for layer in read_layers(path))]


def _read_slices(files: Sequence[Path]) -> list[LayerData]:
    from napari_ct2mri.imaging.io import find

    found = find(*files)
    usable = [(series, read) for series, read in found if not series.refusal]
    folder = layer_name(files[0].parent)
    return [
        volume_to_layer_data(
            read(None), folder if len(usable) == 1 else f"{folder} · {series.description}"
        )
        for series, read in usable or found  # of refused ones the first says why
    ]


def write_image(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write one image layer on its exact grid; voxels as they are, whatever is shown.

    A path that ends in ``.dcm`` is a new folder for a series, of a synthetic MR alone; whether it
    belongs to the patient, :mod:`~napari_ct2mri.widgets.patient_data` says.

    Raises
    ------
    ImageError
        If slices of it are not made yet: they would be black for good.
    """
    from napari_ct2mri.imaging.dicom_out import Derivation
    from napari_ct2mri.imaging.io import write_volume

    metadata = attributes.get("metadata") or {}
    if (there := slices_made(metadata, len(data))) < len(data):
        raise ImageError(
            f"{path}: {there} of the layer's {len(data)} slices are made so far, the others would "
            "be black; let Synthesize finish, or press All slices in the Board panel"
        )
    origin = metadata.get(KEY)
    made = None
    if origin and origin.model and Path(path).suffix.lower() == DICOM_ENDING:
        from napari_ct2mri.widgets.patient_data import patient_data  # the one part with Qt

        made = Derivation(origin.model, origin.contrast, patient_data().is_wanted)
    write_volume(data_to_volume(data, attributes), Path(path), derivation=made)
    return [path]


def sample_head() -> list[LayerData]:
    """A simulated head: CT and T2 on one grid."""
    from napari_ct2mri.imaging.phantom import sample_pair

    ct, mr = sample_pair()
    return [
        volume_to_layer_data(mr, "simulated T2"),
        volume_to_layer_data(ct, "simulated CT"),
    ]


def layer_name(path: Path) -> str:
    """The file's or folder's name without its ending."""
    for ending in VOLUME_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name if path.is_dir() else path.stem or path.name


def _is_ours(path: Path) -> bool:
    if path.name.lower().endswith((*VOLUME_ENDINGS, DICOM_ENDING)):
        return True
    return _holds_volume(path) if path.is_dir() else _is_dicom(path)


def _holds_volume(folder: Path) -> bool:
    from napari_ct2mri.imaging.io import scan

    try:
        return any(series.kind not in ("picture", "pictures") for series in scan(folder))
    except ImageError:
        return False


def _is_dicom(path: Path) -> bool:
    from napari_ct2mri.imaging.dicom_header import is_dicom

    return is_dicom(path)

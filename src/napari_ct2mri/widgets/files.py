"""The npe2 contributions without a panel: reader, writer and sample data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ct2mri.widgets.layers import (
    KEY,
    LayerData,
    data_to_volume,
    layer_origin,
    volume_to_layer_data,
)

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = [
    "get_reader",
    "layer_name",
    "read_layers",
    "sample_head",
    "set_patient_data",
    "write_image",
]

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """The reader of ``path``, or None if it is for others.

    Folders and files without an ending are taken only when they hold DICOM or a volume:
    pictures stay napari's own.
    """
    paths = [Path(p) for p in ([path] if isinstance(path, str) else path)]
    if all(_is_ours(p) for p in paths):
        return lambda _: [layer for p in paths for layer in read_layers(p)]
    return None


def read_layers(path: Path) -> list[LayerData]:
    """Read the one volume that ``path`` holds as a layer.

    Raises
    ------
    ImageError
        If there is none or it is damaged; if there are several, with the list of them.
    """
    from napari_ct2mri.imaging.io import read_volume

    volume = read_volume(path)
    return [volume_to_layer_data(volume, layer_name(path))]


def write_image(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write one image layer on its exact grid; voxels as they are, whatever is shown.

    A path that ends in ``.dcm`` is a new folder for a series, of a synthetic MR alone; whether it
    belongs to the patient, :func:`set_patient_data` says.
    """
    from napari_ct2mri.imaging.dicom_out import Derivation
    from napari_ct2mri.imaging.io import write_volume

    origin = (attributes.get("metadata") or {}).get(KEY)
    made = None
    if origin and origin.model:
        made = Derivation(origin.model, origin.contrast, origin.patient_data)
    write_volume(data_to_volume(data, attributes), Path(path), derivation=made)
    return [path]


def set_patient_data(layers: Iterable[Layer], *, is_wanted: bool) -> None:
    """Say whether DICOM series of these layers will belong to their CT's patient and study."""
    for layer in layers:
        if origin := layer_origin(layer):
            layer.metadata[KEY] = replace(origin, patient_data=is_wanted)


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
    for ending in _ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name if path.is_dir() else path.stem or path.name


def _is_ours(path: Path) -> bool:
    if path.name.lower().endswith((*_ENDINGS, ".dcm")):
        return True
    return _holds_volume(path) if path.is_dir() else _is_dicom(path)


def _holds_volume(folder: Path) -> bool:
    from napari_ct2mri.errors import ImageError
    from napari_ct2mri.imaging.io import scan

    try:
        return any(series.kind not in ("picture", "pictures") for series in scan(folder))
    except ImageError:
        return False


def _is_dicom(path: Path) -> bool:
    from napari_ct2mri.imaging.dicom_header import is_dicom

    return is_dicom(path)

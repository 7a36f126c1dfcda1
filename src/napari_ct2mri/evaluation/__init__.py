"""Honest figures: metrics, what a model has seen, reports."""

from napari_ct2mri.evaluation.files import check_kept, to_json, write_report
from napari_ct2mri.evaluation.labels import LABELS, MEANING, Label, label_of
from napari_ct2mri.evaluation.metrics import (
    Figures,
    gain_and_offset,
    gradient_correlation,
    mae,
    measure,
    psnr,
    sharpness,
    ssim,
)
from napari_ct2mri.evaluation.report import NOTICE, TITLES, Example, Report, Table, pick_examples
from napari_ct2mri.evaluation.scores import (
    MEASURING_SIDE,
    PatientFigures,
    PatientImages,
    SetFigures,
    SliceFigures,
    at_measuring_size,
    fit_patient,
    per_patient,
    per_set,
    score_patient,
)

__all__ = [
    "LABELS",
    "MEANING",
    "MEASURING_SIDE",
    "NOTICE",
    "TITLES",
    "Example",
    "Figures",
    "Label",
    "PatientFigures",
    "PatientImages",
    "Report",
    "SetFigures",
    "SliceFigures",
    "Table",
    "at_measuring_size",
    "check_kept",
    "fit_patient",
    "gain_and_offset",
    "gradient_correlation",
    "label_of",
    "mae",
    "measure",
    "per_patient",
    "per_set",
    "pick_examples",
    "psnr",
    "score_patient",
    "sharpness",
    "ssim",
    "to_json",
    "write_report",
]

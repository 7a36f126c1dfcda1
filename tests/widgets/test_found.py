"""The words of Load's list; no screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from napari_ct2mri.imaging.series import Series
from napari_ct2mri.widgets.found import details, said_of_all, size_in_words, title

SERIES = Series(
    uid="1.2.3",
    kind="DICOM",
    modality="CT",
    description="head, thin",
    files=(Path("a"), Path("b")),
    shape=(2, 512, 400),
    spacing=(2.5, 0.488281, 0.488281),
    problems=("gantry tilt of 18 degrees",),
)


def test_a_title_says_what_it_is() -> None:
    assert title(2, SERIES) == "2. CT · head, thin"
    assert title(1, replace(SERIES, modality="unknown")) == "1. CT or MR? · head, thin"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "2 slices · 400 × 512 · pixels 0.49 mm, step 2.50 mm · DICOM, 2 files"),
        (
            {"spacing": (2.5, 0.5, 0.75), "files": (Path("a"),)},
            "2 slices · 400 × 512 · pixels 0.75 × 0.50 mm, step 2.50 mm · DICOM",
        ),
        (
            {"shape": (1, 9, 8), "spacing": None, "kind": "picture", "files": (Path("a"),)},
            "1 slice · 8 × 9 · picture",
        ),
        ({"shape": None, "spacing": None}, "DICOM, 2 files"),
    ],
)
def test_a_size_leaves_out_what_is_not_known(changes: dict[str, object], words: str) -> None:
    assert size_in_words(replace(SERIES, **changes)) == words


def test_details_are_warnings_or_a_refusal() -> None:
    assert details(SERIES, ("taken for CT",)) == (
        "⚠ gantry tilt of 18 degrees",
        "⚠ taken for CT",
    )
    refused = replace(SERIES, refusal="one of many frames")
    assert details(refused, ("taken for CT",)) == ("✗ cannot be used: one of many frames",)
    assert details(replace(SERIES, problems=())) == ()


def test_what_all_series_have_is_said_once() -> None:
    """A file that is broken belongs to none of them."""
    broken = "1 file left out: a.dcm: is cut off"
    first, second = (
        replace(SERIES, problems=problems)
        for problems in (("gantry tilt of 18 degrees", broken), (broken,))
    )
    other = replace(SERIES, kind="NIfTI", problems=())
    assert said_of_all((first, other, second)) == (broken,)
    assert said_of_all((first, other)) == ()
    assert details(first, but_for=(broken,)) == ("⚠ gantry tilt of 18 degrees",)

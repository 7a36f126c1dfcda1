from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from napari_ct2mri.evaluation import NOTICE, PatientImages, Report, score_patient
from napari_ct2mri.evaluation.page import to_html


class Page(HTMLParser):
    """What a browser would see: open tags, cells and the sources of pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def report() -> Report:
    rng = np.random.default_rng(0)
    real = rng.uniform(0, 255, (3, 32, 32))
    images = PatientImages(
        patient="<b>anna</b> & co",
        contrast="T2",
        label="held-out",
        slice_names=("0", "1", "2"),
        real=real,
        fake=real + rng.normal(0, 9, real.shape),
        head=np.ones(real.shape, bool),
        data_range=255.0,
        predictor="ct2mri-base",
    )
    black = images.by("black", np.zeros_like(real))
    return Report((*score_patient(images), *score_patient(black)), notes=("a <note>",))


def test_the_page_shows_every_cell_of_both_tables_and_is_well_formed() -> None:
    made = report()
    page = Page(to_html(made, {"psnr": "10 log10(range^2 / MSE)"}))
    assert page.open == []
    for of in ("sets", "patients"):
        for row in made.table(of).rows:
            assert set(filter(None, row)) <= set(page.cells)
    assert NOTICE in page.text
    assert "a <note>" in page.text


def test_the_page_needs_no_other_file_and_no_server() -> None:
    page = Page(to_html(report(), {}, {"figure-T2.png": b"\x89PNG"}))
    assert page.links == ["data:image/png;base64,iVBORw=="]


def test_a_label_is_explained_only_where_it_occurs() -> None:
    made = report()
    seen = replace(made, slices=tuple(replace(row, label="train-fit") for row in made.slices))
    assert "held-out" in Page(to_html(made, {})).text
    assert "held-out" not in Page(to_html(seen, {})).text

"""The page: Streamlit runs this file from top to bottom whenever a visitor changes something."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from napari_ct2mri.app.web.case import Case, Comparison, make_case, sample_case
from napari_ct2mri.app.web.pictures import blue_red, data_uri, grey, square
from napari_ct2mri.app.web.serving import MODEL_VARIABLE, UPLOAD_MB
from napari_ct2mri.app.web.uploads import Upload, list_series, read_upload
from napari_ct2mri.app.web.viewer import Picture, show_pictures
from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.evaluation import MEANING, TITLES
from napari_ct2mri.imaging.intensity import GREY_MAX
from napari_ct2mri.jobs import Event, Progress, run_job

if TYPE_CHECKING:
    from napari_ct2mri.config import Window
    from napari_ct2mri.evaluation import Figures
    from napari_ct2mri.imaging.volume import Modality, Volume
    from napari_ct2mri.pix2pix.zoo import ModelCard

T = TypeVar("T")

OWN = "own"  # what was made of the visitor's images, in the session's state

# Level and width, HU: how the CT is shown. What the network sees is its own matter.
# (Comments, since Streamlit may write a string that stands alone onto the page.)
WINDOWS = {
    "Brain": (40.0, 80.0),
    "Blood": (75.0, 215.0),
    "Soft tissue": (50.0, 400.0),
    "Bone": (500.0, 2000.0),
}

OWN_WINDOW = "Other"
LABEL_COLOURS = {"train-fit": "red", "selection": "orange", "held-out": "green", "unknown": "gray"}
# The figures one sees at once.
FIRST = ("head_ssim", "head_psnr_fitted", "head_gradient_correlation", "head_mae")

CT_SIDE, REAL_SIDE = "CT", "real MR"

HEADER = """# An MR from a CT
A network that has seen CT and MR of other heads makes the MR it expects of this one.
**For research; not a diagnostic device.**"""

STYLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 4rem; max-width: 80rem; }
[data-testid=stMainBlockContainer] h1 { font-size: 2rem; padding-top: 0; }
</style>"""


class Choice(NamedTuple):
    """What the visitor asked for, beside the images."""

    card: ModelCard
    contrast: str
    window: Window


def main() -> None:
    """Draw the page."""
    st.set_page_config("CT to MR", layout="wide")
    st.html(STYLE)
    st.markdown(HEADER)
    try:
        with st.sidebar:
            ct, real = _own_images()
            choice = _choose()
        what = "Your image" if ct else "A simulated head"
        case = _own_case(choice, ct, real) if ct else _sample(choice)
    except Ct2MriError as error:
        st.error(_plain(str(error)))
        st.stop()
    _show_case(case, choice, what)
    with st.expander(f"About the model {choice.card.name}"):
        headings_lower = re.sub("^#", "###", choice.card.text, flags=re.MULTILINE)
        st.markdown(headings_lower or "No card lies beside this model.")


def _own_images() -> tuple[list[Upload], list[Upload]]:
    """CT and real MR, as far as the visitor has any."""
    st.markdown("#### Your own image")
    ct = st.file_uploader(
        "A head CT, slice or volume",
        accept_multiple_files=True,
        key="ct",
        help="DICOM (a zip, or all files of a series), NIfTI, NRRD, MetaImage, PNG; "
        f"a file of {UPLOAD_MB} MB at most.",
    )
    st.caption("It is read on this machine, leaves it for nowhere, and goes soon after this page.")
    if not ct:
        st.session_state.pop(OWN, None)
        return [], []
    with st.expander("Compare with a real MR"):
        real = st.file_uploader("An MR on the grid of the CT", accept_multiple_files=True, key="mr")
    return list(ct), list(real)


def _choose() -> Choice:
    from napari_ct2mri.config import Window

    st.markdown("#### Model and view")
    cards = _cards()
    name = st.selectbox("Model", list(cards), key="model")
    card = cards[name]
    contrast = st.selectbox("Contrast", card.contrasts, key="contrast")
    words = {
        name: f"{name}, {level:g} ± {width / 2:g} HU" for name, (level, width) in WINDOWS.items()
    }
    named = st.selectbox(
        "CT window",
        [*WINDOWS, OWN_WINDOW],
        format_func=lambda name: words.get(name, name),
        key="window",
        help="How a CT in HU is shown; a picture is shown as it is. What the network sees stays.",
    )
    level, width = WINDOWS.get(named, WINDOWS["Brain"])
    if named == OWN_WINDOW:
        left, right = st.columns(2)
        level = left.number_input("Level, HU", -1000.0, 3000.0, level, 5.0, format="%g")
        width = right.number_input("Width, HU", 1.0, 4000.0, width, 5.0, format="%g")
    return Choice(card, contrast, Window(level=level, width=width))


def _cards() -> dict[str, ModelCard]:
    """The released models by name, the one to begin with first."""
    from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, find_model, models, read_card

    first = read_card(find_model(os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL))
    return {first.name: first} | {card.name: card for card in models() if card.name != first.name}


def _sample(choice: Choice) -> Case:
    with st.spinner("Simulating a head, and making its MR …"):
        return sample_case(str(choice.card.path), choice.contrast)


def _own_case(choice: Choice, ct: Sequence[Upload], real: Sequence[Upload]) -> Case:
    """Of the visitor's images."""
    ct_volume = _volume(ct, "CT")
    mr_volume = _volume(real, "MR") if real else None
    made_of = (ct_volume, mr_volume, choice.card, choice.contrast)
    return _kept("case", made_of, lambda: _run(choice, ct_volume, mr_volume))


def _volume(files: Sequence[Upload], modality: Modality) -> Volume:
    """The one there is, or that of several which the visitor chooses."""
    ids = tuple(getattr(file, "file_id", file.name) for file in files)
    names = _kept(f"{modality} series", ids, lambda: _usable(files))
    number = None
    if len(names) > 1:
        label = f"{modality} series"
        number = st.sidebar.selectbox(label, names, format_func=lambda number: names[number])

    def read() -> Volume:
        with st.spinner(f"Reading the {modality} …"):
            return read_upload(files, modality, number)

    return _kept(modality, (ids, number), read)


def _usable(files: Sequence[Upload]) -> dict[int, str]:
    """What can be read, by its number from 1."""
    found = enumerate(list_series(files), start=1)
    return {number: str(series) for number, series in found if not series.refusal}


def _kept(name: str, made_of: object, make: Callable[[], T]) -> T:
    """Made once for this visitor, as long as nothing it is made of changes."""
    kept = st.session_state.setdefault(OWN, {})
    if name not in kept or kept[name][0] != made_of:
        kept.pop(name, None)  # its memory may be needed
        kept[name] = made_of, make()
    made: T = kept[name][1]
    return made


def _run(choice: Choice, ct: Volume, real: Volume | None) -> Case:
    bar = st.progress(0.0, "Making the MR …")

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            bar.progress(event.done / max(event.total, 1), f"Making the MR: {event.what}")

    try:
        return run_job(make_case(ct, str(choice.card.path), choice.contrast, real), show)
    finally:
        bar.empty()


@st.fragment
def _show_case(case: Case, choice: Choice, what: str) -> None:
    """Pictures and figures; another slice draws nothing else anew."""
    slices, index, side = len(case.ct.data), 0, CT_SIDE
    pictures = st.container()
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    if slices > 1:
        index = left.slider("Slice, from below", 0, slices - 1, slices // 2, key=f"slice/{slices}")
    if case.comparison is not None:
        side = right.radio("Swipe from", (CT_SIDE, REAL_SIDE), horizontal=True, key="side")
    with pictures:
        _show_pictures(case, choice, index, side)
    label = f":{LABEL_COLOURS[case.label]}-badge[{case.label}]"
    st.markdown(f"{what}. {label} {MEANING[case.label]}.")
    if case.comparison is not None:
        _show_figures(case.comparison, index)
    for note in case.notes:
        st.caption(_plain(note))


def _show_pictures(case: Case, choice: Choice, index: int, side: str) -> None:
    _, height_mm, width_mm = case.ct.geometry.spacing

    def picture(title: str, levels: NDArray[np.uint8]) -> Picture:
        return Picture(title, data_uri(square(levels, (height_mm, width_mm))))

    window, compared = choice.window, case.comparison
    shown = (0.0, GREY_MAX) if case.ct.is_picture else (window.low, window.high)
    ct = picture(CT_SIDE, grey(case.ct.data[index], *shown))
    fake = picture(f"synthetic {choice.contrast}", grey(case.fake[index], 0, case.top))
    pictures = {CT_SIDE: ct, "fake": fake}
    if compared is not None:
        real = compared.real(index)
        difference = compared.difference(index)
        if difference is None:
            difference = np.full_like(real, np.nan)
        pictures[REAL_SIDE] = picture(f"real {choice.contrast}", grey(real, 0, case.top))
        pictures["difference"] = picture(
            "difference, red: too bright", blue_red(difference, case.top / 2)
        )
    _, height, width = case.ct.data.shape
    aspect = width * width_mm / (height * height_mm)
    show_pictures((pictures[side], fake), tuple(pictures.values()), aspect)


def _show_figures(compared: Comparison, index: int) -> None:
    """Of the slice, the mean over slices and, for scale, what a black image would get."""
    here = compared.figures(index)
    columns = (here, compared.mean, compared.black)
    rows = [
        f"| {title} | " + " | ".join(_number(name, each) for each in columns) + " |"
        for name, title in TITLES.items()
    ]
    for cell, name in zip(st.columns(len(FIRST)), FIRST, strict=True):
        cell.metric(f"{TITLES[name]}, this slice", _number(name, here))
    if here is None:
        st.caption("This slice shows no head in the CT or in the real MR, so it is not measured.")
    with st.expander("All figures"):
        st.markdown(
            "\n".join(("| | this slice | all slices | a black image |", "|---|--:|--:|--:|", *rows))
        )
        st.caption(
            "The difference is synthetic - real, from blue (half the scale too dark) over white to "
            "red (too bright). PSNR fitted is after the gain and offset that fit the patient best."
        )


def _number(name: str, figures: Figures | None) -> str:
    value = math.nan if figures is None else getattr(figures, name)
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    return f"{value:.1f}" if "psnr" in name or "mae" in name else f"{value:.3f}"


def _plain(text: str) -> str:
    """Text of which Markdown makes nothing else."""
    return re.sub(r"([\\`*_$\[\]<>~#|])", r"\\\1", text)


if __name__ == "__main__":
    main()

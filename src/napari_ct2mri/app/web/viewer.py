"""The pictures of a slice, with a seam to swipe: a component of our own, without any library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files

import streamlit as st

__all__ = ["Picture", "show_pictures"]


def _text(name: str) -> str:
    return files("napari_ct2mri.app.web").joinpath(name).read_text(encoding="utf-8")


_component = st.components.v2.component(
    "ct2mri-viewer",
    html=_text("viewer.html"),
    css=_text("viewer.css"),
    js=_text("viewer.js"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, as a ``data:`` address, and what it shows."""

    title: str
    picture: str


def show_pictures(
    swipe: tuple[Picture, Picture], tiles: tuple[Picture, ...], aspect: float
) -> None:
    """Two pictures over each other, and two or four beside them.

    Parameters
    ----------
    swipe : (Picture, Picture)
        Left and right of the seam.
    tiles : tuple of Picture
    aspect : float
        Width over height of all.
    """
    data = {"swipe": [asdict(p) for p in swipe], "tiles": [asdict(p) for p in tiles]}
    _component(key="viewer", data={**data, "aspect": aspect})

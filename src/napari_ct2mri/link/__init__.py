"""Bytes to a board and back; knows nothing of networks, images or Qt."""

from __future__ import annotations

from napari_ct2mri.link.connection import Connection, Line
from napari_ct2mri.link.live import Answer, Runner
from napari_ct2mri.link.messages import Hello, Number, Stats
from napari_ct2mri.link.opening import connect, connect_again
from napari_ct2mri.link.ports import Port, list_ports
from napari_ct2mri.link.session import NoAnswer
from napari_ct2mri.link.transport import LineLost, SerialLine
from napari_ct2mri.link.upload import Pushed, push_model

__all__ = [
    "Answer",
    "Connection",
    "Hello",
    "Line",
    "LineLost",
    "NoAnswer",
    "Number",
    "Port",
    "Pushed",
    "Runner",
    "SerialLine",
    "Stats",
    "connect",
    "connect_again",
    "list_ports",
    "push_model",
]

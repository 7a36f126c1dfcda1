"""A report as one HTML page that needs no other file and asks nothing of any server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape

from napari_ct2mri.evaluation.labels import MEANING
from napari_ct2mri.evaluation.report import NOTICE, Report, Table

__all__ = ["to_html"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --loud: #a00; }
@media (prefers-color-scheme: dark) { :root { --loud: #f77; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
.notice { color: var(--loud); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
td.figure { text-align: right; white-space: nowrap; }
img { max-width: 100%; background: white; }
"""


def to_html(
    report: Report, definitions: Mapping[str, str], pictures: Mapping[str, bytes] | None = None
) -> str:
    """Build the page: what was measured, under which labels, in tables and pictures.

    Parameters
    ----------
    definitions : mapping
        What the figures mean, by their name.
    pictures : mapping, optional
        PNGs by their file name; they are put into the page itself.
    """
    meanings = [(label, MEANING[label]) for label in report.labels]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Synthetic against real MR</title>',
        f"<style>{_STYLE}</style></head><body>",
        "<h1>Synthetic against real MR</h1>",
        f'<p class="notice">{escape(NOTICE)}</p>',
        *(f"<p>{escape(note)}</p>" for note in report.notes),
        "<h2>Means over patients</h2>",
        _table(report.table("sets")),
        _list(meanings),
        "<h2>Each patient</h2>",
        _table(report.table("patients")),
        *(_picture(name, png) for name, png in (pictures or {}).items()),
        "<h2>What the figures are</h2>",
        _list(definitions.items()),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return f'<div class="wide"><table><tr>{head}</tr>\n{rows}</table></div>'


def _cell(text: str) -> str:
    is_figure = text[:1].isdigit() or text[:1] in "-+"
    return f"<td{' class=figure' if is_figure else ''}>{escape(text)}</td>"


def _list(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<p><b>{escape(name)}</b>: {escape(text)}</p>" for name, text in entries)


def _picture(name: str, png: bytes) -> str:
    title = escape(name.removesuffix(".png"))
    data = b64encode(png).decode()
    return f'<h2>{title}</h2><img alt="{title}" src="data:image/png;base64,{data}">'

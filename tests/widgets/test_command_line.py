"""The line of a terminal that a panel shows: names fit for it, arguments that are never broken."""

from __future__ import annotations

import shlex

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication

from napari_ct2mri.widgets.command_line import CommandLine, file_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("T2-on-CT · thin", "T2-on-CT-thin"),
        ("  Schädel, 2. Aufnahme (neu)/..", "Schadel-2.-Aufnahme-neu"),
        ("-rf", "rf"),
        ("头部", "otherwise"),
        ("ct_1.25+0.nii", "ct_1.25+0.nii"),
        ("a" * 300, "a" * 80),
    ],
)
def test_names_need_no_quotes_in_any_shell(text: str, name: str) -> None:
    assert file_name(text, "otherwise") == name
    assert shlex.quote(name) == name


def test_arguments_stay_whole_however_narrow_the_panel(qtbot: QtBot) -> None:
    part = CommandLine()
    qtbot.addWidget(part)
    words = ["ct2mri", "convert", "/a place/with-a-long-name/of-a-folder", "head.nii.gz"]
    words += ["--series", "1.2.840.113619.2.55.3.604688119.971.1448985024.466"]
    part.show_command(shlex.join(words))
    part.show()
    heights = []
    for width in (240, 420, 2400):
        part.resize(width, 300)
        qtbot.waitUntil(lambda width=width: part.width() == width)
        lines = part.line.toPlainText().split("\n")
        assert [word for line in lines for word in shlex.split(line)] == words
        heights.append(part.line.height())
        longest = max(map(part.line.fontMetrics().horizontalAdvance, lines))
        is_cut = longest > part.line.viewport().width() - 8
        assert part.line.horizontalScrollBar().isVisible() == is_cut
        assert part.line.verticalScrollBar().maximum() == 0
    assert lines == [shlex.join(words)]
    assert heights == sorted(heights, reverse=True)
    part.line.selectAll()
    part.line.copy()
    assert QApplication.clipboard().text() == shlex.join(words)


def test_no_command_is_an_empty_line(qtbot: QtBot) -> None:
    part = CommandLine()
    qtbot.addWidget(part)
    part.show_command("ct2mri models")
    part.show_command("")
    assert part.line.text() == part.line.toPlainText() == ""
    assert part.line.isVisibleTo(part)


def test_where_there_is_none_it_is_said_why(qtbot: QtBot) -> None:
    part = CommandLine()
    qtbot.addWidget(part)
    part.show_command("", "layer 'CT' is in no file")
    assert part.why_not.text() == "No command line: layer 'CT' is in no file."
    assert [w.isVisibleTo(part) for w in (part.line, part.copy, part.why_not)] == [0, 0, 1]
    part.show_command("ct2mri models", "")
    assert [w.isVisibleTo(part) for w in (part.line, part.copy, part.why_not)] == [1, 1, 0]

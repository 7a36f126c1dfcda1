"""Files on disk are whole: the former or the new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_ct2mri.disk import parse_json, whole_file


def test_a_file_takes_its_place_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("former")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "former"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [OSError, ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_former_file_and_nothing_else(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("former")

    def write() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise kind

    with pytest.raises(kind):
        write()
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("fsync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("rename"), replace(a, b))[1])
    with whole_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert done == ["fsync", "rename"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as one, whole_file(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"  # the last to finish
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def write() -> None:
        with whole_file(tmp_path / "file" / "a.txt") as temporary:
            temporary.write_text("new")

    with pytest.raises(NotADirectoryError):
        write()


def test_json_is_parsed() -> None:
    assert parse_json(b'{"a": [1, null]}') == parse_json('{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 200_000, '{"a":' * 200_000, b"\xff", "9" * 5000], ids=range(6)
)
def test_any_json_that_is_none_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)

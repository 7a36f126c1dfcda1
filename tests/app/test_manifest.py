"""Who made which file, also after it was overwritten or changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_heads import volume_pairs, write_volumes

from napari_ct2mri.app.workflows.manifest import NAME, Manifest, Run, read_manifest, record
from napari_ct2mri.errors import EvaluationError

ONE = Run(model="one", digest="1" * 64)
TWO = Run(model="two", digest="2" * 64)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def makers(folder: Path, *files: Path) -> list[str | None]:
    manifest = read_manifest(folder)
    assert manifest is not None
    runs = [manifest.maker(folder, file) for file in files]
    return [run.model if run else None for run in runs]


def test_the_last_run_that_wrote_a_file_made_it(tmp_path: Path) -> None:
    a, b, c = (write(tmp_path, f"T2/p/{n}.png", n) for n in "abc")
    record(tmp_path, ONE, [a, b])
    record(tmp_path, ONE, [c])
    assert makers(tmp_path, a, b, c) == ["one", "one", "one"]
    write(tmp_path, "T2/p/b.png", "other")
    record(tmp_path, TWO, [b])
    assert makers(tmp_path, a, b, c) == ["one", "two", "one"]


def test_a_changed_or_foreign_file_has_no_maker(tmp_path: Path) -> None:
    a, b = (write(tmp_path, f"{n}.png", n) for n in "ab")
    record(tmp_path, ONE, [a])
    a.write_text("painted over")
    assert makers(tmp_path, a, b) == [None, None]


def test_a_run_with_nothing_left_is_forgotten(tmp_path: Path) -> None:
    a = write(tmp_path, "a.png", "a")
    record(tmp_path, ONE, [a])
    record(tmp_path, TWO, [a])
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert [run.model for run in manifest.runs] == ["two"]


def test_a_model_is_found_again_after_both_have_moved(tmp_path: Path) -> None:
    before, after = tmp_path / "ann", tmp_path / "bob"
    model = write(before, "models/mine.safetensors", "weights")
    out = before / "out"
    a = write(out, "a.png", "a")
    path = record(out, Run(model=str(model), digest="1" * 64), [a])
    assert "ann" not in path.read_text()
    record(out, Run(model=str(model), digest="1" * 64), [a])
    before.rename(after)
    manifest = read_manifest(after / "out")
    assert manifest is not None
    (run,) = manifest.runs
    assert run.checkpoint(after / "out") == (after / "models" / "mine.safetensors").resolve()
    assert ONE.checkpoint(after / "out") == "one"


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 1, "runs": [], "extra": 1}', "[" * 200_000]
)
def test_a_damaged_manifest_is_one_line(tmp_path: Path, text: str) -> None:
    write(tmp_path, NAME, text)
    with pytest.raises(EvaluationError, match="damaged") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_of_that_name_is_said_before_anything_is_made(
    model: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    pairs = volume_pairs(tmp_path / "data", {"dot": "test"})
    for path, output in ((ct, tmp_path / "out" / "mr.nii.gz"), (pairs, tmp_path / "many")):
        folder = output if path == pairs else output.parent
        (folder / NAME).mkdir(parents=True)
        with pytest.raises(EvaluationError, match=r"manifest\.json: is no file"):
            read_manifest(folder)
        line = fails("synthesize", path, output, "--model", model, "--device", "cpu")
        assert f"{folder / NAME}: is no file" in line
        assert [file.name for file in folder.iterdir()] == [NAME]


def test_nothing_but_the_manifest_is_left_behind(tmp_path: Path) -> None:
    a = write(tmp_path, "a.png", "a")
    path = record(tmp_path, ONE, [a])
    assert sorted(tmp_path.iterdir()) == sorted([a, path])
    Manifest.model_validate_json(path.read_text())


WRITER = """
import sys
from pathlib import Path
from napari_ct2mri.app.workflows.manifest import Run, record

folder, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    file = folder / f"{name}-{number}.png"
    file.write_text(name)
    record(folder, Run(model=name, digest="1" * 64), [file])
"""


def test_two_processes_lose_no_entry(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=60)[0] for writer in writers] == ["", ""]
    files = [tmp_path / f"{name}-{n}.png" for name in ("one", "two") for n in range(30)]
    assert makers(tmp_path, *files) == ["one"] * 30 + ["two"] * 30
    assert sorted(tmp_path.iterdir()) == sorted([*files, tmp_path / NAME])

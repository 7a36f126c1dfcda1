"""The house keeps its order: what may import what, what is installed, what stays out."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copy, copytree, ignore_patterns, unpack_archive

import pytest

import napari_ct2mri

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_ct2mri"
FLOORS = ("imaging", "evaluation", "link", "pix2pix", "firmware", "app", "widgets")
VIEWER = {"PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy", "superqt", "magicgui", "napari"}
BINDINGS = {"PyQt5", "PyQt6", "PySide2", "PySide6"}
HEAVY = {"torch", "SimpleITK", "pydicom", "skimage", "scipy", "matplotlib"}

# floor -> floors it must not know
ABOVE = {
    "": FLOORS,
    "imaging": ("evaluation", "link", "pix2pix", "firmware", "app", "widgets"),
    "evaluation": ("link", "pix2pix", "firmware", "app", "widgets"),
    "link": ("imaging", "evaluation", "pix2pix", "firmware", "app", "widgets"),
    "pix2pix": ("firmware", "app", "widgets"),
    "firmware": ("app", "widgets"),
    "app": ("widgets",),
    "widgets": (),
}


def modules(floor: str) -> list[str]:
    """Every module of a floor, by its full name."""
    files = (PACKAGE / floor).rglob("*.py") if floor else PACKAGE.glob("*.py")
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    return sorted(name.removesuffix(".__init__") for name in names)


def imported_by(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module that a file imports, at its top or inside functions."""
    package = file.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *filter(None, [node.module])))
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def run_python(code: str, *flags: str, cwd: Path = ROOT) -> str:
    """Run ``code`` in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_names_are_resolved() -> None:
    assert "napari_ct2mri.errors" in {name for _, name in imported_by(PACKAGE / "jobs.py")}
    assert "napari_ct2mri.imaging.volume" in modules("imaging")


@pytest.mark.parametrize("floor", ABOVE)
def test_imports_point_down_only(floor: str) -> None:
    banned = tuple(f"napari_ct2mri.{name}" for name in ABOVE[floor])
    files = (PACKAGE / floor).rglob("*.py") if floor else PACKAGE.glob("*.py")
    climbing = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in files
        for line, name in imported_by(file)
        if name in banned or name.startswith(tuple(f"{above}." for above in banned))
    ]
    assert not climbing


def test_only_qtpy_names_a_qt_binding() -> None:
    bound = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in PACKAGE.rglob("*.py")
        for line, name in imported_by(file)
        if name.partition(".")[0] in BINDINGS
    ]
    assert not bound


@pytest.mark.parametrize("floor", ["", *FLOORS[:-1]])
def test_lower_floors_come_without_a_viewer(floor: str) -> None:
    names = ", ".join(modules(floor))
    loaded = run_python(f"import sys, json, {names}; print(json.dumps(list(sys.modules)))")
    tops = {name.partition(".")[0] for name in json.loads(loaded)}
    assert not tops & VIEWER
    if floor != "pix2pix":  # torch modules are at home there
        assert not tops & HEAVY


def test_widgets_follow_the_chosen_binding() -> None:
    binding = os.environ.get("QT_API", "pyqt5").lower()
    names = ", ".join(modules("widgets"))
    code = f"import sys, json, {names}; print(json.dumps(list(sys.modules)))"
    tops = {name.partition(".")[0] for name in json.loads(run_python(code))}
    assert {name.lower() for name in tops & BINDINGS} <= {binding}


def test_import_is_fast_and_brings_no_torch() -> None:
    clock = "import time; start = time.perf_counter(); import napari_ct2mri;"
    clock += "import sys; print(time.perf_counter() - start, 'torch' in sys.modules)"
    runs = [run_python(clock).split() for _ in range(5)]
    assert {torch for _, torch in runs} == {"False"}
    assert min(float(seconds) for seconds, _ in runs) < 0.3  # over a bare interpreter


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("napari-ct2mri") == napari_ct2mri.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {napari_ct2mri.__version__}" in changes


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution and unpacked where no dependency is."""
    folder = tmp_path_factory.mktemp("house")
    tree = folder / "tree"
    for name in ("src", "models"):
        copytree(ROOT / name, tree / name, ignore=ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        copy(ROOT / name, tree)
    run_python("from setuptools.build_meta import *; build_sdist('..')", cwd=tree)
    unpack_archive(*folder.glob("*.tar.gz"), folder)
    (source,) = folder.glob("napari_ct2mri-*/")
    run_python("from setuptools.build_meta import *; build_wheel('..')", cwd=source)
    unpack_archive(*folder.glob("*.whl"), folder / "site", format="zip")
    return folder / "site"


def test_wheel_holds_every_package_model_and_card(installed: Path) -> None:
    def held(folder: Path) -> set[str]:
        files = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        return {
            str(p) for p in files if not any(part.startswith((".", "__py")) for part in p.parts)
        }

    expected = held(PACKAGE) | {f"models/{name}" for name in held(ROOT / "models")}
    assert held(installed / "napari_ct2mri") == expected


def test_wheel_imports_without_dependencies(installed: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(installed)!r})
from importlib.resources import files
import napari_ct2mri
assert files("napari_ct2mri").joinpath("napari.yaml").is_file()
print(napari_ct2mri.__file__)
print(*(f.name for f in files("napari_ct2mri.models").iterdir()))
"""
    where, models = run_python(code, "-I", "-S", cwd=installed).splitlines()
    assert Path(where).is_relative_to(installed)
    assert "README.md" in models.split()


def test_manifest_is_valid_and_names_what_exists() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(PACKAGE / "napari.yaml")
    assert manifest.name == "napari-ct2mri"
    manifest.validate_imports()
    assert (ROOT / "napari.yaml").read_text() == (PACKAGE / "napari.yaml").read_text()


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    private = re.compile(r"(?<![\w.])/(home|root|Users|work|opt)/\w")
    texts = {".py", ".md", ".cfg", ".toml", ".ini", ".yaml", ".txt", ".in", ".json", ".csv", ""}
    folders = ("src", "tests", "docs", "models", "benchmarks", "scripts", "requirements", ".ci")
    files = [p for name in folders for p in (ROOT / name).rglob("*")]
    files += ROOT.glob("*")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        if file.is_file() and file.suffix in texts and "__pycache__" not in file.parts
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if private.search(line)
    ]
    assert not found


def test_every_module_has_its_place_in_the_architecture() -> None:
    """In the rows of its floor, by its name, with ``.py`` or without."""
    named: dict[str, set[str]] = {}
    floor = ""
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            continue
        room, *rest = line.strip("|").split("|")
        floor = room.strip(" `/") or floor
        words = re.findall(r"`([\w.]+)`", " ".join(rest))
        named.setdefault(floor, set()).update(word.removesuffix(".py") for word in words)
    rooms = {"": "ground floor"} | {floor: floor for floor in FLOORS}
    missing = [
        str(file.relative_to(PACKAGE))
        for floor, room in rooms.items()
        for file in ((PACKAGE / floor).rglob("*.py") if floor else PACKAGE.glob("*.py"))
        if file.stem != "__init__" and file.stem not in named[room]
    ]
    assert not missing


def test_documents_link_to_what_exists() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").glob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if ":" not in link
    ]
    assert links
    dead = [f"{p.relative_to(ROOT)}: {link}" for p, link in links if not (p.parent / link).exists()]
    assert not dead

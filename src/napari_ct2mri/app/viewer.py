"""Open files in the viewer where there is a display; take a picture of it where there is none.

The viewer runs in a process of its own, so nothing here imports Qt.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from napari_ct2mri.errors import JobError

__all__ = ["open_viewer", "take_picture"]

_BINDINGS = ("PyQt5", "PyQt6", "PySide6")
_SCREEN = "1600x1000x24"
_PICTURE_S = 180.0
_INSTALL_VIEWER = "pip install 'napari-ct2mri[pyqt5]' adds the viewer"
_INSTALL_XVFB = "on Debian and Ubuntu: apt install xvfb libgl1 libegl1 libxkbcommon-x11-0"


def has_display() -> bool:
    """Whether there is a screen to open a window on."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_viewer(files: Sequence[Path]) -> None:
    """Show files as layers and wait until the window is closed.

    Raises
    ------
    JobError
        If napari or a Qt binding is missing, or no window can be opened.
    """
    _check_installed()
    _run(files, os.environ)


def take_picture(files: Sequence[Path], picture: Path) -> None:
    """Write a screenshot of the viewer that shows ``files``, on a screen nobody sees.

    Raises
    ------
    JobError
        If napari, a Qt binding or Xvfb is missing, or the viewer fails.
    """
    _check_installed()
    with _hidden_screen() as display:
        # the "offscreen" platform has no OpenGL and would show black
        environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
        environment.pop("WAYLAND_DISPLAY", None)
        _run([*files, Path("--screenshot"), picture], environment)


def _run(arguments: Sequence[Path], environment: dict[str, str] | os._Environ[str]) -> None:
    is_picture = Path("--screenshot") in arguments
    try:
        done = subprocess.run(
            # -P: no Python file of the folder that one is in is imported
            [sys.executable, "-P", "-m", "napari_ct2mri.widgets.show", *map(str, arguments)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_PICTURE_S if is_picture else None,
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"the viewer did not answer within {_PICTURE_S:g} s") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise JobError(
            f"the viewer could not open ({said[-1] if said else f'exit code {done.returncode}'}); "
            f"{_INSTALL_XVFB}"
        )


def _check_installed() -> None:
    if find_spec("napari") is None or not any(find_spec(name) for name in _BINDINGS):
        raise JobError(f"napari or its Qt binding is not installed; {_INSTALL_VIEWER}")


@contextmanager
def _hidden_screen() -> Iterator[str]:
    """Start Xvfb on a display number that it picks itself."""
    program = shutil.which("Xvfb")
    if program is None:
        raise JobError(f"there is no display, and no Xvfb to do without; {_INSTALL_XVFB}")
    answer, theirs = os.pipe()
    command = [program, "-displayfd", str(theirs), "-screen", "0", _SCREEN, "-nolisten", "tcp"]
    with (
        os.fdopen(answer) as number,
        subprocess.Popen(command, pass_fds=(theirs,), stderr=subprocess.DEVNULL) as server,
    ):
        os.close(theirs)
        try:
            display = number.readline().strip()
            if not display:
                raise JobError(f"Xvfb did not start; {_INSTALL_XVFB}")
            yield f":{display}"
        finally:
            server.terminate()

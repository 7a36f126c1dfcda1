"""The server as a child process: started, waited for, and ended together with its files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from tempfile import TemporaryDirectory

from napari_ct2mri.errors import ConfigError, JobError

__all__ = ["HOST", "MODEL_VARIABLE", "OPEN", "UPLOAD_MB", "serving"]

HOST = "127.0.0.1"
PORT = 8501
"""Streamlit's own; where it is taken, any free one."""

UPLOAD_MB = 500
"""Of one file."""

MODEL_VARIABLE = "CT2MRI_WEB_MODEL"
"""Which model the page begins with: a checkpoint, or a released model's name."""

OPEN = b"o"
"""Asks the server's process to open the page in a browser."""

_START_S = 60.0
_END_S = 1.0
"""Then the server is killed: open pages keep it, and it has nothing to save."""


@contextmanager
def serving(
    port: int | None = None, model: str | None = None, *, is_opened: bool = False
) -> Iterator[str]:
    """Within: the page is served.

    Parameters
    ----------
    port : int, optional
        By default 8501 or, if that is taken, any free one.
    model : str, optional
        The model to begin with, a released one's name or a checkpoint.
    is_opened : bool
        Whether to open the page in a browser.

    Yields
    ------
    str
        The page's address.

    Raises
    ------
    ConfigError
        If Streamlit is not installed, or the port is taken.
    JobError
        If the server does not start.
    CheckpointError
        If there is no such model.
    """
    _check(model)
    number = _free_port(port)
    address = f"http://{HOST}:{number}"
    # Whatever is uploaded lies in this folder, which goes even if the child is killed.
    with TemporaryDirectory(prefix="ct2mri-web-", ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "napari_ct2mri.app.web.server", str(number)],
            env=os.environ
            | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
            | {MODEL_VARIABLE: model or ""},
            stdin=subprocess.PIPE,  # see server._listen
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is heard here
        )
        try:
            _wait_for(address, child)
            if is_opened and child.stdin is not None:
                child.stdin.write(OPEN)
                child.stdin.flush()
            yield address
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_END_S)
            child.kill()
            child.communicate()


def _check(model: str | None) -> None:
    """Say what lacks before anything is started."""
    if find_spec("streamlit") is None:
        raise ConfigError(
            "web needs the package streamlit, which is not installed: "
            "pip install 'napari-ct2mri[demo]'"
        )
    if model:
        from napari_ct2mri.pix2pix.zoo import find_model, read_card

        read_card(find_model(model))


def _free_port(asked: int | None) -> int:
    """The one that was asked for; else the usual one, or any that is free."""
    if asked is not None and not 1 <= asked <= 65535:
        raise ConfigError(f"--port {asked}: expected 1 to 65535")
    try:
        return _bindable(asked or PORT)
    except OSError as error:
        if asked:
            raise ConfigError(
                f"--port {asked} on {HOST}: {error.strerror}; give another, or none"
            ) from None
        return _bindable(0)


def _bindable(port: int) -> int:
    """``port`` if a server can have it, any other for 0; OSError if not."""
    with closing(socket.socket()) as probe:
        if os.name == "posix":  # there, a port that was given back a moment ago counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])


def _wait_for(address: str, child: subprocess.Popen[bytes]) -> None:
    """Return once the server answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + _START_S
    while time.monotonic() < until and child.poll() is None:
        with suppress(urllib.error.URLError, OSError):
            direct.open(f"{address}/_stcore/health", timeout=1).close()
            return
        time.sleep(0.1)
    ended = child.poll()
    what = f"said nothing for {_START_S:.0f} s" if ended is None else f"ended with code {ended}"
    raise JobError(f"the page's server {what}; what it had to say stands above")

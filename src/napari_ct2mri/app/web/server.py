"""The server's process: ``python -m napari_ct2mri.app.web.server PORT``.

It makes the sample's MR while the browser opens, and ends with the process that started it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.app.web.serving import HOST, MODEL_VARIABLE, OPEN, UPLOAD_MB
from napari_ct2mri.errors import Ct2MriError

if TYPE_CHECKING:
    from streamlit.runtime.app_session import AppSession

__all__ = ["FLAGS", "main"]

KEPT_S = 120
"""How long a page that was closed is kept, since a browser may only have lost its connection."""

FORGOTTEN_EVERY_S = 60.0

FLAGS = (
    f"--server.address={HOST}",
    f"--server.allowedHosts={HOST}",  # another site's name cannot stand for this one
    "--server.headless=true",  # the command opens the browser, and nobody is asked for an address
    "--server.fileWatcherType=none",
    f"--server.maxUploadSize={UPLOAD_MB}",
    "--server.enableXsrfProtection=true",
    "--server.enableCORS=true",  # Streamlit's name for refusing other origins
    f"--server.disconnectedSessionTTL={KEPT_S}",
    "--browser.gatherUsageStats=false",
    "--client.toolbarMode=minimal",
    "--client.showErrorDetails=none",  # of what nobody expected; the terminal has it
    "--client.showErrorLinks=false",
    "--logger.level=error",
    "--runner.magicEnabled=false",
    "--theme.primaryColor=#3478b5",
)


def main(port: int) -> None:
    """Serve until told to end."""
    from streamlit.web import cli

    threading.Thread(target=_listen, args=(port,), daemon=True).start()
    threading.Thread(target=_warm_up, daemon=True).start()
    threading.Thread(target=_forget, daemon=True).start()
    page = Path(__file__).with_name("page.py")
    cli.main(["run", str(page), *FLAGS, f"--server.port={port}"])


def _listen(port: int) -> None:
    """Open a browser when the parent asks for it, end when the parent has ended.

    The parent cannot open one: it takes the end of any of its children for that of the server.
    """
    while asked := os.read(sys.stdin.fileno(), 1):
        if asked == OPEN:
            webbrowser.open(f"http://{HOST}:{port}")
    os.kill(os.getpid(), signal.SIGTERM)


def _forget() -> None:
    """Again and again let go of what closed pages held."""
    from streamlit import runtime

    known: set[AppSession] = set()
    while True:
        time.sleep(FORGOTTEN_EVERY_S)
        with suppress(AttributeError, RuntimeError):  # it has not started yet, or is ending
            # its sessions belong to the thread of its loop
            loop = runtime.get_instance()._get_async_objs().eventloop
            loop.call_soon_threadsafe(_empty_closed, known)


def _empty_closed(known: set[AppSession]) -> None:
    """Empty the sessions among ``known`` that are over; afterwards it holds those that are not.

    Streamlit drops a session when the next one is closed, and its loop holds the last one even
    then. What is used of it here is not all public; a test watches that images go.
    """
    from streamlit import runtime

    there = {info.session for info in runtime.get_instance()._session_mgr.list_sessions()}
    for session in known - there:
        session.shutdown()  # the uploaded files
        session.session_state.clear()
        session._fragment_storage.clear()
    known.clear()
    known.update(there)
    gc.collect()


def _warm_up() -> None:
    """So that the first visitor finds it done; what is wrong, the page says."""
    from napari_ct2mri.app.web.case import sample_case

    with suppress(Ct2MriError):
        sample_case(os.environ.get(MODEL_VARIABLE, ""))


if __name__ == "__main__":
    main(int(sys.argv[1]))

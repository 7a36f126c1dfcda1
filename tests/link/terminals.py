"""The reference board behind a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .lines import End


@contextmanager
def board_on_a_terminal(board: End) -> Iterator[str]:
    """The board's end of a pseudo-terminal, served by a thread; gives the port's path."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    port, is_over = os.ttyname(theirs), threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            is_heard = select.select([ours], [], [], 0.001)[0]
            with suppress(OSError):
                said = board.feed(os.read(ours, 4096)) if is_heard else b""
                os.write(ours, said + board.tick(1))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield port
    finally:
        is_over.set()
        thread.join()
        os.close(ours)
        os.close(theirs)

"""Who may write to the terminal: libraries may not, this program may."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["loud", "quiet"]

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Within: Python warnings, and what C and C++ print, stay off the terminal.

    ITK, GDCM, MetaIO and OpenJPEG print to file descriptor 2, where no Python hook reaches
    them. What matters of their complaints is said in an exception or a note instead.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # a windowed process without a terminal has nothing to redirect
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)


@contextmanager
def loud() -> Iterator[None]:
    """Within: what is written to stderr is seen, though another thread may be :func:`quiet`."""
    with _ONE_AT_A_TIME:
        yield

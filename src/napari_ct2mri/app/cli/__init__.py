"""``ct2mri``: every job on the command line.

A command builds a job, the one driver runs it, and what came of it is printed to stdout. A
wrong input is one line on stderr and exit code 1; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from napari_ct2mri.app.cli import boards, images  # their commands enter app
from napari_ct2mri.app.cli.arguments import app
from napari_ct2mri.errors import Ct2MriError, JobCancelled, PortError

__all__ = ["app", "boards", "images", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 for an error, 130 for Ctrl-C."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    is_debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (JobCancelled, KeyboardInterrupt) as error:
        return _fail(str(error) or "cancelled", 130)
    except Exception as error:
        if is_debug:
            raise
        return _fail(_in_words(error), 1)
    return 0


def _fail(text: str, code: int) -> int:
    print("ct2mri:", " ".join(text.split()), file=sys.stderr)
    return code


def _in_words(error: Exception) -> str:
    """One line for what was expected to go wrong, and for what was not."""
    if isinstance(error, PortError):
        return f"{error}; `ct2mri ports` shows what is where"
    if isinstance(error, Ct2MriError):
        return str(error)
    if isinstance(error, CycloptsError):
        return f"{error} `ct2mri --help` lists what there is."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'system'}: {error.strerror}"
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"

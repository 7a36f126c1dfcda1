"""Engines that report to their makers by default, imported so that they report nothing.

ONNX Runtime since 1.29 notes down processor, system and sessions from its first moment, on Linux
and macOS too, and sends them to Microsoft (microsoft/onnxruntime, pull request 27379). Whoever
imports OpenVINO tells Google Analytics so, under an identifier kept in the home folder (its package
``openvino.tools.ovc``). A CT's computer has no business with either.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

__all__ = ["import_onnxruntime", "import_openvino"]


def import_onnxruntime() -> ModuleType:
    """ONNX Runtime, which creates no identifier, notes nothing down and opens no connection.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when its library is loaded
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # on Windows the environment does not matter
    return onnxruntime  # type: ignore[no-any-return]


def import_openvino() -> ModuleType:
    """OpenVINO without the package that reports, which it takes for not installed.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino  # type: ignore[no-any-return]

"""Small programs as ELF files, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Loaded = tuple[int, bytes]


def elf(segments: Sequence[Loaded], entry: int, **changes: int) -> bytes:
    """An executable for a C6000; ``changes`` spoil a field of its header by name."""
    header = {
        "bits": 1, "order": 1, "version": 1, "kind": 2, "machine": 140, "table": 52, "step": 32,
        "count": len(segments),
    } | changes  # fmt: skip
    ident = b"\x7fELF" + bytes([header["bits"], header["order"], header["version"], 64]) + bytes(8)
    start = struct.pack(
        "<HHIIIIIHHHHHH",
        header["kind"], header["machine"], 1, entry, header["table"], 0, 0, 52, header["step"],
        header["count"], 40, 0, 0,
    )  # fmt: skip
    at = 52 + 32 * len(segments)
    headers, body = b"", b""
    for address, data in segments:
        headers += struct.pack(
            "<8I", 1, at + len(body), address, address, len(data), len(data) + 64, 5, 32
        )
        body += data
    return ident + start + headers + body


CODE = bytes(range(256)) * 9 + b"tail"
"""2308 bytes, more than are sent at once."""
CONSTANTS = b"\x10\x20\x30\x40\x50"
"""5 bytes, no multiple of 4."""
PROGRAM = elf([(0x11804000, CODE), (0x11810000, CONSTANTS)], 0x11804020)

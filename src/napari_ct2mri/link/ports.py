"""What is plugged in, and which board it may be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Port", "list_ports"]

_LIKELY = {
    # TI's LCDK manuals (SPRUIL2): UART 2 behind an FT232R
    (0x0403, 0x6001): ("c6748-lcdk", "FTDI FT232R, as on the C6748 LCDK and on many adapters"),
    (0x0403, 0xA6D0): ("c6748-lcdk", "TI XDS100 probe with a serial line"),
    (0x0451, 0xBEF3): ("c6748-lcdk", "TI XDS110 probe with a serial line"),
    (0x10C4, 0xEA60): ("", "Silicon Labs CP210x adapter"),
}


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port of this machine.

    Attributes
    ----------
    device : str
        What ``--port`` takes.
    board : str
        The board that its USB number suggests; empty: none. Only HELLO tells for sure.
    title : str
        What it is, in words.
    usb : str
        Vendor and product, "0403:6001"; empty where it is not on USB.
    serial_number : str
        Of the adapter, by which it is found again after unplugging.
    """

    device: str
    board: str
    title: str
    usb: str = ""
    serial_number: str = ""


def list_ports() -> list[Port]:
    """Serial ports, those first behind which a board is likely."""
    from serial.tools.list_ports import comports

    found = [
        _port(each.device, each.vid, each.pid, each.description, each.serial_number)
        for each in comports()
    ]
    return sorted(found, key=lambda port: (not port.board, not port.usb, port.device))


def _port(
    device: str, vendor: int | None, product: int | None, words: str | None, number: str | None
) -> Port:
    if vendor is None or product is None:
        return Port(device, "", "" if words in (None, "n/a") else str(words))
    board, title = _LIKELY.get((vendor, product), ("", words or ""))
    return Port(device, board, title, f"{vendor:04x}:{product:04x}", number or "")

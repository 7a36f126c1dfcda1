"""From ``firmware.elf`` to what TI's boot ROM loads: what an LCDK needs before its program.

Sources of the numbers, all public; none has been tried on a board by us:

- device.c: ``C6748_LCDK`` in ``device.c`` of TI's OMAP-L138 flash and boot utilities (BSD);
- U-Boot: ``include/configs/omapl138_lcdk.h`` and ``board/davinci/da8xxevm/omapl138_lcdk.c``;
- AISgen: TI's maker of AIS images, for the order of the fields and for the UART's divisor;
- SPRUH79: the C6748's manual.
"""

from __future__ import annotations

from pathlib import Path

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.jobs import Job, Notice
from napari_ct2mri.link.boot.ais import Command, ais_image, function, write
from napari_ct2mri.link.boot.elf import read_elf

__all__ = ["BOOTED", "LCDK_INIT", "boot_image"]

BOOTED = "c6748-lcdk"
"""The board that a boot image starts; the others start by themselves."""

# Indices of functions of the ROM, with the number of their arguments (AISgen, U-Boot's mkimage).
_DDR2, _PLL0_AND_UART, _PSC, _PINMUX = 3, 6, 7, 8  # 8, 3, 1, 3

LCDK_INIT: tuple[Command, ...] = (
    function(
        _PLL0_AND_UART,
        # clock source 0, multiplier 18 + 1, pre- and post-divider 0 + 1: 24 MHz * 19 = 456 MHz
        # (U-Boot: PLLM 18, POSTDIV 0; device.c sets 456 MHz so on an AM1808, LCDKs to 300 MHz).
        # U-Boot and device.c leave the source at 0, a crystal or oscillator on OSCIN.
        0x00120000,
        # EMIFA and SYSCLK7 by 4 + 1 and 11 + 1, 91 and 38 MHz; nothing here uses them. As in a
        # public image for a 456 MHz OMAP-L138; AISgen allows SYSCLK7 50 MHz at most.
        0x0000040B,
        # 13 samples a bit, divisor 152: 228 MHz / 13 / 152 = 115385 bit/s, 0.16 % more than the
        # rate at which the ROM talks (as AISgen computes it; the firmware's uart.c does the same).
        0x00010098,
    ),
    function(
        _DDR2,
        # PLL1 24 MHz * (24 + 1) / (1 + 1) = 300 MHz, twice the memory's clock (device.c)
        0x18010001,
        0x00000002,
        # DDRPHYC1R, SDCR, SDTIMR, SDTIMR2, SDRCR at 150 MHz: device.c; U-Boot's fields are the same
        0x000000C5,
        0x00134832,
        0x264A3209,
        0x3C14C722,
        0x00000492,
        0,  # clock from PLL1_SYSCLK1, not directly from PLL1 (AISgen: CLK2XSRC)
    ),
    # Peripheral bus burst priority of the DDR2 controller: the step of SPRUH79's initialisation
    # that the ROM's function leaves out; address 0xB0000000 + 0x20 and value as in U-Boot.
    write(0xB0000020, 0x00000030),
    # PSC 1, module 13 (UART2), power domain 0, enabled: U-Boot's DAVINCI_LPSC_UART2
    function(_PSC, 0x010D0003),
    # PINMUX4, fields 5 and 4: UART2_TXD, UART2_RXD (device.c and U-Boot)
    function(_PINMUX, 4, 0x00FF0000, 0x00220000),
)
"""To 456 MHz, DDR2 at 150 MHz and UART2 at 115200, on an LCDK (silicon 2.x) just out of reset."""

_ROM_WORKS = range(0x11800000, 0x11804000)
"""L2 that the ROM keeps for itself while it loads, says TI SPRAAT2 (as quoted in TI E2E, thread
118998, whose author loads there and finds that it works; an LCDK of thread 514410 does not)."""


def boot_image(program: Path, board: str) -> Job[bytes]:
    """``firmware.elf`` as the AIS image of ``board``.

    Yields
    ------
    Notice, if the program lies where the ROM works.

    Raises
    ------
    FirmwareError
        If the board has no boot ROM that takes such an image, or the file cannot be read.
    BootImageError
        If the file is no program for it.
    """
    if board != BOOTED:
        raise FirmwareError(f"{board} starts without a boot image; only {BOOTED} takes one")
    try:
        elf = program.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{program}: {error.strerror}; run `ct2mri build` first") from error
    for segment in read_elf(elf).segments:
        if segment.address < _ROM_WORKS.stop and segment.end > _ROM_WORKS.start:
            yield Notice(
                f"{program}: {len(segment.data)} bytes at 0x{segment.address:08X}, but TI keeps "
                f"0x{_ROM_WORKS.start:08X} to 0x{_ROM_WORKS.stop:08X} for the boot ROM while it "
                "loads; if the board does not start, link the program behind that"
            )
    return ais_image(elf, LCDK_INIT)

"""The software pipelined loop buffer: what it issues, and when.

TI's own chapter on it (SPRUFE8B, chapter 7) could be read here only as others quote it, so each
rule is held to at least one reading that is not ours:

- its table 7-1 and its sections 7.7.3, 7.9.4, 7.9.5 and 7.15, as an emulator of another C674x
  board cites and tests them (github.com/geepot/cdj2000-emulator, ``tests/cstub/c674x-loop.c``,
  ``c674x-spkernel-fields.c`` and its audit of the manual);
- an interpreter whose 49 programs, compiled by TI's compiler among others, gave the output of TI's
  cycle-accurate simulator and 0.94 to 1.00 of its cycles (github.com/Ghulamrs/SIM6747,
  ``src/C6xLoop.cpp``, ``docs/TEST-2026-10-06.md``);
- cycle counts, epilogues and SPLOOPD's count of iterations that published hand-written loops rely
  on (OpenSSL's c64xplus code: 2 n + 10 cycles for twelve cycles of body at an interval of 2,
  ILC = n - 2 for SPLOOPD 2).

Reloaded loops and SPLOOPW are in the manual and not here: they are refused. So are interrupts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from .machine import STOP, Fault, Machine, Program
from .toolchain import assemble

RETURN = "\n\tbnop .S2 b3,5\n"
SOURCE, TARGET = 0x20000, 0x21000


def prepared(folder: Path, text: str) -> Machine:
    machine = Machine(Program(assemble(text, folder)))
    machine.memory(SOURCE, 0x1000)[:] = np.arange(0x1000) * 7
    machine.memory(TARGET, 0x1000)
    machine["a4"], machine["b4"], machine["b3"] = SOURCE, TARGET, STOP
    return machine


def ran(folder: Path, text: str, count: int) -> Machine:
    """Run assembly whose loop counter comes in B0."""
    machine = prepared(folder, text)
    machine["b0"] = count
    machine.run(machine.program.symbols["_start"], 10_000)
    return machine


def copied(machine: Machine) -> int:
    """How many words were copied, which must be the first ones and no others."""
    source, target = machine.memories[-2].view("<u4"), machine.memories[-1].view("<u4")
    words = int(np.count_nonzero(target))
    np.testing.assert_array_equal(target[:words], source[1 : words + 1])
    return words


# Seven cycles of body: load, four delay slots, move across, store.
COPY = """
    mvc .S2 b0,ilc
    addaw .D1 a4,1,a4
    nop 2
    SPLOOP
    ldw .D1T1 *a4++,a1
    nop 4
    mv .L2x a1,b1
    spkernel EPILOGUE
||  stw .D2T2 b1,*b4++
"""


def copy_loop(kind: str, epilogue: str) -> str:
    return COPY.replace("SPLOOP", kind).replace("EPILOGUE", epilogue)


@pytest.mark.parametrize("interval", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("count", [8, 9, 20])
def test_counted_loop(tmp_path: Path, interval: int, count: int) -> None:
    """N iterations take (N - 1) ii + length cycles; what follows waits for the epilogue if told."""
    stages = -(-7 // interval)
    machine = ran(tmp_path, copy_loop(f"sploop {interval}", f"{stages - 1},0") + RETURN, count)
    assert copied(machine) == count
    assert machine.cycles == 5 + (count - 1) * interval + 7 + 6


def test_the_manuals_schedule(tmp_path: Path) -> None:
    """SPRUFE8B, table 7-1: eight words copied at an interval of 1, cycle by cycle."""
    machine = prepared(tmp_path, copy_loop("sploop 1", "6,0") + RETURN)
    machine["b0"] = 8
    machine.step(machine.program.symbols["_start"], 5)
    issued = []
    for _ in range(14):
        before = [machine[name] for name in ("a4", "b1", "b4")]
        machine.step(machine.state.pc, 1)
        after = [machine[name] for name in ("a4", "b1", "b4")]
        moved = [old != new for old, new in zip(before, after, strict=True)]
        issued.append(moved[0] + 2 * moved[1] + 4 * moved[2])  # LDW, MV, STW
    assert issued == [1, 1, 1, 1, 1, 3, 7, 7, 6, 6, 6, 6, 6, 4]


# interval, iterations, length, fstg, fcyc: cycles from the first of the body to the next fetch
RESUMED = [
    ((2, 3, 6, 0, 0), 6),  # the last iteration has begun, its later half issues beside the program
    ((2, 3, 6, 1, 1), 9),  # fstg ii + fcyc later (7.9.4)
    ((2, 3, 6, 3, 0), 10),  # an epilogue shorter than that: at its end (7.9.4, last paragraph)
    ((4, 2, 10, 0, 0), 12),  # not before the stage in which SPKERNEL stands is over (7.9.5)
    ((4, 2, 10, 1, 1), 13),
    ((4, 1, 6, 0, 0), 6),  # nothing is left to issue: the buffer is idle, fetch goes on
    ((1, 8, 7, 6, 0), 14),
]


@pytest.mark.parametrize(("loop", "resumed"), RESUMED, ids=str)
def test_when_the_program_goes_on(
    tmp_path: Path, loop: tuple[int, int, int, int, int], resumed: int
) -> None:
    interval, count, length, stage, cycle = loop
    body = "\tadd .L1 1,a6,a6\n" + "\tnop\n" * (length - 2)
    text = f"""
    mvc .S2 b0,ilc
    nop 4
    sploop {interval}
{body}
    spkernel {stage},{cycle}
||  add .L2 1,b6,b6
    mvc .S2 tscl,b20
    nop 9
"""
    machine = ran(tmp_path, text + RETURN, count)
    assert (machine["a6"], machine["b6"]) == (count, count)
    assert machine["b20"] == 6 + resumed


def test_a_branch_from_the_epilogue(tmp_path: Path) -> None:
    """It lands when its NOPs are over, whether or not the buffer is idle by then.

    The program of SIM6747's ``tests/c6x-epilog-bnop.sh``, but its additions on two units.
    """
    text = """
    mvc .S2 b0,ilc
    nop 4
    sploop 1
    add .L1 1,a3,a3
    spkernel 0,0
||  add .S1 1,a6,a6
    bnop .S2 there,5
    mvk .S1 7,a5
there:
    mvk .S1 9,a7
"""
    machine = ran(tmp_path, text + RETURN, 2)
    assert (machine["a3"], machine["a6"], machine["a5"], machine["a7"]) == (2, 2, 0, 9)


def test_a_store_reads_its_register_when_it_issues(tmp_path: Path) -> None:
    """Words of SIM6747's ``tests/c6x-store-data.sh`` (SPRUFE8 4.2.3): STW A5 beside MVK 2,A5."""
    words = "028000a8 0200802a 0240006a 029002f5 02800128 031002e4 00006000"
    text = "\n".join(f"\t.word 0x{word}" for word in words.split())
    machine = prepared(tmp_path, text + RETURN)
    machine.memory(0x8000_0100, 8)
    machine.run(machine.program.symbols["_start"], 100)
    assert (machine["a5"], machine["a6"]) == (2, 1)


@pytest.mark.parametrize(("interval", "more"), [(1, 4), (2, 2), (3, 2), (4, 1), (6, 1)])
def test_delayed_loop_counts_late(tmp_path: Path, interval: int, more: int) -> None:
    """SPLOOPD does not look at ILC in its first four cycles: ceil(4 / ii) iterations more."""
    stages = -(-7 // interval)
    text = f"""
    addaw .D1 a4,1,a4
    sploopd {interval}
||  mvc .S2 b0,ilc
    ldw .D1T1 *a4++,a1
    nop 4
    mv .L2x a1,b1
    spkernel {stages - 1},0
||  stw .D2T2 b1,*b4++
"""
    assert copied(ran(tmp_path, text + RETURN, 9)) == 9 + more


def test_short_loop_ends_before_it_is_loaded(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        assert copied(ran(tmp_path, copy_loop("sploop 2", "3,0") + RETURN, count)) == count


def test_code_behind_overlaps_the_epilogue(tmp_path: Path) -> None:
    """SPKERNEL 0,0: fetch goes on at once, six cycles before the last store."""
    text = copy_loop("sploop 1", "0,0") + "\tmvk .S1 5,a9\n\tmv .D1 a9,a8\n" + RETURN
    machine = ran(tmp_path, text, 12)
    late = ran(tmp_path, text.replace("spkernel 0,0", "spkernel 6,0"), 12)
    assert (copied(machine), machine["a8"]) == (12, 5)
    assert late.cycles - machine.cycles == 6


def test_published_cycle_count(tmp_path: Path) -> None:
    """A body of twelve cycles at an interval of two, n times: 2 n + 10.

    As in OpenSSL's loops, SPKERNEL 2,1 lets a BNOP of four begin in the epilogue, so that the
    packet behind it is the first that may read the sum, and the last before the branch lands.
    """
    text = """
    mvc .S2 b0,ilc
    nop 3
    mvc .S2 tscl,b20
    sploop 2
    ldw .D1T1 *a4++,a1
    nop 4
    mpy32 .M1 a1,a1,a2
    nop 4
    mv .L1 a2,a5
    spkernel 2,1
||  add .S1 a5,a3,a3
    bnop .S2 b3,4
    mv .L1 a3,a6
||  mvc .S2 tscl,b21
"""
    machine = ran(tmp_path, text, 16)
    words = machine.memories[-2].view("<u4")[:16].astype(object)
    assert machine["a6"] == sum(int(word) ** 2 for word in words) & 0xFFFFFFFF
    assert machine["b21"] - machine["b20"] - 2 == 2 * 16 + 10


def test_masked_instructions_run_once(tmp_path: Path) -> None:
    """SPMASK: its units' instructions are not kept, and the buffer's on these units wait."""
    text = """
    mvc .S2 b0,ilc
    nop 4
    sploop 2
    spmask L1
||  mvk .L1 7,a5
||  add .S1 1,a6,a6
    add .D1 a7,1,a7
    nop
    spmask S1
||  mvk .S1 9,a8
    spkernel 2,0
"""
    machine = ran(tmp_path, text + RETURN, 6)
    assert (machine["a5"], machine["a8"]) == (7, 9)
    # the packet that masks S1 is the fourth cycle, no stage boundary: no addition is lost
    assert (machine["a6"], machine["a7"]) == (6, 6)
    late = text.replace("    nop\n    spmask S1", "    spmask S1")
    assert ran(tmp_path, late + RETURN, 6)["a6"] == 5  # now it is the third, beside iteration two


FORBIDDEN = [
    (copy_loop("sploop 2", "3,0").replace("    nop 2\n", "    nop 1\n"), 8, "less than 4 cycles"),
    (copy_loop("sploop 2", "3,0"), 0, "ILC = 0"),
    (
        copy_loop("sploop 7", "0,0"),
        8,
        "body of 7 cycles at an interval of 7",
    ),
    (copy_loop("sploop 2", "0,0") + "\tnop 4\n\tsploop 2\n", 8, "outside|another loop"),
    (
        copy_loop("sploop 1", "0,0")
        .replace("nop 4", "add .S1 1,a6,a6\n\tnop 3\n")
        .replace("spkernel 0,0", "spkernel 0,0\n||\tmvk .S1 1,a7"),
        8,
        "one unit",
    ),
    (copy_loop("sploop 2", "0,0").replace("    nop 4\n", "    nop 9\n" * 6), 8, "more than 48"),
    (copy_loop("sploop 2", "0,0").replace("    nop 4\n", "    b .S1 _start\n"), 8, "branch inside"),
    (
        copy_loop("sploop 2", "0,0").replace("    nop 4\n", "    mvc .S2 b0,ilc\n"),
        8,
        "inside a loop",
    ),
    (
        copy_loop("sploop 2", "0,0").replace(".L2x a1,b1", ".S1 a1,a9\n    mv .L2x a9,b1"),
        8,
        "a cross-path stall",
    ),
    (copy_loop("[b0] sploop 2", "0,0"), 8, "predicated SPLOOP"),
    (copy_loop("sploopw 2", "0,0").replace("sploopw", "[a1] sploopw"), 8, "not known here"),
]


@pytest.mark.parametrize(("text", "count", "said"), FORBIDDEN)
def test_the_buffer_forbids(tmp_path: Path, text: str, count: int, said: str) -> None:
    with pytest.raises(Fault, match=said):
        ran(tmp_path, text + RETURN, count)


def test_branch_into_the_draining_loop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="while a loop is in the buffer"):
        ran(
            tmp_path,
            copy_loop("sploop 6", "0,0")
            .replace("b1,*b4++", "b1,*b4++\n\tnop")
            .replace("    nop 2\n", "    b .S2 b3\n    nop 1\n"),
            8,
        )

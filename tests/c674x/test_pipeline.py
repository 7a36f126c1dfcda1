"""The pipeline: delay slots, branches, predicates, cross paths, and what the chip forbids.

After SPRUFE8, chapters 3.7 (conditions), 3.8 (constraints), 5 (pipeline).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .machine import STOP, Fault, Machine, Program
from .toolchain import assemble

RETURN = "\n\tb .S2 b3\n\tnop 5\n"


def ran(folder: Path, text: str, **registers: int) -> Machine:
    """The machine after this assembly has returned to B3."""
    machine = Machine(Program(assemble(text, folder)))
    machine["b3"] = STOP
    machine.memory(0x20000, 64)[:] = range(64)
    for name, value in registers.items():
        machine[name] = value
    machine.run(machine.program.symbols["_start"], 10_000)
    return machine


def test_packet_reads_before_it_writes(tmp_path: Path) -> None:
    machine = ran(tmp_path, "\tmv .L1 a1,a2\n||\tmv .S1 a2,a1" + RETURN, a1=1, a2=2)
    assert (machine["a1"], machine["a2"]) == (2, 1)


def test_load_leaves_the_old_value_for_four_cycles(tmp_path: Path) -> None:
    text = "\tldw .D1T1 *a4,a1\n\tnop 3\n\tmv .L1 a1,a2\n\tmv .L1 a1,a3" + RETURN
    machine = ran(tmp_path, text, a4=0x20004, a1=9)
    assert (machine["a2"], machine["a3"]) == (9, 0x07060504)


def test_results_overtake_each_other(tmp_path: Path) -> None:
    """A word loaded earlier lands after an addition issued later."""
    text = "\tldw .D1T1 *a4,a1\n\tadd .L1 a5,1,a1\n\tmv .L1 a1,a2\n\tnop 2\n\tmv .L1 a1,a3" + RETURN
    machine = ran(tmp_path, text.replace("a5,1,a1", "1,a5,a1"), a4=0x20004, a5=5)
    assert (machine["a2"], machine["a3"]) == (6, 0x07060504)


def test_load_beside_a_store_reads_the_old_word(tmp_path: Path) -> None:
    text = "\tstw .D1T1 a1,*a4\n||\tldw .D2T2 *b4,b1\n\tldw .D2T2 *b4,b2\n\tnop 4" + RETURN
    machine = ran(tmp_path, text, a1=0x55, a4=0x20000, b4=0x20000)
    assert (machine["b1"], machine["b2"]) == (0x03020100, 0x55)


def test_branch_has_five_delay_slots(tmp_path: Path) -> None:
    adds = "\n".join(["\tadd .L1 1,a1,a1"] * 7)
    machine = ran(tmp_path, f"\tb .S1 there\n{adds}\nthere:{RETURN}")
    assert machine["a1"] == 5


def test_branch_cuts_a_nop_short(tmp_path: Path) -> None:
    text = "\tb .S1 there\n\tnop 9\n\tmvk .S1 1,a1\nthere:" + RETURN
    machine = ran(tmp_path, text)
    assert machine["a1"] == 0
    assert machine.cycles == 12


def test_bnop_counts_its_nops_taken_or_not(tmp_path: Path) -> None:
    text = (
        "\t[a1] bnop .S1 there,3\n\tadd .L1 1,a2,a2\n\tadd .L1 1,a2,a2\n\tadd .L1 1,a2,a2\nthere:"
    )
    taken = ran(tmp_path, text + RETURN, a1=1)
    passed = ran(tmp_path, text + RETURN, a1=0)
    assert (taken["a2"], taken.cycles) == (2, 12)
    assert (passed["a2"], passed.cycles) == (3, 13)


def test_branches_in_delay_slots_of_branches(tmp_path: Path) -> None:
    text = """
    b .S1 first
    b .S1 second
    nop 5
first:
    mvk .S1 1,a1
second:
    mvk .S1 2,a2
    mv .L1 a1,a3
"""
    machine = ran(tmp_path, text + RETURN)
    # one packet at `first`, then the second branch lands
    assert (machine["a1"], machine["a2"], machine["a3"]) == (1, 2, 1)


def test_counting_branches(tmp_path: Path) -> None:
    text = "again:\tbdec .S1 again,a1\n\tnop 4\n\tadd .L1 1,a2,a2\n"
    machine = ran(tmp_path, text + RETURN, a1=3)
    assert (machine["a1"], machine["a2"]) == (0xFFFFFFFF, 5)
    text = "\tbpos .S1 there,a1\n\tnop 5\n\tmvk .S1 1,a2\nthere:"
    assert ran(tmp_path, text + RETURN, a1=0)["a2"] == 0
    assert ran(tmp_path, text + RETURN, a1=-1)["a2"] == 1


def test_call_waits_and_comes_back(tmp_path: Path) -> None:
    text = """
    mv .L2 b3,b10
    callp .S2 function,b3
    mv .L1 a1,a2
    bnop .S2 b10,5
function:
    bnop .S2 b3,4
    mvk .S1 7,a1
"""
    machine = ran(tmp_path, text)
    assert machine["a2"] == 7
    assert machine.cycles == 1 + 6 + 6 + 1 + 6


def test_addkpc_gives_an_address_and_waits(tmp_path: Path) -> None:
    text = "\taddkpc .S2 there,b1,4\n\tmvk .S1 1,a1\nthere:" + RETURN
    machine = ran(tmp_path, text)
    assert machine["b1"] == machine.program.symbols["there"]
    assert machine.cycles == 5 + 1 + 6


@pytest.mark.parametrize("name", ["a0", "a1", "a2", "b0", "b1", "b2"])
def test_predicates(tmp_path: Path, name: str) -> None:
    text = f"\t[{name}] mvk .S1 1,a4\n\t[!{name}] mvk .S1 2,a5" + RETURN
    on, off = ran(tmp_path, text, **{name: 0x100}), ran(tmp_path, text, **{name: 0})
    assert (on["a4"], on["a5"], off["a4"], off["a5"]) == (1, 0, 0, 2)


def test_opposite_predicates_may_share_a_destination(tmp_path: Path) -> None:
    text = "\t[a1] mvk .S1 1,a4\n||\t[!a1] mvk .L1 2,a4" + RETURN
    assert ran(tmp_path, text, a1=0)["a4"] == 2


def test_time_stamp_counts_cycles(tmp_path: Path) -> None:
    text = "\tmvc .S2 tscl,b1\n\tnop 6\n\tmvc .S2 tscl,b2" + RETURN
    machine = ran(tmp_path, text)
    assert machine["b2"] - machine["b1"] == 7


@pytest.mark.parametrize(
    ("text", "stalls"),
    [
        ("\tmvk .S1 1,a1\n\tmv .L2x a1,b1", 1),
        ("\tmvk .S1 1,a1\n\tnop\n\tmv .L2x a1,b1", 0),
        ("\tmvk .S1 1,a1\n\tmv .L1 a1,a2", 0),
        ("\tmpy .M1 a1,a1,a2\n\tnop\n\tmv .L2x a2,b1", 1),
        ("\tldw .D1T1 *a4,a1\n\tnop 4\n\tmv .L2x a1,b1", 0),  # a load's word comes by another way
    ],
)
def test_cross_path_stalls(tmp_path: Path, text: str, stalls: int) -> None:
    machine = ran(tmp_path, text + RETURN, a4=0x20000)
    assert machine.state.stalls == stalls


# (assembly, what is wrong with it)
FORBIDDEN = [
    ("\tldw .D1T1 *a4,a1\n\tnop 3\n\tmvk .S1 1,a1", "two results land in A1"),
    ("\tmvk .S1 1,a1\n||\tmvk .L1 2,a1", "two results land in A1"),
    ("\tlddw .D1T1 *a4,a1:a0\n\tnop 3\n\tmvk .S1 1,a1", "two results land in A1"),
    ("\tmpy32 .M1 a1,a2,a7:a6\n\tnop\n\tmpy .M1 a1,a2,a3", "leave one .M unit"),
    ("\tldnw .D1T1 *a4,a1\n||\tldw .D2T2 *b4,b1", "beside another access"),
    ("\tldw .D1T1 *+a4(2),a1".replace("(2)", "[0]") + "\n\tldh .D1T1 *a5,a1", "not aligned"),
    ("\tldw .D1T1 *a6,a1", "outside every region"),
    ("\tstw .D1T1 a1,*a6", "outside every region"),
    ("\tmvk .S2 1,b1\n\tmvc .S2 b1,amr", "circular addressing"),
    ("\tb .S1 there\n||\tb .S2 there\nthere:\n\tnop", "two branches"),
    ("\tbnop .S2 b5,5", "not at an execute packet"),
    ("\taddsp .L1 a1,a2,a3", "not known here"),
    ("\tidle", "not known here"),
    ("\tmvc .S2 istp,b1", "not known here"),
    ("\tmvk .S2 1,b1\n\tmvc .S2 b1,csr", "interrupts"),
    ("\tmvk .S2 2,b1\n\tmvc .S2 b1,ier", "interrupts"),
    ("\tldw .D2T2 *b4,b1", "outside every region"),
    ("x:\tb .S1 x\n\tnop 5", "still running"),
]


@pytest.mark.parametrize(("text", "said"), FORBIDDEN)
def test_the_chip_forbids(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Fault, match=said):
        ran(tmp_path, text + RETURN, a4=0x20000, a5=0x20001, b4=0x40000, b5=0x10002)


def test_crossing_registers_must_agree(tmp_path: Path) -> None:
    """One cross path carries one register a cycle; the assembler lets two pass."""
    with pytest.raises(Fault, match="B1 and B2 cross"):
        ran(tmp_path, "\tadd .L1x a1,b1,a2\n||\tadd .S1x a1,b2,a3" + RETURN)
    shared = ran(tmp_path, "\tadd .L1x a1,b1,a2\n||\tadd .S1x a1,b1,a3" + RETURN, b1=4)
    assert (shared["a2"], shared["a3"]) == (4, 4)


def test_fault_names_address_and_instruction(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"0x00010004 \(ldw \.D1T1 .*a6.*outside every region"):
        ran(tmp_path, "\tnop\n\tldw .D1T1 *a6,a1" + RETURN)


def test_memory_may_be_read_only(tmp_path: Path) -> None:
    machine = Machine(Program(assemble("\tstw .D1T1 a1,*a4" + RETURN, tmp_path)))
    machine.memory(0x20000, 64, writable=False)
    machine["a4"] = 0x20000
    with pytest.raises(Fault, match="read-only"):
        machine.run(machine.program.symbols["_start"], 100)


def test_windows_model_registers(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    text = "\tstw .D1T1 a1,*a4\n\tldbu .D1T1 *+a4[4],a2\n\tnop 4" + RETURN
    machine = Machine(Program(assemble(text, tmp_path)))
    machine.window(0x1D0D000, 64, lambda at, size: at + size, lambda *access: seen.append(access))
    machine["a1"], machine["a4"], machine["b3"] = 0x77, 0x1D0D000, STOP
    machine.run(machine.program.symbols["_start"], 100)
    assert seen == [(0x1D0D000, 4, 0x77)]
    assert machine["a2"] == 0x1D0D005

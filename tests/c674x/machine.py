"""The Python face of the C674x interpreter: programs in, registers, memory and cycles out."""

from __future__ import annotations

import ctypes
import re
import struct
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np

from .toolchain import run, tool

HERE = Path(__file__).parent
STOP = 0xFFFF_0000  # the return address by which a called function comes back
STACK, STACK_BYTES = 0x0080_0000, 0x10000
UNITS = ("L1", "L2", "S1", "S2", "D1", "D2", "M1", "M2")
CONTROLS = ("amr", "ilc", "rilc", "tscl", "tsch", "csr", "ier")
NOTHING, REGISTER, PAIR, CONSTANT, CONTROL = range(5)
LOOP_CYCLES = 48
KEPT = [*range(10, 16), *range(42, 48)]  # A10..A15, B10..B15 survive a call (C6000 EABI)


class Fault(Exception):
    """What the chip would not do as the program has it."""


class Operand(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("value", ctypes.c_int32)]


class Instruction(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("operation", "unit", "path")),
        *((name, ctypes.c_int32) for name in ("predicate", "if_zero", "parallel")),
        ("operand", Operand * 4),
        *((name, ctypes.c_int32) for name in ("base", "mode", "offset", "scale")),
    ]


WindowLoad = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32)
WindowStore = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32)


class Region(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("writable", ctypes.c_bool),
        ("bytes", ctypes.c_void_p),
        ("load", WindowLoad),
        ("store", WindowStore),
    ]


class Result(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_uint32),
        *((name, ctypes.c_uint8) for name in ("destination", "unit", "delay")),
        *((name, ctypes.c_bool) for name in ("pair", "load")),
    ]


class Loop(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_bool) for name in ("active", "loading", "delayed", "ended", "fetching")),
        *((name, ctypes.c_int) for name in ("interval", "length", "iterations", "resume")),
        ("loaded", ctypes.c_int),
        *((name, ctypes.c_uint64) for name in ("start", "end")),
        ("body", ctypes.POINTER(Instruction) * 8 * LOOP_CYCLES),
        ("count", ctypes.c_int * LOOP_CYCLES),
    ]


class Branch(ctypes.Structure):
    _fields_ = [("cycle", ctypes.c_uint64), ("target", ctypes.c_uint32)]


class State(ctypes.Structure):
    _fields_ = [
        ("reg", ctypes.c_uint32 * 64),
        ("ilc", ctypes.c_uint32),
        ("rilc", ctypes.c_uint32),
        ("csr", ctypes.c_uint32),
        ("ier", ctypes.c_uint32),
        ("ilc_written", ctypes.c_uint64),
        *((name, ctypes.c_uint64) for name in ("cycle", "stalls", "packets", "instructions")),
        ("packet", ctypes.c_uint32),
        ("profile", ctypes.POINTER(ctypes.c_uint64)),
        ("updated", ctypes.c_uint64 * 64),
        ("due", Result * 16 * 8),
        ("due_count", ctypes.c_int * 8),
        ("branch", Branch * 8),
        ("branches", ctypes.c_int),
        ("idle", ctypes.c_int),
        ("pc", ctypes.c_uint32),
        ("loop", Loop),
        ("region", Region * 16),
        ("regions", ctypes.c_int),
        ("code", ctypes.POINTER(Instruction)),
        ("code_count", ctypes.c_int),
        ("code_at", ctypes.POINTER(ctypes.c_int32)),
        ("code_base", ctypes.c_uint32),
        ("code_words", ctypes.c_uint32),
        ("error", ctypes.c_char * 256),
        ("error_address", ctypes.c_uint32),
    ]


@cache
def core() -> ctypes.CDLL:
    """The interpreter, compiled by the system's compiler into a folder that goes at once."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "c674x.so"
        warnings = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
        run("cc", "-std=c11", "-O2", *warnings, "-shared", "-fPIC", "-o", library, HERE / "core.c")
        loaded = ctypes.CDLL(str(library))
    loaded.operation_names.restype = ctypes.c_char_p
    run_types = [ctypes.POINTER(State), ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64]
    loaded.machine_run.argtypes = run_types
    assert loaded.machine_size() == ctypes.sizeof(State), "machine.py and core.h differ"
    return loaded


@cache
def operations() -> dict[str, int]:
    """Every operation that the interpreter knows, by its number there."""
    names = core().operation_names().decode().split()
    return {name: number for number, name in enumerate(names)}


def register(text: str) -> int:
    """0..31 for A0..A31, 32..63 for B0..B31."""
    return int(text[1:]) + (32 if text[0] in "bB" else 0)


# ---- decoding, from what objdump says ----

LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f]+)\s*\t(.*)$")
SYMBOL = re.compile(r"^([0-9a-f]{8}) .{7} \S+\t([0-9a-f]{8}) (?:\.hidden )?(\S+)$")
TEXT = re.compile(
    r"(?P<parallel>\|\| )?(?:\[\s*(?P<zero>!?)(?P<predicate>[ab]\d+)\s*\]\s*)?"
    r"(?P<name>\w+)(?: \.(?P<unit>[LSDM][12])(?P<cross>X?)(?:T(?P<path>[12]))?)?(?: (?P<rest>.*))?$"
)
MEMORY = re.compile(
    r"\*(?P<before>\+\+|--|\+|-|)(?P<base>[ab]\d+)(?P<after>\+\+|--|)"
    r"(?:\((?P<bytes>\d+)\)|\[(?P<units>\d+|[ab]\d+)\])?$"
)
SIZES = {"b": 1, "bu": 1, "h": 2, "hu": 2, "w": 4, "dw": 8, "nw": 4, "ndw": 8}
MINUS_PLUS = {"-": 0, "+": 1, "": 1, "--": 8, "++": 9}


def decode(address: int, encoded: str, text: str) -> Instruction:
    """One instruction of objdump's listing.

    Raises
    ------
    Fault
        If the interpreter does not know it.
    """
    where = f"0x{address:08x} ({text})"
    match = TEXT.match(text)
    if len(encoded) != 8:
        raise Fault(f"{where}: a compact instruction; assemble without them")
    if match is None or match["name"] not in operations():
        raise Fault(f"{where}: an instruction that is not known here")
    made = Instruction(
        address=address, operation=operations()[match["name"]], predicate=-1, unit=-1
    )
    made.parallel = match["parallel"] is not None
    if match["predicate"]:
        made.predicate, made.if_zero = register(match["predicate"]), match["zero"] == "!"
    if match["unit"]:
        made.unit = UNITS.index(match["unit"])
    made.path = int(match["path"] or 0)
    if match["name"] == "spmask":
        units = (match["rest"] or "").split(",") if match["rest"] else []
        made.operand[0] = Operand(CONSTANT, sum(1 << UNITS.index(unit) for unit in units))
        return made
    place = 0
    for word in (match["rest"] or "").split(","):
        if word.startswith("*"):
            decode_memory(made, match["name"], word, where)
        elif word:
            made.operand[place] = decode_operand(word, where)
            place += 1
    return made


def decode_operand(word: str, where: str) -> Operand:
    """A register, a pair, a control register, a constant or an address."""
    if re.fullmatch(r"[ab]\d+", word):
        return Operand(REGISTER, register(word))
    if re.fullmatch(r"[ab]\d+:[ab]\d+", word):
        return Operand(PAIR, register(word.split(":")[1]))
    if word in CONTROLS:
        return Operand(CONTROL, CONTROLS.index(word))
    if re.fullmatch(r"-?\d+", word):
        return Operand(CONSTANT, ctypes.c_int32(int(word)).value)
    if target := re.fullmatch(r"([0-9a-f]+) <.*>", word) or re.fullmatch(r"0x([0-9a-f]+)", word):
        return Operand(CONSTANT, ctypes.c_int32(int(target[1], 16)).value)
    raise Fault(f"{where}: operand {word} is not known here")


def decode_memory(made: Instruction, name: str, word: str, where: str) -> None:
    """``*+A4(8)``, ``*B4++[A5]`` and the like: offsets in bytes, or a register and its scale."""
    match = MEMORY.match(word)
    if match is None:
        raise Fault(f"{where}: operand {word} is not known here")
    size = SIZES[name[2:]]
    made.base = register(match["base"])
    made.mode = MINUS_PLUS[match["after"] or match["before"]] | (2 if match["after"] else 0)
    units = match["units"] or "0"
    if units[0] in "ab":
        made.offset, made.scale = register(units), size
    else:
        made.offset = int(match["bytes"] or 0) + int(units) * size


class Program:
    """A linked ELF file: its segments, symbols and decoded code."""

    def __init__(self, elf: Path) -> None:
        self.data = elf.read_bytes()
        assert self.data[:6] == b"\x7fELF\x01\x01", "expected a 32-bit little-endian ELF file"
        listing = run(tool("objdump"), "-t", "-d", "-z", elf).splitlines()
        symbols = [match for match in map(SYMBOL.match, listing) if match]
        self.symbols = {match[3]: int(match[1], 16) for match in symbols}
        self.sizes = {match[3]: int(match[2], 16) for match in symbols}
        lines = [match for match in map(LINE.match, listing) if match]
        self.text = {int(line[1], 16): line[3].strip() for line in lines}
        self.unknown: dict[int, str] = {}
        code = []
        for line in lines:
            try:
                code.append(decode(int(line[1], 16), line[2].strip(), line[3].strip()))
            except Fault as fault:  # it matters only if the program comes by
                self.unknown[int(line[1], 16)] = str(fault)
                code.append(
                    Instruction(address=int(line[1], 16), operation=-1, unit=-1, predicate=-1)
                )
        self.code = (Instruction * len(code))(*code)

    def segments(self) -> list[tuple[int, bytes, int]]:
        """Address, content and size in memory of each loaded segment."""
        start, entry_size, count = struct.unpack_from("<28x I 10x HH", self.data)
        headers = [
            struct.unpack_from("<8I", self.data, start + k * entry_size) for k in range(count)
        ]
        return [
            (address, self.data[offset : offset + filled], size)
            for kind, offset, address, _, filled, size, *_ in headers
            if kind == 1 and size
        ]


class Machine:
    """A C674x with a program in its memory.

    Without ``memories``, {address: bytes}, it has what the program's segments need, and a stack.
    With them, the stack of called functions lies at the end of the first.
    """

    def __init__(self, program: Program, memories: dict[int, int] | None = None) -> None:
        self.program = program
        self.state = State()
        self.memories: list[np.ndarray] = []
        self.memory_bases: list[int] = []
        self.hooks: list[object] = []  # kept alive for as long as C may call them
        code = program.code
        base = min(instruction.address for instruction in code)
        words = (max(instruction.address for instruction in code) - base) // 4 + 1
        places = (ctypes.c_int32 * words)(*([-1] * words))
        for place, instruction in enumerate(code):
            if instruction.address % 4 == 0:
                places[(instruction.address - base) // 4] = place
        self.state.code, self.state.code_count = code, len(code)
        self.state.code_at, self.state.code_base, self.state.code_words = places, base, words
        segments = program.segments()
        if memories is None:
            memories = {STACK - STACK_BYTES: STACK_BYTES}
            memories |= {address: size for address, _, size in segments}
        for address, size in memories.items():
            self.memory(address, size)
        for address, content, _ in segments:
            self.bytes_at(address, len(content))[:] = np.frombuffer(content, np.uint8)
        first, size = next(iter(memories.items()))
        self.stack = first + size - 256  # room for arguments beyond the tenth

    def memory(self, base: int, size: int, writable: bool = True) -> np.ndarray:
        """Declare a region of memory; returns its bytes, shared with the machine."""
        content = np.zeros(size, np.uint8)
        self.memories.append(content)
        self.memory_bases.append(base)
        self._region(Region(base, size, writable, content.ctypes.data))
        return content

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """A part of one of the regions declared."""
        for place, content in enumerate(self.memories):
            offset = address - self.memory_bases[place]
            if 0 <= offset <= len(content) - size:
                return content[offset : offset + size]
        raise Fault(f"0x{address:08x}: {size} bytes of the program lie outside every region")

    def window(
        self,
        base: int,
        size: int,
        load: Callable[[int, int], int],
        store: Callable[[int, int, int], None],
    ) -> None:
        """Declare modelled registers: ``load(address, size)``, ``store(address, size, value)``."""
        region = Region(base, size, True, None, WindowLoad(load), WindowStore(store))
        self.hooks += [region.load, region.store]
        self._region(region)

    def _region(self, region: Region) -> None:
        assert self.state.regions < len(self.state.region)
        self.state.region[self.state.regions] = region
        self.state.regions += 1

    def __getitem__(self, name: str) -> int:
        return self.state.reg[register(name)]

    def __setitem__(self, name: str, value: int) -> None:
        self.state.reg[register(name)] = value & 0xFFFF_FFFF

    @property
    def cycles(self) -> int:
        """Cycles so far under ideal memory, stalls of the cross paths among them."""
        return self.state.cycle + self.state.stalls

    def profile(self) -> np.ndarray:
        """From here on, the cycles spent in each word of the code; see :meth:`cycles_in`."""
        self.counts = np.zeros(self.state.code_words, np.uint64)
        self.state.profile = self.counts.ctypes.data_as(ctypes.POINTER(ctypes.c_uint64))
        return self.counts

    def cycles_in(self, counts: np.ndarray, functions: Iterable[str]) -> int:
        """The part of such counts that these functions took, without what they called."""
        total = 0
        for name in functions:
            if name in self.program.symbols:
                first = (self.program.symbols[name] - self.state.code_base) // 4
                total += int(counts[first : first + self.program.sizes[name] // 4].sum())
        return total

    def run(self, start: int, limit: int = 1_000_000) -> None:
        """Run from an address until the program returns to B3 = STOP.

        Raises
        ------
        Fault
            At whatever the chip would not do; names the address and the instruction.
        """
        limit += self.state.cycle
        if core().machine_run(ctypes.byref(self.state), start, STOP, limit):
            raise self._fault()

    def _fault(self) -> Fault:
        address = self.state.error_address
        text = self.program.text.get(address, "no instruction")
        what = self.program.unknown.get(address)
        return Fault(what or f"0x{address:08x} ({text}): {self.state.error.decode()}")

    def step(self, start: int, cycles: int) -> None:
        """Run that many cycles from an address, and stand there."""
        core().machine_run(ctypes.byref(self.state), start, STOP, self.state.cycle + cycles)
        if not self.state.error.startswith(b"still running"):
            raise self._fault()
        self.state.error = b""

    def call(self, function: str, *arguments: int, limit: int = 10_000_000) -> int:
        """Call a function by the C6000 EABI with 32-bit arguments; returns A4.

        Arguments: A4, B4, A6, B6, A8, B8, A10, B10, A12, B12, then words from SP + 4 on.
        The registers a function must keep are compared.
        """
        inside = ("A4", "B4", "A6", "B6", "A8", "B8", "A10", "B10", "A12", "B12")
        self["B15"] = self.stack
        self["B14"] = self.program.symbols.get("__c6xabi_DSBT_BASE", 0)
        self["B3"] = STOP
        for name, value in zip(inside, arguments, strict=False):
            self[name] = value
        for place, value in enumerate(arguments[len(inside) :]):
            self.bytes_at(self.stack + 4 + 4 * place, 4).view("<u4")[0] = value & 0xFFFF_FFFF
        kept = [self.state.reg[number] for number in KEPT]
        self.run(self.program.symbols[function], limit)
        assert kept == [self.state.reg[number] for number in KEPT], f"{function} lost a register"
        return self["A4"]

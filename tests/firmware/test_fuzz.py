"""What a fuzzer (``fuzz/fuzz``) tried on the reader of containers and on the line, tried again."""

from __future__ import annotations

from pathlib import Path

import pytest
from c_board import session
from corpus import FUZZ, replay, unpacked
from native import Native, core

from napari_ct2mri.errors import ContainerError
from napari_ct2mri.firmware.container import Fault, seal, unpack


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return unpacked("container", tmp_path_factory.mktemp("corpus"))


def sealed(data: bytes) -> bytes:
    """With the right digest, as ``fuzz/container.c`` makes it."""
    size = int.from_bytes(data[16:20], "little")
    return seal(bytearray(data[:size])) + data[size:] if 128 <= size <= len(data) else data


def fault(data: bytes) -> int:
    try:
        unpack(data)
    except ContainerError as error:
        return error.number
    return 0


def test_containers_under_sanitizers(corpus: list[Path], tmp_path: Path) -> None:
    replay([FUZZ / "container.c", *core()], corpus, tmp_path)


def test_a_board_under_sanitizers(tmp_path: Path) -> None:
    corpus = unpacked("receiver", tmp_path)
    inputs = [path for path in corpus if path.name != "model.ctm"]
    assert len(inputs) == len(corpus) - 1 > 100
    replay([FUZZ / "receiver.c", *session()], inputs, tmp_path)


def test_both_readers_say_the_same(native: Native, corpus: list[Path]) -> None:
    numbers = {}
    for path in corpus:
        data = sealed(path.read_bytes())
        numbers[path.name] = native.open(data)[0]
        assert numbers[path.name] == fault(data), path.name
    assert set(numbers.values()) >= {0, *Fault} - {Fault.DIGEST}

"""The host's session against the board's receiver in C, its codec, tables and network included."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_ct2mri.errors import BoardError
from napari_ct2mri.firmware.container import Container, pack
from napari_ct2mri.firmware.reference import each_layer, run
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link import Connection, Number, Runner, push_model

from .lines import Faults, VirtualLine

sys.path.insert(0, str(Path(__file__).parents[1] / "firmware"))

QUIET = Faults()
BAD = Faults(drop=0.003, flip=0.003, duplicate=0.005, delay=0.003)
RESET = Faults(drop=0.001, flip=0.001, cut=0.002)


@pytest.fixture(scope="module")
def library():
    from c_board import load

    return load()


@pytest.fixture(scope="module", params=[0, 1], ids=["alone", "neighbours"])
def container(request: pytest.FixtureRequest) -> Container:
    from random_models import boxed, random_model

    return boxed(random_model(4, 3, 3, neighbours=request.param, size=(24, 40)))


def runner(library, container: Container, faults: Faults = QUIET, seed: int = 0, **more) -> Runner:
    from c_board import CBoard

    line = VirtualLine(CBoard(library, 1 << 17), seed=seed)
    run_job(push_model(lambda: Connection(line), pack(container)), lambda event: None)
    line.faults = faults
    return Runner(Connection(line), **more)


def volume(container: Container, count: int) -> list[NDArray[np.int16]]:
    """Noise in HU, beyond the window on either side."""
    chance = np.random.default_rng(1)
    shape = container.model.images[0]
    size = (count, shape.height, shape.width)
    return list(chance.normal(40, 60, size).astype(np.int16))


def planes_of(container: Container, slices: list[NDArray[np.int16]]) -> list[list[NDArray]]:
    count = container.model.images[0].channels
    return [slices[i : i + count] for i in range(len(slices) - count + 1)]


def expected(container: Container, planes: list[NDArray]) -> NDArray[np.uint8]:
    """What the reference in Python makes of it: table, network."""
    return run(container.model, network_bytes(container, planes))


def network_bytes(container: Container, planes: list[NDArray]) -> NDArray[np.uint8]:
    table = container.tables[0 if planes[0].dtype == np.int16 else -1]
    last = len(table.values) - 1
    return np.stack(
        [table.values[np.clip(p.astype(int) - table.first, 0, last)] for p in planes], axis=-1
    )


@pytest.mark.parametrize(("faults", "seed"), [(QUIET, 0), *((BAD, s) for s in range(6))])
def test_slices_equal_the_reference(library, container: Container, faults: Faults, seed: int):
    inputs = planes_of(container, volume(container, 8))
    answers = list(runner(library, container, faults, seed).run(inputs))
    assert len(answers) == len(inputs)
    for answer, planes in zip(answers, inputs, strict=True):
        np.testing.assert_array_equal(answer.mr, expected(container, planes))


def test_resets_change_no_pixel(library, container: Container):
    inputs = planes_of(container, volume(container, 10))
    wanted, cuts = [expected(container, planes) for planes in inputs], 0
    for seed in range(8):
        live = runner(library, container, RESET, seed)
        for answer, mr in zip(live.run(inputs), wanted, strict=True):
            np.testing.assert_array_equal(answer.mr, mr)
        cuts += live.connection.line.cuts
    assert cuts > 8


def test_pictures(library, container: Container):
    chance = np.random.default_rng(2)
    shape = container.model.images[0]
    planes = list(chance.integers(0, 256, (shape.channels, *container.model.size), np.uint8))
    (answer,) = runner(library, container).run([planes])
    np.testing.assert_array_equal(answer.mr, expected(container, planes))


def test_every_layer_by_its_digest(library, container: Container):
    planes = planes_of(container, volume(container, 5))[0]
    image = network_bytes(container, planes)
    live = runner(library, container, is_network=True, with_digests=True)
    (answer,) = live.run([[np.ascontiguousarray(p) for p in np.moveaxis(image, -1, 0)]])
    np.testing.assert_array_equal(answer.mr, run(container.model, image))
    found = live.connection.digests(live.connection.hello.layers)
    stored = [np.ascontiguousarray(each) for each in each_layer(container.model, image)]
    assert found == [sha256(each).digest() for each in stored]


def test_statistics(library, container: Container):
    live = runner(library, container)
    live.connection.stats()
    inputs = planes_of(container, volume(container, 5))
    assert len(list(live.run(inputs))) == len(inputs)
    stats = live.connection.stats()
    assert stats.slices == len(inputs)
    assert len(stats.layers_us) == live.connection.hello.layers
    assert (stats.dropped, stats.overrun) == (0, 0)


def test_the_container_is_read_back(library, container: Container):
    connection = runner(library, container).connection
    assert connection.read(0, connection.hello.size) == pack(container)


def test_a_broken_container_leaves_the_old_one(library, container: Container):
    live = runner(library, container)
    line, hello = live.connection.line, live.connection.hello
    for broken, number in ((b"CT2MRI" + bytes(5000), Number.CONTAINER + 2), (bytes(50), None)):
        with pytest.raises(BoardError, match="COMMIT, error 1") as info:
            run_job(push_model(lambda: Connection(line), broken), lambda event: None)
        assert number in (None, info.value.number)
        assert Connection(line).hello.digest == hello.digest

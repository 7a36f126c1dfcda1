"""Live mode: the slice in view through a board."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from at_a_board import container_of, ct_file, needs_compiler, quiet, reference, until

from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows import live_thread
from napari_ct2mri.app.workflows.live_thread import BoardLost, LiveEvent
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import run_job


@needs_compiler
def test_the_newest_slice_wins(ready: str, tmp_path: Path) -> None:
    with workflows.Live(ready) as live:
        grid = live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        for k in range(grid.depth):
            live.ask(k)
        seen = [until(live).k]
        while live.unanswered:
            made = live.poll()
            seen += [made.k] if made else []
        assert seen[-1] == grid.depth - 1
        assert len(seen) < grid.depth
        stats = live.stats()
        assert stats is not None
        assert stats.slices == len(seen)


@needs_compiler
def test_neighbours_of_the_slice_in_view_are_ready(
    project: Path, ready: str, tmp_path: Path
) -> None:
    container = container_of(project)
    with workflows.Live(ready) as live:
        grid = live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        expected = [grid.mr(reference(container, grid.planes(k))) for k in range(grid.depth)]
        live.ask(1)
        assert until(live).k == 1
        assert quiet(live) == 3
        live.ask(2)
        assert live.unanswered == 1
        made = live.poll(0.0)
        assert made is not None
        assert made.k == 2
        np.testing.assert_array_equal(made.mr, expected[2])
        assert quiet(live) == 5  # 3 is new, and 1 was given away
        for k in (1, 0, 3, 3):
            live.ask(k)
            made = until(live)
            assert made.k == k
            np.testing.assert_array_equal(made.mr, expected[k])
        live.ask(0)
        live.ask(2)  # the view has moved on: slice 0 does not come out any more
        assert until(live).k == 2
        before = quiet(live)
        live.show(read_volume(ct_file(tmp_path / "other.nii.gz", seed=4)))
        assert quiet(live) == before  # of another CT nothing was asked for
    with workflows.Live(ready, look_ahead=False) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        live.ask(1)
        until(live)
        assert quiet(live) == 1


@needs_compiler
def test_the_same_slice_is_neither_sent_nor_computed_again(ready: str, tmp_path: Path) -> None:
    with workflows.Live(ready, look_ahead=False) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        for _ in range(3):  # on its way
            live.ask(1)
        first = until(live)
        assert live.stats().slices == 1
        live.ask(1)  # came last
        assert until(live) is first
        assert live.stats().slices == 1
        live.ask(2)
        live.ask(1)
        assert until(live).k in (1, 2)
        live.show(read_volume(ct_file(tmp_path / "other.nii.gz", seed=4)))
        live.ask(1)  # of another CT
        made = until(live)
        assert not np.array_equal(made.mr, first.mr)
        assert live.stats().slices > 1


@needs_compiler
def test_a_slice_on_its_way_is_not_sent_again_after_another(ready: str, tmp_path: Path) -> None:
    with workflows.Live(ready, look_ahead=False) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        live.ask(1)
        assert live.poll(0.0) is None  # it goes out
        live.ask(2)
        live.ask(1)
        assert live.unanswered == 1
        assert until(live).k == 1
        live.ask(2)  # was dropped, not sent
        assert until(live).k == 2
        assert quiet(live) == 2


@needs_compiler
def test_a_slow_board_is_sent_nothing_ahead(
    ready: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ct2mri.app.workflows.live._QUICK_S", 0.0)
    with workflows.Live(ready) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        live.ask(1)
        until(live)
        assert quiet(live) == 1


@needs_compiler
def test_an_unplugged_board_is_picked_up_again(
    firmware: Path, project: Path, tmp_path: Path
) -> None:
    link, store = tmp_path / "port", tmp_path / "store"

    def plug_in(stack: ExitStack) -> None:
        running = stack.enter_context(workflows.start_board(firmware, "host", store))
        link.unlink(missing_ok=True)
        link.symlink_to(running.port)

    with ExitStack() as plug, ExitStack() as again:
        plug_in(plug)
        run_job(workflows.push(project, str(link)), lambda event: None)
        with workflows.Live(str(link)) as live:
            grid = live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
            live.ask(1)
            first = until(live)
            plug.close()
            live.ask(2)
            end = time.monotonic() + 10
            while not live.problem and time.monotonic() < end:
                assert live.poll() is None
            assert "went away" in live.problem
            assert live.hello is None
            assert live.poll(0.6) is None
            plug_in(again)
            made = until(live)
            assert (made.k, live.problem) == (2, "")
            live.ask(1)
            np.testing.assert_array_equal(until(live).mr, first.mr)
            assert grid.depth == 4


@needs_compiler
def test_a_board_at_another_port_is_known_by_its_adapter(
    firmware: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the same kind that stays plugged in is not even opened."""
    store, opened, there = tmp_path / "store", [], []
    looks, events = [], []

    def adapter(port: str, serial_number: str) -> workflows.PortState:
        return workflows.PortState(port, "host", "an adapter", None, serial_number)

    def ports() -> tuple[workflows.PortState, ...]:
        looks.append(len(there))
        return tuple(there)

    def live(port: str, **how: str) -> workflows.Live:
        opened.append(port)
        return workflows.Live(port, **how)

    def look_until(is_enough: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not is_enough():
            assert time.monotonic() < end
            watch.look()

    def last() -> LiveEvent:
        return events[-1]

    for name, value in (("ports", ports), ("Live", live), ("_ELSEWHERE_S", 0.0)):
        monkeypatch.setattr(live_thread, name, value)
    stranger = adapter("/dev/ttyNONE9", "B2")
    ct = read_volume(ct_file(tmp_path / "ct.nii.gz"))
    with ExitStack() as stack:
        with workflows.start_board(firmware, "host", store) as first:
            run_job(workflows.push(project, first.port), lambda event: None)
            link = tmp_path / "port"
            link.symlink_to(first.port)
            there[:] = [adapter(str(link), "A1"), stranger]
            watch = live_thread._Watch(events.append, str(link), "host", ct)
            stack.enter_context(watch)
        link.unlink()
        there[:] = [stranger]
        look_until(lambda: isinstance(last(), BoardLost))
        looks.clear()
        look_until(lambda: len(looks) >= 3)
        assert opened == [str(link)]
        second = stack.enter_context(workflows.start_board(firmware, "host", store))
        there.append(adapter(second.port, "A1"))
        look_until(lambda: not isinstance(last(), BoardLost))
        assert last().port == second.port

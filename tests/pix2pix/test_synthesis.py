from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ct2mri.config import Window, preset
from napari_ct2mri.errors import ConfigError, VolumeError
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.jobs import Event, SlicesDone, run_job
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header, load_checkpoint
from napari_ct2mri.pix2pix.engines import open_engine
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.spread import SpreadDone
from napari_ct2mri.pix2pix.synthesis import FramedCt, synthesize, synthesize_with_spread
from napari_ct2mri.pix2pix.training import train


def _model(**leaves: object) -> Checkpoint:
    leaves = {"width": 4, "levels": 3, "frame_px": 64, "head_px": 46, **leaves}
    config = preset("default", contrasts=("T2", "T1"), pixel_mm=3.0, **leaves)
    torch.manual_seed(1)
    return Checkpoint(Header(config=config), Generator(config.model).state_dict())


def _ct(
    depth: int = 5, shape: tuple[int, int] = (70, 60), geometry: Geometry | None = None
) -> Volume:
    z, y, x = np.indices((depth, *shape), dtype=np.float64)
    r = np.hypot((y - shape[0] / 2) / (0.4 * shape[0]), (x - shape[1] / 2) / (0.35 * shape[1]))
    hu = np.where(r < 1, np.where(r > 0.85, 900, 35 + 3 * z), -1000).astype(np.int16)
    return Volume(hu, geometry or Geometry(spacing=(4, 3, 3)), "CT", "HU")


def _run(ct: Volume, model: Checkpoint, **options: object) -> tuple[Volume, list[Event]]:
    events: list[Event] = []
    return run_job(synthesize(ct, model, device="cpu", **options), events.append), events


def test_the_result_lies_on_the_ct() -> None:
    tilt = np.deg2rad(25)
    oblique = (np.cos(tilt), 0, np.sin(tilt), 0, 1, 0, -np.sin(tilt), 0, np.cos(tilt))
    ct = _ct(geometry=Geometry((4, 3.2, 2.7), (-80, -90, 12), oblique))
    mr, events = _run(ct, _model())
    assert mr.geometry == ct.geometry
    assert mr.data.shape == ct.data.shape
    assert (mr.modality, mr.unit) == ("MR", "arbitrary")
    assert mr.data.dtype == np.float32
    assert 0 <= mr.data.min() < mr.data.max() <= 1000
    parts = [e for e in events if isinstance(e, SlicesDone)]
    assert sum(len(e.slices) for e in parts) == 5


def test_a_turned_volume_gives_the_same_mr_turned() -> None:
    ct = _ct()
    mr, _ = _run(ct, _model())
    # the same head stored x, z, y with x and y reversed
    turned = Volume(
        ct.data.transpose(2, 0, 1)[::-1, :, ::-1],
        Geometry(
            (3, 4, 3),
            origin=(59 * 3, 69 * 3, 0),
            direction=(0, 0, -1, -1, 0, 0, 0, 1, 0),
        ),
        "CT",
        "HU",
    )
    again, _ = _run(turned, _model())
    assert np.allclose(again.data, mr.data.transpose(2, 0, 1)[::-1, :, ::-1], atol=0.05)


def test_streaming_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(neighbours=1)
    whole, _ = _run(_ct(7), model)
    engine = open_engine(model, device="cpu")
    monkeypatch.setattr(engine, "batch_px", 1)
    single, events = _run(_ct(7), model, engine=engine)
    assert len([e for e in events if isinstance(e, SlicesDone)]) == 7
    assert np.allclose(whole.data, single.data, atol=0.05)


@pytest.mark.parametrize("with_spread", [False, True])
def test_a_range_is_what_the_whole_has_there(with_spread: bool) -> None:
    """The head is framed and neighbours are seen in the whole CT; the rest is absent."""
    model, ct = _model(neighbours=1), _ct(7)
    # the same head stored x, z, y with z and x reversed
    stored = Volume(
        ct.data.transpose(2, 0, 1)[::-1, ::-1],
        Geometry((3, 4, 3), (59 * 3, 0, 6 * 4), (0, 0, -1, 1, 0, 0, 0, -1, 0)),
        "CT",
        "HU",
    )
    whole, _ = _run(stored, model)
    events: list[Event] = []
    if with_spread:
        job = synthesize_with_spread(stored, model, slices=range(2, 5), device="cpu")
        part, spread = run_job(job, events.append)
        assert spread.geometry == part.geometry
        assert spread.data.shape == part.data.shape
    else:
        part, events = _run(stored, model, slices=range(2, 5))
    assert part.data.shape == (60, 3, 70)
    np.testing.assert_allclose(part.data, whole.data[:, 2:5], atol=0.05)  # 6 - 4 to 6 - 2
    assert part.geometry == replace(stored.geometry, origin=(59 * 3, 0, 4 * 4))
    done = [event for event in events if isinstance(event, SlicesDone)]
    assert [z for event in done for z in range(event.start, event.start + len(event.slices))] == [
        2,
        3,
        4,
    ]
    with pytest.raises(VolumeError, match=r"expected slices within 0:7.* got 5:9"):
        _run(stored, model, slices=range(5, 9))


def test_overlapping_changes_nothing() -> None:
    ct, model = _ct(11), _model(neighbours=1)
    engine = open_engine(model, "torch", "cpu")
    framed = FramedCt(ct, model.config.model)
    engine.batch_px = 2 * framed.frames(range(1))[0, 0].size
    assert framed.batch(engine) == 2
    overlapped, _ = _run(ct, model, engine=engine, contrast="T1")
    for start in range(0, 11, 2):
        batch = range(start, min(start + 2, 11))
        plain = framed.slices(engine(framed.frames(batch))[:, 1])
        np.testing.assert_array_equal(overlapped.data[batch.start : batch.stop], plain)


def test_neighbours_are_seen() -> None:
    ct = _ct(3)
    model = _model(neighbours=1)
    changed = ct.data.copy()
    changed[2] = np.where(ct.data[2] > -500, 60, ct.data[2])
    before, after = (_run(v, model)[0].data for v in (ct, ct.with_data(changed)))
    assert np.abs(before - after)[1].max() > 0.01
    assert np.array_equal(before[0], after[0])


def test_pictures_give_pictures_of_their_size() -> None:
    grey = ((_ct(2, (150, 130)).data + 1000) / 2000 * 255).clip(0, 255).astype(np.uint8)
    mr, _ = _run(Volume(grey, modality="CT", unit="grey"), _model())
    assert mr.data.shape == (2, 150, 130)
    assert mr.unit == "grey"
    assert mr.data.max() <= 255


def test_contrasts_differ_and_the_first_is_the_default() -> None:
    ct, model = _ct(), _model()
    default, t2, t1 = (_run(ct, model, contrast=c)[0].data for c in (None, "T2", "T1"))
    assert np.array_equal(default, t2)
    assert not np.allclose(t2, t1)
    with pytest.raises(ConfigError, match="does not make 'PD'; it makes T2, T1"):
        _run(ct, model, contrast="PD")


def test_another_window_shows_another_ct() -> None:
    wide = _run(_ct(), _model(), window=Window(level=40, width=400))[0].data
    assert not np.allclose(_run(_ct(), _model())[0].data, wide)
    two = _model(windows=(Window(), Window(level=500, width=2000)))
    with pytest.raises(ConfigError, match="looks through 2 windows"):
        _run(_ct(), two, window=Window())


def test_published_uses_the_slice_s_own_statistics_and_dropout() -> None:
    ct, model = _ct(), _model(dropout=0.5, widest=1)
    folded, published, again = (_run(ct, model, published=p)[0].data for p in (False, True, True))
    assert not np.allclose(folded, published)
    assert np.array_equal(published, again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "MR", "unit": "arbitrary"}, "MR"),
        ({"data": np.full((5, 70, 60), np.nan, np.float32)}, "NaN|no head"),
        ({"data": np.full((5, 70, 60), -1000, np.int16)}, "no head"),
    ],
)
def test_what_is_no_ct_is_refused(change: dict[str, object], message: str) -> None:
    from dataclasses import replace

    with pytest.raises(VolumeError, match=message):
        _run(replace(_ct(), **change), _model())


def test_a_trained_generator_makes_what_it_was_shown(
    make_pairs: Callable[..., Path], tmp_path: Path
) -> None:
    pairs = read_pairs(make_pairs({"a": ("T2", "train"), "b": ("T2", "train")}))
    config = preset(
        "default",
        **{"width": 8, "levels": 3, "frame_px": 64, "head_px": 46, "threads": 1, "ema": 0},
        **{"epochs": 60, "decay_epochs": 30, "batch": 2, "learning_rate": 3e-3},
        **{"rotate_deg": 0, "zoom": 0, "shift_px": 0, "elastic_px": 0, "noise": 0},
    )
    path = tmp_path / "m.safetensors"
    run_job(train(pairs, path, config), lambda _: None)
    from napari_ct2mri.imaging.io import read_volume

    row = pairs.rows[1]
    ct, real = (read_volume(p, modality=m) for p, m in ((row.ct, "CT"), (row.mr, "MR")))
    fake, _ = _run(ct, load_checkpoint(path))
    inside = np.s_[0, 12:52, 14:50]
    correlation = np.corrcoef(fake.data[inside].ravel(), real.data[inside].ravel())[0, 1]
    assert correlation > 0.8


def _mirrored(ct: Volume) -> Volume:
    return Volume(ct.data[..., ::-1].copy(), ct.geometry, ct.modality, ct.unit)


def test_spread_is_between_a_ct_and_its_mirror_image() -> None:
    ct = _ct(geometry=Geometry((4, 3.2, 2.7), (-80, -90, 12)))
    ct.data[:, 30:40, 12:20] = 80  # not the same on both sides
    model, other = _model(), _model(width=8)
    events: list[Event] = []
    job = synthesize_with_spread(ct, model, [other], contrast="T1", native=True, device="cpu")
    mr, spread = run_job(job, events.append)
    # each member on its own: CTs mirrored as volumes, MRs mirrored back
    members = [
        volume.data[..., ::-1] if is_mirrored else volume.data
        for each in (model, other)
        for is_mirrored in (False, True)
        for volume in [
            _run(_mirrored(ct) if is_mirrored else ct, each, contrast="T1", native=True)[0]
        ]
    ]
    np.testing.assert_array_equal(mr.data, members[0])
    np.testing.assert_allclose(spread.data, np.std(members, axis=0), atol=0.05)
    assert spread.data.max() > 1
    assert (spread.geometry, spread.modality) == (ct.geometry, "unknown")
    assert "mirror image" in spread.notes[0]
    assert "research use only" in spread.notes[0]
    streamed = np.concatenate([e.slices for e in events if isinstance(e, SpreadDone)])
    np.testing.assert_array_equal(streamed, spread.data)


def test_every_model_of_a_spread_makes_the_contrast() -> None:
    config = preset("default", contrasts=("T2",), width=4, levels=3)
    job = synthesize_with_spread(
        _ct(), _model(), [Checkpoint(Header(config=config), {})], contrast="T1"
    )
    with pytest.raises(ConfigError, match="does not make 'T1'; it makes T2"):
        next(job)

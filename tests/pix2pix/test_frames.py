import numpy as np
import pytest

from napari_ct2mri.config import ModelConfig, preset
from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.pix2pix.frames import Frame, fit_frame


def _model(frame_px: int = 64, **leaves: object) -> ModelConfig:
    return preset("default", levels=4, frame_px=frame_px, contrasts=("T2",), **leaves).model


def _head(shape: tuple[int, int], diameter: float, centre: tuple[float, float]) -> np.ndarray:
    """(3, H, W) uint8: a disc of brain in a ring of bone."""
    y, x = np.indices(shape)
    distance = np.hypot(y - centre[0], x - centre[1])
    disc = np.where(distance < diameter / 2, 120, 0) + 100 * (
        (distance < diameter / 2) & (distance > diameter / 2 - 4)
    )
    return np.repeat(disc[None].astype(np.uint8), 3, axis=0)


def _smooth(shape: tuple[int, int], period: float) -> np.ndarray:
    y, x = np.indices(shape)
    return np.sin(2 * np.pi * y / period) * np.cos(2 * np.pi * x / period).astype(np.float32)


def test_scale_one_and_whole_shift_only_selects() -> None:
    slices = np.random.default_rng(0).normal(size=(2, 50, 60)).astype(np.float32)
    frame = Frame((50, 60), (32, 32), (1.0, 1.0), (25 + 0.5, 30 + 0.5))
    taken = frame.take(slices, outside=0)
    assert np.array_equal(taken, slices[:, 10:42, 15:47])
    back = frame.put_back(taken, outside=0)
    assert np.array_equal(back[:, 10:42, 15:47], taken)
    assert np.all(frame.put_back(taken, outside=7)[:, :10] == 7)


@pytest.mark.parametrize("zoom", [(0.5, 0.4), (1.7, 1.3)])
def test_there_and_back_returns_smooth_images(zoom: tuple[float, float]) -> None:
    image = _smooth((120, 140), period=40)
    frame = Frame((120, 140), (256, 256), zoom, (59.5, 69.5))
    back = frame.put_back(frame.take(image, outside=0), outside=0)
    inside = np.s_[12:-12, 12:-12]
    assert np.abs(back - image)[inside].max() < 0.02


def test_anisotropic_zoom_puts_a_point_where_it_belongs() -> None:
    image = np.zeros((100, 80), np.float32)
    image[40, 20] = 1
    frame = Frame((100, 80), (128, 128), (1.5, 0.8), (49.5, 39.5))
    taken = frame.take(image, outside=0)
    y, x = np.indices(taken.shape)
    assert (y * taken).sum() / taken.sum() == pytest.approx(63.5 + (40 - 49.5) * 1.5, abs=0.05)
    assert (x * taken).sum() / taken.sum() == pytest.approx(63.5 + (20 - 39.5) * 0.8, abs=0.05)


def test_shrinking_does_not_alias() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    frame = Frame((64, 64), (16, 16), (0.25, 0.25), (31.5, 31.5))
    assert np.abs(frame.take(stripes, outside=0.5)[4:-4, 4:-4] - 0.5).max() < 0.02


def test_pictures_come_to_one_head_size() -> None:
    model = _model(frame_px=128, head_px=90)
    small = Volume(_head((160, 160), 60, (80, 70)), modality="CT", unit="grey")
    large = Volume(_head((400, 400), 330, (190, 210)), modality="CT", unit="grey")
    areas = []
    for ct in (small, large):
        frame = fit_frame(ct, model)
        assert frame.shape == (128, 128)
        areas.append((frame.take(ct.data.astype(np.float32), outside=0) > 60).mean())
    assert areas[0] == pytest.approx(areas[1], rel=0.06)
    assert 2 * np.sqrt(areas[0] * 128**2 / np.pi) == pytest.approx(90, rel=0.05)


def test_volumes_come_to_one_pixel_size() -> None:
    hu = np.where(_head((200, 100), 80, (100, 50)) > 0, 40, -1000).astype(np.int16)
    ct = Volume(hu, Geometry(spacing=(5, 0.7, 1.4)), "CT", "HU")
    frame = fit_frame(ct, _model(frame_px=256, pixel_mm=1.0))
    assert frame.zoom == pytest.approx((0.7, 1.4))


def test_native_only_pads() -> None:
    ct = Volume(_head((50, 70), 40, (25, 35)), modality="CT", unit="grey")
    frame = fit_frame(ct, _model(), native=True)
    assert frame.shape == (64, 80)
    data = ct.data.astype(np.float32)
    assert np.array_equal(frame.put_back(frame.take(data, outside=0), outside=0), data)


def test_a_head_larger_than_the_frame_gets_a_larger_one() -> None:
    hu = np.where(_head((300, 300), 260, (150, 150)) > 0, 40, -1000).astype(np.int16)
    ct = Volume(hu, Geometry(spacing=(5, 1, 1)), "CT", "HU")
    model = _model(frame_px=128, pixel_mm=1.0)
    assert fit_frame(ct, model).shape == (272, 272)
    assert fit_frame(ct, model, fixed=True).shape == (128, 128)


def test_no_head_is_said() -> None:
    ct = Volume(np.zeros((2, 64, 64), np.uint8), modality="CT", unit="grey")
    with pytest.raises(VolumeError, match="no head was found"):
        fit_frame(ct, _model())


def test_absurd_spacing_is_said() -> None:
    hu = np.where(_head((100, 100), 80, (50, 50)) > 0, 40, -1000).astype(np.int16)
    ct = Volume(hu, Geometry(spacing=(5, 100, 100)), "CT", "HU")
    with pytest.raises(VolumeError, match="check the spacing"):
        fit_frame(ct, _model())


def test_a_frame_has_bounds() -> None:
    """Within the limits of the zoom, a wrong spacing could ask for all memory."""
    hu = np.where(_head((300, 300), 260, (150, 150)) > 0, 40, -1000).astype(np.int16)
    ct = Volume(hu, Geometry(spacing=(5, 15, 9)), "CT", "HU")
    with pytest.raises(VolumeError, match=r"x 257 pixels of 15 x 9 mm.* 3872 x 2336,") as raised:
        fit_frame(ct, _model(pixel_mm=1.0))
    assert "\n" not in str(raised.value)
    assert fit_frame(ct, _model(pixel_mm=1.0), fixed=True).shape == (64, 64)
    cross = np.zeros((1, 1000, 1000), np.uint8)
    cross[:, 20:-20, 480:520] = cross[:, 480:520, 20:-20] = 200
    with pytest.raises(VolumeError, match="cut the picture to the head"):
        fit_frame(Volume(cross, modality="CT", unit="grey"), _model(head_px=900))

import torch

from napari_ct2mri.config import AugmentConfig, preset
from napari_ct2mri.pix2pix.augment import augment

_OFF = AugmentConfig(flip=0)


def _images(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright off-centre square in CT and, half as bright, in MR."""
    ct = torch.full((batch, 1, 64, 64), -1.0)
    ct[:, :, 20:40, 10:30] = 0.8
    return ct, (ct + 1) / 2 - 1


def test_nothing_asked_changes_nothing() -> None:
    ct, mr = _images()
    new_ct, new_mr = augment(ct, mr, _OFF, torch.Generator())
    assert torch.equal(new_ct, ct)
    assert torch.equal(new_mr, mr)


def test_ct_and_mr_move_together() -> None:
    ct, mr = _images(8)
    config = AugmentConfig(flip=0.5, rotate_deg=20, zoom=0.2, shift_px=10, elastic_px=3)
    new_ct, new_mr = augment(ct, mr, config, torch.Generator().manual_seed(1))
    assert float((new_ct - ct).abs().mean()) > 0.05
    # a quarter pixel of ringing where the cubic kernel is clipped differently is allowed
    assert float(((new_ct + 1) / 2 - 1 - new_mr).abs().mean()) < 0.01


def test_what_comes_in_is_air() -> None:
    ct, mr = _images(16)
    new_ct, _ = augment(ct, mr, AugmentConfig(flip=0, shift_px=20), torch.Generator())
    corners = new_ct[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, torch.full_like(corners, -1.0), atol=1e-5)


def test_the_same_seed_draws_the_same() -> None:
    ct, mr = _images()
    config = preset("default").augment
    first = augment(ct, mr, config, torch.Generator().manual_seed(5))
    again = augment(ct, mr, config, torch.Generator().manual_seed(5))
    other = augment(ct, mr, config, torch.Generator().manual_seed(6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_grey_levels_of_the_mr_stay_and_clipped_ct_stays() -> None:
    ct, mr = _images()
    ct[:, :, 50:60, 50:60] = 1.0
    config = AugmentConfig(flip=0, window_jitter=0.3, gamma=0.5, noise=0.2)
    new_ct, new_mr = augment(ct, mr, config, torch.Generator().manual_seed(2))
    assert torch.equal(new_mr, mr)
    clipped = ct.abs() == 1
    assert torch.equal(new_ct[clipped], ct[clipped])
    assert float((new_ct - ct)[~clipped].abs().mean()) > 0.01


def test_classic_crops_a_window_from_the_enlarged_frame() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    config = AugmentConfig(flip=0, crop_from_px=72)
    spans = set()
    for seed in range(8):
        cropped, _ = augment(ramp, ramp, config, torch.Generator().manual_seed(seed))
        assert cropped.shape == ramp.shape
        spans.add(round(float(cropped[0, 0, 0, 0]), 3))
        step = float(cropped[0, 0, 0, 40] - cropped[0, 0, 0, 20]) / 20
        assert abs(step - 2 / 63 * 64 / 72) < 1e-3
    assert len(spans) > 2


def test_a_patch_is_the_same_window_of_both_near_the_middle() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    where = ((rows * 64 + columns) / 2048 - 1).expand(2, 1, 64, 64)
    config = AugmentConfig(flip=0, patch=0.7)
    starts = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        ct, mr = augment(where, where, config, generator, multiple=8)
        assert ct.shape == (2, 1, 48, 48)  # 44.8, rounded up to what three levels halve
        assert torch.equal(ct, mr)
        starts.add(divmod(round((float(ct[0, 0, 0, 0]) + 1) * 2048), 64))
    assert len(starts) > 4
    assert all(4 <= y <= 12 and 4 <= x <= 12 for y, x in starts)


def test_a_patch_never_exceeds_the_frame() -> None:
    ct, mr = _images()
    new_ct, _ = augment(ct, mr, AugmentConfig(patch=0.9), torch.Generator(), multiple=64)
    assert new_ct.shape == ct.shape


def test_head_rests_lie_behind_some_heads_in_the_ct_alone() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    head = (torch.hypot(rows - 28, columns - 32) < 16).expand(32, 1, 64, 64)
    ct = torch.where(head, 0.1, -1.0)
    mr = torch.where(head, 0.5, -1.0)
    config = AugmentConfig(flip=0, head_rest=0.5)
    new_ct, new_mr = augment(ct, mr, config, torch.Generator().manual_seed(3))
    assert torch.equal(new_mr, mr)
    assert torch.equal(new_ct[head], ct[head])
    drawn = new_ct > ct
    assert 8 <= int(drawn.flatten(1).any(1).sum()) <= 24  # of 32
    of_all = drawn.sum((0, 1, 3))
    assert int(of_all[:20].sum()) < 0.05 * int(of_all.sum())  # hardly any in front
    assert int(of_all[44:].sum()) > 0.5 * int(of_all.sum())  # most of it below the head


def test_a_frame_of_air_can_have_a_head_rest() -> None:
    air = torch.full((2, 1, 64, 64), -1.0)
    new_ct, _ = augment(air, air, AugmentConfig(flip=0, head_rest=1), torch.Generator())
    assert bool(new_ct.isfinite().all())
    assert float(new_ct.max()) <= 1

import pytest
import torch

from napari_ct2mri.config import preset
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.pix2pix.networks import (
    Discriminator,
    Generator,
    is_half,
    level_widths,
    parameter_count,
    pick_device,
    smooth_kernels,
)


def test_classic_is_unet_256() -> None:
    model = preset("classic", contrasts=("T2",)).model
    generator = Generator(model)
    assert round(parameter_count(generator) / 1e6, 1) == 54.4
    assert level_widths(model.network) == [64, 128, 256, 512, 512, 512, 512, 512]
    dropouts = [up.dropout.p for up in generator.up if isinstance(up.dropout, torch.nn.Dropout)]
    assert dropouts == [0.5, 0.5, 0.5]


def test_classic_starts_as_published() -> None:
    torch.manual_seed(0)
    generator = Generator(preset("classic", width=32, contrasts=("T2",)).model)
    convolution = generator.down[4].conv.weight.detach()
    assert abs(float(convolution.std()) - 0.02) < 2e-4
    norm = torch.cat([up.norm.weight.detach() for up in generator.up if hasattr(up.norm, "weight")])
    assert abs(float(norm.mean()) - 1) < 0.005
    assert abs(float(norm.std()) - 0.02) < 0.003


def test_a_smoothed_kernel_is_a_3x3_on_doubled_pixels() -> None:
    x = torch.randn(2, 3, 5, 7)
    small = torch.randn(3, 4, 3, 3)
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    resized = torch.nn.functional.conv2d(doubled, small.transpose(0, 1), padding=1)
    # the 3x3 turned round, each of its rows and columns added to the next
    kernel = torch.zeros(3, 4, 4, 4)
    for dy in (0, 1):
        for dx in (0, 1):
            kernel[:, :, dy : dy + 3, dx : dx + 3] += small.flip(2, 3)
    transposed = torch.nn.functional.conv_transpose2d(x, kernel, stride=2, padding=1)
    torch.testing.assert_close(transposed, resized)
    kept = kernel.clone()
    smooth_kernels(kept)  # is one already
    torch.testing.assert_close(kept, kernel)
    free = torch.randn(3, 4, 4, 4)
    smooth = free.clone()
    smooth_kernels(smooth)
    assert float((smooth - free).abs().max()) > 0.1
    twice = smooth.clone()
    smooth_kernels(twice)
    torch.testing.assert_close(twice, smooth)
    flat = torch.nn.functional.conv_transpose2d(torch.ones_like(x), smooth, stride=2, padding=1)
    inside = flat[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, inside[..., :1, :1].expand_as(inside))


def test_discriminator_sees_patches_of_70_px() -> None:
    discriminator = Discriminator(2, 8).eval()
    ct = torch.zeros(1, 1, 256, 256, requires_grad=True)
    logits = discriminator(ct, torch.zeros(1, 1, 256, 256))
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    rows = ct.grad[0, 0].abs().sum(dim=1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70


@pytest.mark.parametrize("levels", [3, 5])
def test_every_contrast_has_a_channel_and_any_multiple_fits(levels: int) -> None:
    model = preset("default", width=4, levels=levels, contrasts=("T1", "T2", "FLAIR")).model
    images = Generator(model).eval()(torch.zeros(2, 1, 2**levels, 3 * 2**levels))
    assert images.shape == (2, 3, 2**levels, 3 * 2**levels)
    assert float(images.detach().abs().max()) <= 1


def test_skip_stored_after_leaky_relu_gives_the_decoder_the_same() -> None:
    x = torch.randn(1000)
    leaky = torch.nn.functional.leaky_relu(x, 0.2)
    assert torch.equal(torch.relu(leaky), torch.relu(x))


def test_a_device_that_is_not_there_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    words = r"'cuda' is not available here; choose cpu or auto \(in a terminal, --device\)"
    with pytest.raises(ConfigError, match=words):
        pick_device("cuda")


def test_half_precision_where_it_is_asked_for_or_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert is_half("bfloat16", cpu)
    assert not is_half("float32", cpu)
    for has_it in (True, False):
        found = {"avx512_bf16": has_it, "avx2": True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert is_half("auto", cpu) is has_it
    assert not is_half("auto", torch.device("mps"))

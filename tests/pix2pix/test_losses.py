import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from napari_ct2mri.pix2pix.losses import (
    adversarial,
    edge_strength,
    gradient_correlation,
    gradient_l1,
    ssim,
)


def _pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    real = torch.rand(1, 1, 48, 40, generator=chance) * 2 - 1
    return real, (0.6 * real + 0.2 * torch.randn(real.shape, generator=chance)).clamp(-1, 1)


def test_ssim_equals_scikit_image() -> None:
    real, fake = _pair()
    _, map_ = structural_similarity(
        real[0, 0].numpy().astype(np.float64) + 1,
        fake[0, 0].numpy().astype(np.float64) + 1,
        data_range=2,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    assert float(ssim(fake, real)) == pytest.approx(map_[5:-5, 5:-5].mean(), abs=1e-5)


def test_ssim_does_not_reward_inverted_structure() -> None:
    """Bright fluid in grey brain against dark fluid, at means of opposite signs."""
    real = torch.full((1, 1, 32, 32), -0.1)
    real[..., 10:22, 10:22] = 0.9
    dark, flat = -0.2 - real * 0.5, torch.full_like(real, -0.1)
    assert float(ssim(dark, real)) < float(ssim(flat, real)) < float(ssim(real, real))


def test_equal_images_cost_nothing() -> None:
    real, _ = _pair()
    assert float(ssim(real, real)) == pytest.approx(1, abs=1e-6)
    assert float(gradient_l1(real, real)) == 0


def test_gradient_loss_sees_blur_but_no_offset() -> None:
    real, _ = _pair()
    blurred = torch.nn.functional.avg_pool2d(real, 3, 1, 1)
    assert float(gradient_l1(real + 0.3, real)) == pytest.approx(0, abs=1e-6)
    assert float(gradient_l1(blurred, real)) > 0.1


def test_gradient_correlation_sees_neither_gain_nor_offset() -> None:
    real, fake = _pair()
    assert float(gradient_correlation(real, real)) == pytest.approx(1, abs=1e-4)
    assert float(gradient_correlation(0.2 * real + 0.5, real)) == pytest.approx(1, abs=1e-3)
    assert float(gradient_correlation(-real, real)) == pytest.approx(-1, abs=1e-4)
    assert 0.5 < float(gradient_correlation(fake, real)) < 0.999
    assert float(gradient_correlation(torch.zeros_like(real), real)) == 0


def test_edge_strength_is_not_bought_with_a_checkerboard() -> None:
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    board = ((rows + columns) % 2 - 0.5).expand(1, 1, 48, 48)
    real = ((columns > 20) & (columns < 30)).float().expand(1, 1, 48, 48)
    assert float(edge_strength(real, real)) == pytest.approx(1)
    assert float(edge_strength(0.4 * real, real)) == pytest.approx(0.4, abs=0.02)
    assert float(edge_strength(0.4 * real + 0.5 * board, real)) == pytest.approx(0.4, abs=0.03)


def test_an_edge_that_may_lie_here_or_there_is_worth_drawing_to_correlation_alone() -> None:
    """Three equally likely places of a bar; what is best in the mean over them?"""
    columns = torch.arange(48.0)
    likely = [
        ((columns > at) & (columns < at + 6)).float().expand(1, 1, 32, 48) for at in (14, 18, 22)
    ]
    flat, drawn = torch.zeros(1, 1, 32, 48), torch.stack(likely).mean(dim=0)

    def mean_cost(image: torch.Tensor) -> tuple[float, float]:
        l1 = sum(float(gradient_l1(image, real)) for real in likely)
        return l1, sum(1 - float(gradient_correlation(image, real)) for real in likely)

    assert mean_cost(drawn)[0] >= mean_cost(flat)[0] - 1e-6
    assert mean_cost(drawn)[1] < 0.7 * mean_cost(flat)[1]


@pytest.mark.parametrize("kind", ["bce", "lsgan"])
def test_adversary_is_content_when_it_is_right(kind: str) -> None:
    sure = torch.full((2, 1, 3, 3), 12.0 if kind == "bce" else 1.0)
    assert float(adversarial(sure, True, kind)) < 1e-4
    assert float(adversarial(sure, False, kind)) > 0.9

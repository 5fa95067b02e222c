"""Augmentation: other scanners, seeded, and never another patient."""

import numpy as np
import torch

from attending.training.augment import moved, vary, without_some


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def film(side: int = 32) -> torch.Tensor:
    image = torch.zeros(1, side, side)
    image[:, 4:10, 20:26] = 1
    return image


def test_the_same_draw_gives_the_same_image() -> None:
    image = torch.randn(2, 8, 8, 8)
    assert torch.equal(vary(image, draw(3), 0.2, 0.1), vary(image, draw(3), 0.2, 0.1))
    assert not torch.equal(vary(image, draw(3), 0.2, 0.1), vary(image, draw(4), 0.2, 0.1))


def test_without_strength_only_the_resolution_changes() -> None:
    image = torch.randn(1, 12, 12, 12)
    same = [torch.allclose(vary(image, draw(seed), 0.0, 0.0), image) for seed in range(40)]
    assert 0.5 < np.mean(same) < 0.9


def test_brightness_stays_within_its_bounds() -> None:
    image = torch.ones(1, 16, 16)
    for seed in range(50):
        out = vary(image, draw(seed), 0.1, 0.0)
        assert float(out.min()) >= 0.9 - 0.15 - 0.1
        assert float(out.max()) <= 1.1 + 0.15 + 0.1


def test_noise_keeps_its_strength_and_has_grains_at_times() -> None:
    alike = []
    for seed in range(60):
        noise = vary(torch.zeros(1, 24, 24, 24), draw(seed), 0.0, 0.1)[0]
        noise -= noise.mean()
        assert float(noise.std()) <= 0.1
        alike.append(float((noise[1:] * noise[:-1]).mean() / noise.var()))  # of neighbours
    assert 0.5 < np.mean(np.abs(alike) < 0.05) < 0.9
    assert max(alike) > 0.5


def test_a_film_is_moved_a_little_and_never_mirrored() -> None:
    for seed in range(30):
        out = moved(film(), draw(seed))
        assert out.shape == (1, 32, 32)
        rows, columns = np.nonzero(out[0].numpy() > 0.5)
        assert 2 < rows.mean() < 12
        assert 17 < columns.mean() < 29  # still on its side


def test_sequences_are_left_out_whole_and_never_all() -> None:
    image = torch.ones(4, 2, 2, 2)
    left = []
    for seed in range(200):
        out = without_some(image, draw(seed), 0.5)
        assert all(float(one.min()) == float(one.max()) for one in out)
        assert out.any()
        left.append(float(out.mean()))
    assert 0.4 < np.mean(left) < 0.65
    assert torch.equal(without_some(image, draw(), 0.0), image)

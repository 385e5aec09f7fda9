from __future__ import annotations

import numpy as np
import torch

from ctgi.training.objectives.identity import IdentityLoss


def test_it_is_the_mean_of_both_sides_cross_entropies() -> None:
    """IRRA's compute_id with one classifier for both sides, in numpy float64."""
    chance = np.random.default_rng(0)
    text, image = chance.normal(size=(2, 6, 8))
    who = np.array([0, 3, 3, 1, 4, 0])
    loss = IdentityLoss(8, 5)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.from_numpy(chance.normal(size=(5, 8))))
        loss.classifier.bias.copy_(torch.from_numpy(chance.normal(size=5)))
    weight, bias = (x.detach().double().numpy() for x in (loss.classifier.weight, loss.classifier.bias))

    def cross_entropy(features: np.ndarray) -> np.ndarray:
        logits = features @ weight.T + bias
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(6), who]

    per_pair = (cross_entropy(text) + cross_entropy(image)) / 2
    given = [torch.from_numpy(text).float(), torch.from_numpy(image).float(), torch.from_numpy(who)]
    assert np.isclose(loss(*given, torch.ones(6)).item(), per_pair.mean(), rtol=1e-6)
    trust = np.array([1.0, 0.0, 0.5, 2.0, 1.0, 0.0])
    assert np.isclose(loss(*given, torch.from_numpy(trust)).item(), (trust * per_pair).mean(), rtol=1e-6)


def test_it_starts_as_published() -> None:
    torch.manual_seed(0)
    loss = IdentityLoss(512, 1000)
    assert abs(loss.classifier.weight.std().item() / 0.001 - 1) < 0.01
    assert abs(loss.classifier.weight.mean().item()) < 1e-5
    assert not loss.classifier.bias.any()

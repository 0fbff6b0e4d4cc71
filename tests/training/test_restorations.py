from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tag2mask.config import AcrSettings
from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import Classifier
from tag2mask.training.restorations import restore_segments


@pytest.mark.parametrize("image_space", ["normalised", "unit"])
def test_target_without_activation_gives_nothing_to_restore_from(
    classifier: Classifier, new_reconstructor: Callable, batch: Batch, image_space: str
):
    reconstructor = new_reconstructor().eval()
    classifier.eval()
    # Of no class anywhere: A is 0, and the rest is all there is.
    torch.nn.init.constant_(classifier.head.weight, -1.0)
    settings = replace(AcrSettings(), image_space=image_space)

    found = restore_segments(classifier, reconstructor, batch.images, targets=batch.targets, settings=settings)

    with torch.no_grad():
        features = reconstructor.encode(reconstructor.depths(batch.images)).features
        (whole,) = reconstructor.restore(features, [torch.ones(4, 1, 64, 64)])
    in_unit_space = reconstructor.std * whole + reconstructor.mean if image_space == "normalised" else whole
    assert torch.allclose(found.from_rest, in_unit_space.clamp(0, 1), atol=1e-6)
    assert torch.equal(found.from_target[0], found.from_target[1])
    assert not torch.allclose(found.from_rest[0], found.from_rest[1], atol=1e-3)


def test_photo_is_shown_in_its_own_colours(classifier: Classifier, new_reconstructor: Callable, batch: Batch):
    reconstructor = new_reconstructor().eval()
    grey = replace(batch, images=(torch.full_like(batch.images, 0.25) - reconstructor.mean) / reconstructor.std)

    for image_space in ("normalised", "unit"):
        settings = replace(AcrSettings(), image_space=image_space)
        found = restore_segments(classifier.eval(), reconstructor, grey.images, targets=grey.targets, settings=settings)

        assert found.photo.shape == (4, 3, 64, 64)
        assert torch.allclose(found.photo, torch.tensor(0.25), atol=1e-6)

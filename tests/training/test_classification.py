import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import Classifier, ClassifierOutput
from tag2mask.training.classification import Classification, classification_loss


def test_loss_is_the_mean_cross_entropy_of_every_photo_and_class(batch: Batch, classifier: Classifier, learn: Callable):
    with torch.no_grad():
        scores = classifier(batch.images).logits.double().sigmoid()
    expected = -(batch.tags * scores.log() + (1 - batch.tags) * (1 - scores).log()).mean().item()

    losses = Classification(learn(classifier)).training_step(batch, 0)

    assert losses.keys() == {"classification"}
    assert losses["classification"].item() == pytest.approx(expected, rel=1e-5)


def test_losses_of_several_sets_of_logits_are_summed():
    all_logits = torch.zeros(1, 2), torch.tensor([[3.0, -3.0]])

    loss = classification_loss(ClassifierOutput(torch.zeros(1, 2, 1, 1), all_logits), torch.tensor([[1.0, 0.0]]))

    assert loss.item() == pytest.approx(math.log(2) + math.log1p(math.exp(-3)))


def test_step_moves_everything_but_batch_norm(batch: Batch, classifier: Classifier, learn: Callable):
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    norms = [name for name, module in classifier.named_modules() if isinstance(module, nn.BatchNorm2d)]

    Classification(learn(classifier)).training_step(batch, 0)

    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name.rpartition(".")[0] in norms), name


def test_loss_falls_on_eight_photos(drawn_batch: Batch, classifier: Classifier, learn: Callable):
    method = Classification(learn(classifier, 0.05))

    losses = [method.training_step(drawn_batch, 0)["classification"].item() for _ in range(15)]

    assert losses[-1] < 0.7 * losses[0]

import copy
import io
from collections.abc import Callable

import pytest
import torch
from lightning_fabric import Fabric
from timm.layers import DropPath
from torch import nn
from torch.optim import SGD, Optimizer

from tag2mask.config import ClassifierSettings, OptimizerSettings
from tag2mask.data.batch import Batch
from tag2mask.networks.backbones.resnet38 import ResNet38
from tag2mask.networks.classifier import Classifier, build_classifier
from tag2mask.training.learner import FixedNetwork, Learner, has_dropout
from tag2mask.training.optim import build_schedule


@pytest.fixture
def network() -> nn.Module:
    """Its second weight does not learn, and dropout tells the modes apart."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False), nn.Dropout(0.5))
    network[1].requires_grad_(False)
    return network


def learner_of(fabric: Fabric, network: nn.Module, momentum: float = 0.9) -> Learner[nn.Module]:
    optimizer: Optimizer = SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, momentum=momentum)
    schedule = build_schedule(optimizer, OptimizerSettings(), num_steps=10, steps_per_epoch=5)
    return Learner(fabric, network, optimizer, schedule)


def descend(learner: Learner[nn.Module], seed: int) -> None:
    learner.step(learner(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))).square().sum())


@pytest.mark.parametrize("lender", [learner_of, FixedNetwork])
def test_frozen_network_passes_gradient_to_its_input_and_gets_none(
    fabric: Fabric, network: nn.Module, lender: Callable
):
    lent = lender(fabric, network.train())
    image = torch.ones(1, 4, requires_grad=True)

    with lent.frozen() as fixed:
        output = fixed(image)
    output.sum().backward()

    assert torch.allclose(image.grad, (network[1].weight @ network[0].weight).sum(0))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("lender", [learner_of, FixedNetwork])
def test_frozen_network_is_in_evaluation_mode_and_afterwards_as_before(
    fabric: Fabric, network: nn.Module, lender: Callable
):
    lent = lender(fabric, network.train())

    with lent.frozen() as fixed:
        assert not any(module.training for module in fixed.modules())
        assert not any(parameter.requires_grad for parameter in fixed.parameters())

    assert all(module.training for module in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()] == [True, True, False]


@pytest.mark.parametrize("lender", [learner_of, FixedNetwork])
def test_frozen_network_computes_in_the_precision_of_the_training(network: nn.Module, lender: Callable):
    lent = lender(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), network)

    with lent.frozen() as fixed:
        assert fixed(torch.ones(1, 4)).dtype == torch.bfloat16


def test_frozen_batch_norm_stays_so_in_all_modes(learn: Callable, classifier: Classifier, batch: Batch):
    learner = learn(classifier.eval())
    norms = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]

    learner.step(learner(batch.images).logits.square().sum())
    with learner.frozen() as fixed:
        fixed(batch.images)
    learner(batch.images)

    assert norms
    assert {module for module in classifier.modules() if not module.training} == {*norms}
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))


def test_network_is_walked_through_only_where_its_mode_differs(fabric: Fabric):
    walks = []

    class Watched(nn.Linear):
        def train(self, mode: bool = True) -> nn.Module:
            walks.append(mode)
            return super().train(mode)

    learner = learner_of(fabric, Watched(4, 3))
    walks.clear()

    descend(learner, 0)
    with learner.frozen():
        pass
    descend(learner, 1)
    learner.network.eval()
    descend(learner, 2)

    assert walks == [False, True]


def test_frozen_network_learns_again_after_an_error(fabric: Fabric, network: nn.Module):
    learner = learner_of(fabric, network)

    with pytest.raises(ZeroDivisionError), learner.frozen():
        raise ZeroDivisionError

    assert network[0].weight.requires_grad


def test_call_puts_the_network_in_training_mode(fabric: Fabric, network: nn.Module):
    learner = learner_of(fabric, network.eval())
    torch.manual_seed(0)

    output = learner(torch.ones(20, 4))

    assert (output == 0).any()


def test_step_descends_and_advances_the_schedule(fabric: Fabric, network: nn.Module):
    learner = learner_of(fabric, network.eval(), momentum=0)
    before = network[0].weight.clone()

    learner.step(network[0].weight.sum())

    assert torch.allclose(network[0].weight, before - 0.1)
    assert learner.learning_rate == pytest.approx(0.1 * 0.9**0.9)


def test_gradients_of_an_earlier_step_do_not_add_up(fabric: Fabric, network: nn.Module):
    learner = learner_of(fabric, network, momentum=0)

    for _ in range(2):
        learner.step(network[0].weight.sum())

    assert torch.equal(network[0].weight.grad, torch.ones(3, 4))


def test_loaded_state_goes_on_to_the_same_digits(fabric: Fabric, network: nn.Module):
    other = learner_of(fabric, copy.deepcopy(network))
    learner = learner_of(fabric, network)
    torch.manual_seed(5)
    for seed in range(3):
        descend(learner, seed)
    checkpoint = io.BytesIO()
    torch.save(learner.state(), checkpoint)
    checkpoint.seek(0)
    torch.manual_seed(6)
    descend(learner, 3)
    unbroken = network[0].weight.clone()

    other.load_state(torch.load(checkpoint, weights_only=True))
    torch.manual_seed(6)
    descend(other, 3)

    assert torch.equal(other.network[0].weight, unbroken)
    assert other.learning_rate == learner.learning_rate


def test_networks_with_and_without_dropout_are_told_apart():
    with torch.device("meta"):
        resnet38 = ResNet38()
    lite0 = build_classifier(ClassifierSettings(backbone="tf_efficientnet_lite0", output_stride=16), 3)

    assert has_dropout(resnet38)
    assert not has_dropout(lite0)
    assert has_dropout(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.Dropout(0.1))))
    assert has_dropout(DropPath(0.1))
    assert not has_dropout(nn.Dropout(0.0))

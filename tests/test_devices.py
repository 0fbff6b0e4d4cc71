"""Every kind of training on a GPU that is not there, and in bfloat16.

Tensors of a `FakeTensorMode` have a shape and a device, but no values: a step on a fake GPU raises where it mixes
devices, or where the processor would wait for a value.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tag2mask.config import (
    AcrSettings,
    ClassifierLoss,
    ClassifierSettings,
    MctformerSettings,
    OptimizerSettings,
    ReconstructorLoss,
    ReconstructorSettings,
    RefinementSettings,
    SegmenterSettings,
)
from tag2mask.data.batch import Batch, LabelledBatch
from tag2mask.networks.affinitynet import build_affinity_net
from tag2mask.networks.classifier import build_classifier
from tag2mask.networks.deeplab import build_deeplab
from tag2mask.networks.irnet import build_boundary_net
from tag2mask.networks.mctformer import build_mctformer
from tag2mask.networks.reconstructor import build_reconstructor
from tag2mask.training.acr import Acr, ClassifierAlone, ReconstructorAlone
from tag2mask.training.affinity import PixelAffinities
from tag2mask.training.classification import Classification
from tag2mask.training.irn import Boundaries
from tag2mask.training.learner import FixedNetwork, Learner
from tag2mask.training.loop import TrainingMethod
from tag2mask.training.optim import build_optimizer, build_schedule
from tag2mask.training.segmentation import Segmentation

pytestmark = pytest.mark.usefixtures("one_thread")

Network = TypeVar("Network", bound=nn.Module)
Place = Callable[[Network], Network]
"""Brings a new network to the device of the fabric."""
Build = Callable[[Any, Place], TrainingMethod]

NUM_CLASSES = 3
CLASSIFIER = ClassifierSettings(backbone="test_resnet", weights="none")
MCTFORMER = MctformerSettings(backbone="test_vit", weights="none", drop_path=0)
RELATIONS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=8, crop=64, radius=3)
SEGMENTER = SegmenterSettings(backbone="test_resnet", output_stride=8)
RECONSTRUCTOR = ReconstructorSettings(
    features=(2, 3, -1), feature_channels=(4, 4, 8), width=4, depth=4, max_width_factor=4, dropout=0
)
ACR = AcrSettings(reconstructor=RECONSTRUCTOR)
SOFT = replace(
    ACR, masking="feature_grid", image_space="unit",
    classifier_loss=ClassifierLoss(target_mask="soft", non_target_mask="soft", mask_gradient=True),
)  # fmt: skip
FROZEN = replace(
    ACR, reconstructor=replace(RECONSTRUCTOR, freeze_backbone=True, classify=False, image_side=32),
    reconstructor_loss=ReconstructorLoss(classification=0),
)  # fmt: skip


class FakeGpu:
    """Of a fabric on a GPU what learners need; nothing flows back, which torch cannot do without a GPU."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._precision = Precision() if dtype == torch.float32 else MixedPrecision("bf16-mixed", "cuda")

    def setup(self, network: nn.Module, optimizer: object) -> tuple[Callable[..., Any], object]:
        return self._in_arithmetic(network), optimizer

    def to_device(self, network: nn.Module) -> nn.Module:
        return network

    def autocast(self) -> AbstractContextManager[object]:
        return self._precision.forward_context()

    def backward(self, loss: Tensor) -> None:
        assert loss.requires_grad
        assert (loss.device.type, loss.dtype) == ("cuda", torch.float32)

    def _in_arithmetic(self, network: nn.Module) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:
            with self.autocast():
                output = network(*self._precision.convert_input(arguments))
            return self._precision.convert_output(output)

        return call


def learner(fabric: Any, network: Any) -> Learner[Any]:
    settings = OptimizerSettings(learning_rate=0.001)
    optimizer = build_optimizer(network, network.new_parameters(), settings)
    return Learner(fabric, network, optimizer, build_schedule(optimizer, settings, num_steps=10, steps_per_epoch=5))


def adversaries(settings: AcrSettings, place: Place) -> tuple[Any, Any]:
    transformer = settings.classifier == "mctformer"
    classifier = build_mctformer(MCTFORMER, NUM_CLASSES) if transformer else build_classifier(CLASSIFIER, NUM_CLASSES)
    normalisation = classifier.backbone.normalisation
    reconstructor = build_reconstructor(CLASSIFIER, settings.reconstructor, NUM_CLASSES, normalisation)
    return place(classifier), place(reconstructor)


def acr(settings: AcrSettings) -> Build:
    def build(fabric: Any, place: Place) -> TrainingMethod:
        classifier, reconstructor = adversaries(settings, place)
        return Acr(learner(fabric, classifier), learner(fabric, reconstructor), settings)

    return build


def reconstructor_alone(fabric: Any, place: Place) -> TrainingMethod:
    classifier, reconstructor = adversaries(ACR, place)
    return ReconstructorAlone(FixedNetwork(fabric, classifier), learner(fabric, reconstructor), ACR)


def pretrained(fabric: Any, place: Place) -> TrainingMethod:
    classifier, reconstructor = adversaries(ACR, place)
    return ClassifierAlone(learner(fabric, classifier), FixedNetwork(fabric, reconstructor), ACR)


def segmentation(settings: SegmenterSettings) -> Build:
    return lambda fabric, place: Segmentation(learner(fabric, place(build_deeplab(settings, NUM_CLASSES))), settings)


TAGGED: dict[str, Build] = {
    "classification": lambda fabric, place: Classification(
        learner(fabric, place(build_classifier(CLASSIFIER, NUM_CLASSES)))
    ),
    "mctformer": lambda fabric, place: Classification(learner(fabric, place(build_mctformer(MCTFORMER, NUM_CLASSES)))),
    "acr": acr(ACR),
    "acr, soft masks on the feature grid": acr(SOFT),
    "acr, frozen backbone": acr(FROZEN),
    "acr, transformer": acr(replace(ACR, classifier="mctformer")),
    "reconstructor": reconstructor_alone,
    "pretrained": pretrained,
}
LABELLED: dict[str, Build] = {
    "irn": lambda fabric, place: Boundaries(learner(fabric, place(build_boundary_net(RELATIONS))), RELATIONS.radius),
    "affinity": lambda fabric, place: PixelAffinities(
        learner(fabric, place(build_affinity_net(RELATIONS))), RELATIONS.radius
    ),
    "deeplab_v1": segmentation(replace(SEGMENTER, head="deeplab_v1")),
    "deeplab_v2": segmentation(replace(SEGMENTER, head="deeplab_v2", loss="balanced")),
    "deeplab_v3plus": segmentation(replace(SEGMENTER, head="deeplab_v3plus")),
}
METHODS = TAGGED | LABELLED


def batch_for(method: str) -> Batch | LabelledBatch:
    """Four photos of 64 x 64."""
    images, names = torch.randn(4, 3, 64, 64), tuple("abcd")
    if method in LABELLED:
        return LabelledBatch(images, torch.arange(4).repeat_interleave(16).expand(4, 64, 64).contiguous(), names)
    return Batch(images, torch.ones(4, NUM_CLASSES), torch.arange(4) % NUM_CLASSES, torch.rand(4, 1, 4, 4), names)


@pytest.fixture
def fake_tensors(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    if torch.version.cuda is None:
        pytest.skip("torch was built without CUDA, of which a fake GPU needs the code")
    # No GPU is asked what it can do, and networks are where they belong.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(nn.Module, "to", lambda network, *_, **__: network)
    return FakeTensorMode()


def on_fake_gpu(network: Network, fake_tensors: FakeTensorMode) -> Network:
    with fake_tensors:
        for module in network.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    moved = torch.empty(parameter.shape, dtype=parameter.dtype, device="cuda")
                    module._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
    return network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_step_on_a_gpu_needs_nothing_from_the_cpu(method: str, dtype: torch.dtype, fake_tensors: FakeTensorMode):
    training = METHODS[method](FakeGpu(dtype), lambda network: on_fake_gpu(network, fake_tensors))

    with fake_tensors:
        losses = training.training_step(batch_for(method).to(torch.device("cuda")), 0)

    assert losses
    assert {(loss.device.type, loss.dtype) for loss in losses.values()} == {("cuda", torch.float32)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", [method for method in TAGGED if method.startswith("acr")])
def test_decoder_on_a_gpu_gets_features_in_the_arithmetic_of_the_run_in_both_phases(
    method: str, dtype: torch.dtype, fake_tensors: FakeTensorMode
):
    training = METHODS[method](FakeGpu(dtype), lambda network: on_fake_gpu(network, fake_tensors))
    got: list[torch.dtype] = []
    decoder = training.learners["reconstructor"].network.decoder
    decoder.register_forward_pre_hook(lambda _, arguments: got.append(arguments[0].dtype))

    with fake_tensors:
        training.training_step(batch_for(method).to(torch.device("cuda")), 0)

    assert got == [dtype, dtype]


def two_steps(method: str, precision: Any) -> tuple[Tensor, TrainingMethod]:
    """Losses (2, N) and what was trained."""
    torch.manual_seed(0)
    training = METHODS[method](Fabric(accelerator="cpu", devices=1, precision=precision), lambda network: network)
    batch = batch_for(method)
    return torch.stack([torch.stack([*training.training_step(batch, 0).values()]) for _ in range(2)]), training


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_in_bfloat16_lose_about_what_they_do_in_float32(method: str):
    exact, _ = two_steps(method, "32-true")

    losses, training = two_steps(method, "bf16-mixed")

    assert not torch.equal(losses, exact)
    torch.testing.assert_close(losses, exact, rtol=0.03, atol=0.01)
    for one in training.learners.values():
        assert {parameter.dtype for parameter in one.network.parameters()} == {torch.float32}
        assert all(parameter.isfinite().all() for parameter in one.network.parameters())

import pytest
import torch
from torch import nn

from tag2mask.config import ClassifierSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.classifier import Classifier, build_classifier, build_head

SETTINGS = ClassifierSettings(backbone="test_resnet", output_stride=16)


def test_logits_are_the_spatial_mean_of_the_cams():
    classifier = build_classifier(SETTINGS, num_classes=3).eval()

    with torch.no_grad():
        cams, (logits,) = classifier(torch.rand(2, 3, 40, 64))

    assert cams.shape == (2, 3, 3, 4)
    assert cams.min() < 0 < cams.max()
    torch.testing.assert_close(logits, cams.flatten(2).sum(2) / 12)


def test_linear_head_weighs_the_last_feature():
    classifier = build_classifier(SETTINGS, num_classes=3).eval()
    images = torch.rand(1, 3, 32, 32)

    with torch.no_grad():
        feature = classifier.backbone(images)[-1]
        expected = torch.einsum("kc,bchw->bkhw", classifier.head.weight[:, :, 0, 0], feature)

        torch.testing.assert_close(classifier(images).cams, expected)


def test_two_layer_head_has_256_channels_between_and_no_bias():
    head = build_head(96, 5, "two_layer")

    shapes = {name: tuple(parameter.shape) for name, parameter in head.named_parameters()}
    assert shapes == {"0.weight": (256, 96, 1, 1), "2.weight": (5, 256, 1, 1)}


def test_heads_begin_in_xavier_range():
    bound = (6 / (96 + 5)) ** 0.5

    weight = build_head(96, 5, "linear").weight

    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_new_parameters_are_those_of_the_head():
    classifier = build_classifier(ClassifierSettings(backbone="test_resnet", head="two_layer"), num_classes=3)

    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    assert [names[id(p)] for p in classifier.new_parameters()] == ["head.0.weight", "head.2.weight"]


def test_all_but_batch_norm_learns_from_the_logits():
    classifier = build_classifier(SETTINGS, num_classes=3).train()

    classifier(torch.rand(2, 3, 64, 64)).logits.square().sum().backward()

    norms = {
        f"{name}.{parameter}"
        for name, module in classifier.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for parameter in ("weight", "bias")
    }
    assert norms
    for name, parameter in classifier.named_parameters():
        assert (parameter.grad is None) == (name in norms), name


def test_any_backbone_with_the_protocol_will_do():
    class Brightness(nn.Module):
        channels, strides, normalisation = (1,), (1,), Normalisation((0.0,) * 3, (1.0,) * 3)

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [images.mean(1, keepdim=True)]

        def truncate(self, depth: int) -> None: ...

    classifier = Classifier(Brightness(), num_classes=1, head="linear")
    nn.init.constant_(classifier.head.weight, 2.0)

    output = classifier(torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2))

    assert output.cams.flatten().tolist() == [2.0, 4.0, 6.0, 12.0]
    assert output.logits.item() == 6.0

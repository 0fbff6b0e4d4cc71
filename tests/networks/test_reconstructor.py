import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.config import ClassifierSettings, Initialisation, ReconstructorSettings
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor

CLASSIFIER = ClassifierSettings(backbone="test_resnet", output_stride=16)  # features of strides 2, 4, 8, 16, 16
SETTINGS = ReconstructorSettings(features=(2, -1), feature_channels=(4, 6), width=4, depth=4, max_width_factor=4)


def reconstructor(settings: ReconstructorSettings = SETTINGS) -> Reconstructor:
    torch.manual_seed(0)
    return build_reconstructor(CLASSIFIER, settings, num_classes=3).eval()


def photos(batch_size: int = 2, side: int = 32) -> Tensor:
    return torch.randn(batch_size, 3, side, side, generator=torch.Generator().manual_seed(1))


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def test_features_are_the_reduced_depths_on_the_finest_grid():
    network = reconstructor()

    features, logits = network.encode(network.backbone(photos()))

    depths = network.backbone(photos())
    fine = network.reductions[0](depths[2])
    coarse = F.interpolate(network.reductions[1](depths[-1]), size=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(features, torch.cat((fine, coarse), dim=1))
    torch.testing.assert_close(logits, network.head(depths[-1]).mean((2, 3)))


@pytest.mark.parametrize("init", ["pytorch", "xavier"])
def test_reductions_begin_as_the_settings_say(init: Initialisation):
    network = reconstructor(dataclasses.replace(SETTINGS, feature_channels=(64, 64), reduction_init=init))

    weight = network.reductions[-1].weight
    inputs = network.backbone.channels[-1]
    # Both are uniform between the negative bound and the bound.
    bound = {"pytorch": inputs**-0.5, "xavier": (6 / (inputs + 64)) ** 0.5}[init]
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@torch.no_grad()
def test_segments_fed_whole_restore_the_whole():
    network = reconstructor()

    restoration = network(photos(), [torch.ones(2, 1, 32, 32), torch.ones(2, 1, 4, 4)], True)

    for segment in restoration.segments:
        torch.testing.assert_close(segment, restoration.whole)


@torch.no_grad()
def test_features_are_cut_on_the_grid_of_the_map():
    network = reconstructor()
    features = network.encode(network.backbone(photos())).features
    fine, coarse = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 4, 4)

    restored_fine, restored_coarse = network.restore(features, [fine, coarse])

    def enlarge(maps: Tensor) -> Tensor:
        return F.interpolate(maps, scale_factor=8, mode="bilinear", align_corners=False)

    torch.testing.assert_close(restored_fine, network.decode(enlarge(features) * fine))
    torch.testing.assert_close(restored_coarse, network.decode(enlarge(features * coarse)))


def test_gradient_reaches_the_fed_map_through_frozen_weights():
    network = reconstructor().requires_grad_(False)
    fed = torch.full((2, 1, 32, 32), 0.5, requires_grad=True)
    with torch.no_grad():
        features = network.encode(network.backbone(photos())).features

    (restored,) = network.restore(features, [fed])
    restored.square().sum().backward()

    assert fed.grad.abs().sum() > 0


def test_whole_photo_teaches_the_decoder_alone():
    network = reconstructor()

    network(photos(), [], True).whole.square().sum().backward()

    learned = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert learned == {"decoder"}


def test_every_learning_parameter_takes_part_in_one_forward():
    network = reconstructor().train()

    restoration = network(photos(), [torch.rand(2, 1, 32, 32)], False)
    (restoration.segments[0].sum() + restoration.logits.sum()).backward()

    learning = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in learning.items() if parameter.grad is None] == []
    assert restoration.whole is None


def test_without_head_the_backbone_ends_at_the_deepest_tap():
    shallow = reconstructor(dataclasses.replace(SETTINGS, features=(0, 2), classify=False))
    whole = reconstructor(dataclasses.replace(SETTINGS, features=(0, 2)))

    assert shallow.backbone.channels == (32, 32, 48)
    assert num_parameters(shallow.backbone) < 0.2 * num_parameters(whole.backbone)
    with torch.no_grad():
        shallow.reductions.load_state_dict(whole.reductions.state_dict())
        shallow.backbone.load_state_dict(whole.backbone.state_dict(), strict=False)
        assert shallow.encode(shallow.backbone(photos())).logits is None
        torch.testing.assert_close(
            shallow.encode(shallow.backbone(photos())).features, whole.encode(whole.backbone(photos())).features
        )


def test_photos_are_restored_at_their_own_side_or_at_that_of_the_settings():
    own = reconstructor()
    small = reconstructor(dataclasses.replace(SETTINGS, image_side=16))
    odd = photos(side=36)

    assert (own.side(photos()), small.side(photos())) == (32, 16)
    assert torch.equal(own.photos_to_restore(photos()), photos())
    assert small.photos_to_restore(photos()).shape == (2, 3, 16, 16)
    assert small(photos(), [torch.ones(2, 1, 16, 16)], False).segments[0].shape == (2, 3, 16, 16)
    assert own.side(odd) == own.encode(own.backbone(odd)).features.shape[-1] * 8 == 40


def test_photos_are_made_smaller_without_aliasing():
    network = reconstructor(dataclasses.replace(SETTINGS, image_side=16))
    stripes = torch.tensor([1.0, 0, 0, 0]).repeat(8).expand(1, 3, 32, 32)

    smaller = network.photos_to_restore(stripes)

    # Weights 1, 3, 3, 1 of 8, for the 4 pixels around each new one.
    assert smaller[0, 0, 0, 1:-1].tolist() == pytest.approx([1 / 8, 3 / 8] * 7)


@torch.no_grad()
def test_photos_normalised_for_another_network_give_the_same_features():
    def depths(normalisation: Normalisation | None) -> list[Tensor]:
        torch.manual_seed(0)
        network = build_reconstructor(CLASSIFIER, SETTINGS, 3, normalisation).eval()
        return network.depths((photos() - network.mean) / network.std)

    other = Normalisation((0.1, 0.2, 0.3), (0.2, 0.3, 0.4))
    torch.testing.assert_close(depths(other), depths(None), rtol=1e-4, atol=1e-4)


def test_mean_and_std_bring_photos_back_to_0_1():
    network = reconstructor()

    assert network.mean.flatten().tolist() == pytest.approx(network.backbone.normalisation.mean)
    assert network.std.shape == (1, 3, 1, 1)
    assert not {"mean", "std"} & set(network.state_dict())


def test_new_parameters_are_all_but_those_of_the_backbone():
    network = reconstructor()

    names = {id(parameter): name.split(".")[0] for name, parameter in network.named_parameters()}
    new = [names[id(parameter)] for parameter in network.new_parameters()]
    assert set(new) == {"reductions", "head", "decoder"}
    assert len(new) == sum(name != "backbone" for name in names.values())


def test_channels_last_gives_the_same():
    network = reconstructor()
    fed = [torch.rand(2, 1, 32, 32)]
    with torch.no_grad():
        expected = network(photos(), fed, False).segments[0]
        found = network.to(memory_format=torch.channels_last)(
            photos().to(memory_format=torch.channels_last), fed, False
        ).segments[0]

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ((2, 5), "depth 5, but the backbone gives 5 features: -5 to 4"),
        ((-6, 0), "depth -6"),
        ((0, 1, 2), "3 depths and reconstructor.feature_channels 2 numbers"),
    ],
)
def test_depths_that_the_backbone_lacks_are_refused(features: tuple[int, ...], told: str):
    with pytest.raises(ValueError, match=told):
        reconstructor(dataclasses.replace(SETTINGS, features=features))


def test_transposed_convolutions_are_told_by_their_type():
    network = reconstructor()

    transposed = [module for module in network.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert len(transposed) == SETTINGS.depth - 1

import timm
import torch

from tag2mask.networks.backbones.embedded import EMBEDDED_BACKBONE, EMBEDDED_NORMALISATION, read_embedded


def test_weights_fill_the_network_of_timm_exactly_and_nothing_is_skipped():
    network = timm.create_model(EMBEDDED_BACKBONE, num_classes=0)
    drawn = network.conv_head.weight.detach().clone()

    network.load_state_dict(read_embedded(), strict=True)

    assert not torch.equal(network.conv_head.weight, drawn)


def test_normalisation_is_a_shift_by_127_and_a_division_by_128():
    pixels = torch.tensor([0.0, 127.0, 255.0])

    normalised = (pixels / 255 - EMBEDDED_NORMALISATION.mean[0]) / EMBEDDED_NORMALISATION.std[0]

    torch.testing.assert_close(normalised, (pixels - 127) / 128)

import torch
from torch import Tensor, nn

from tag2mask.networks.backbones.pruning import drop_unused


class Branches(nn.Module):
    """Calls one layer, uses another through its weight only, walks half of a sequence, and never needs the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.called = nn.Conv2d(3, 3, 1)
        self.attention = Attention()
        self.sequence = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
        self.classifier = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.sequence[0](self.attention(self.called(x)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.projection.weight)


def test_only_what_a_forward_does_not_need_is_dropped():
    network = Branches().eval()
    images = torch.rand(1, 3, 2, 2)
    expected = network(images)

    drop_unused(network, images)

    assert torch.equal(network(images), expected)
    kept = {name.rsplit(".", maxsplit=1)[0] for name, _ in network.named_parameters()}
    assert kept == {"called", "attention.projection", "sequence.0"}

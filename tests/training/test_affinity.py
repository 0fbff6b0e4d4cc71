import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as processes
import torch.multiprocessing as multiprocessing
from command_process import ready_processes
from torch import Tensor, nn

from tag2mask.config import RefinementSettings
from tag2mask.data.batch import LabelledBatch
from tag2mask.neighbours import half_plane_offsets
from tag2mask.networks.affinitynet import AffinityNet, build_affinity_net
from tag2mask.training.affinity import (
    PairLosses,
    PixelAffinities,
    affinity_of_offset,
    cells_at,
    grid_labels,
    pair_affinities,
    pair_losses,
)

SETTINGS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=8, crop=64, radius=3)


def half_alike(maps: Tensor, offset: tuple[int, int], radius: int) -> Tensor:
    return cells_at(maps, (0, 0), radius) / 2


def losses_of_features(features: Tensor, labels: Tensor) -> PairLosses:
    return pair_losses(pair_affinities(features, 3), labels, affinity=affinity_of_offset, radius=3)


def losses_of_photos(photos: list[int]) -> tuple[Tensor, Tensor]:
    """Losses and their gradient for some of four photos that have different numbers of labelled cells."""
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(4, 3, 6, 7, generator=draw)[photos].requires_grad_()
    labels = torch.randint(3, (4, 6, 7), generator=draw)
    labels[1, 2:], labels[3, :, :3] = 255, 255
    losses = losses_of_features(features, labels[photos])
    losses.total().backward()
    assert features.grad is not None
    return torch.stack(losses).detach(), features.grad


def process_of_two(rank: int, folder: str) -> None:
    processes.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(losses_of_photos([2 * rank, 2 * rank + 1]), f"{folder}/{rank}.pt")
    processes.destroy_process_group()


@pytest.fixture
def network() -> AffinityNet:
    torch.manual_seed(0)
    network = build_affinity_net(SETTINGS)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def test_losses_of_a_hand_computed_row():
    # First cells: the middle two of the upper row; at radius 2 their neighbours are beside and below.
    affinity_times_2 = torch.tensor([[0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]])[None]
    labels = torch.tensor([[255, 0, 0, 7], [0, 255, 7, 7]])[None]

    losses = pair_losses(affinity_times_2, labels, affinity=half_alike, radius=2)

    assert losses.background.item() == pytest.approx(-(math.log(0.5) + math.log(0.5)) / 2, rel=1e-3)
    assert losses.foreground.item() == 0
    different = -(math.log(0.5) + 3 * math.log(0.75)) / 4
    assert losses.different.item() == pytest.approx(different, rel=1e-3)
    assert losses.total().item() == pytest.approx(math.log(2) / 4 + different / 2, rel=1e-3)


def test_features_are_alike_by_their_mean_absolute_difference():
    features = torch.zeros(1, 2, 2, 3)
    features[0, :, 0, 2] = torch.tensor([1.0, -3.0])

    affinities = pair_affinities(features, 2)

    assert affinities.shape == (1, 4, 1, 1)
    assert affinities.flatten().tolist() == pytest.approx([math.exp(-2), 1, 1, 1])
    assert affinity_of_offset(affinities, (0, 1), 2).item() == affinities[0, 0].item()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_affinities_and_gradient_equal_those_of_plain_differences(layout: torch.memory_format):
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(2, 5, 9, 12, generator=draw).contiguous(memory_format=layout).requires_grad_()
    differences = [cells_at(features, offset, 4) - cells_at(features, (0, 0), 4) for offset in half_plane_offsets(4)]
    plain = torch.stack([torch.exp(-difference.abs().mean(1)) for difference in differences], dim=1)

    affinities = pair_affinities(features, 4)

    torch.testing.assert_close(affinities, plain)
    weights = torch.rand(affinities.shape, generator=draw) - 0.5
    found, expected = (torch.autograd.grad((each * weights).sum(), features)[0] for each in (affinities, plain))
    torch.testing.assert_close(found, expected)


def test_losses_and_gradients_equal_those_of_an_index_table():
    draw = torch.Generator().manual_seed(0)
    features = torch.rand(2, 5, 8, 9, generator=draw).requires_grad_()
    labels = torch.tensor([0, 3, 90, 255])[torch.randint(4, (2, 8, 9), generator=draw)]
    first = torch.tensor([y * 9 + x for y in range(6) for x in range(2, 7)])
    sums, counts = torch.zeros(3), torch.zeros(3)
    for row, column in half_plane_offsets(3):
        here, there = (features.flatten(2)[..., index] for index in (first, first + row * 9 + column))
        one, other = (labels.flatten(1)[..., index] for index in (first, first + row * 9 + column))
        affinity = torch.exp(-(here - there).abs().mean(1))
        known = (one < 255) & (other < 255)
        kinds = [known & (one == other) & (one == 0), known & (one == other) & (one > 0), known & (one != other)]
        costs = [-(affinity + 1e-5).log(), -(affinity + 1e-5).log(), -(1 + 1e-5 - affinity).log()]
        sums = sums + torch.stack([cost[kind].sum() for kind, cost in zip(kinds, costs, strict=True)])
        counts += torch.stack([kind.sum() for kind in kinds])
    expected = sums / counts

    losses = torch.stack(losses_of_features(features, labels))

    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    ours, plain = (torch.autograd.grad(loss.square().sum(), features)[0] for loss in (losses, expected))
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_two_processes_share_the_means_of_one(tmp_path: Path):
    losses, gradient = losses_of_photos([0, 1, 2, 3])

    ready_processes()
    multiprocessing.start_processes(process_of_two, (str(tmp_path),), nprocs=2, start_method="forkserver")

    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close((parts[0][0] + parts[1][0]) / 2, losses)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]) / 2, gradient)


def test_cells_take_the_label_at_their_centre():
    label_maps = torch.arange(64).view(1, 8, 8)

    assert grid_labels(label_maps, (2, 2)).tolist() == [[[18, 22], [50, 54]]]


def test_step_moves_everything_but_batch_norm(labelled_batch: LabelledBatch, network: AffinityNet, learn: Callable):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    norms = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]

    losses = PixelAffinities(learn(network), SETTINGS.radius).training_step(labelled_batch, 0)

    assert losses.keys() == {"background", "foreground", "different"}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name.rpartition(".")[0] in norms), name


def test_loss_falls_on_two_photos(labelled_batch: LabelledBatch, network: AffinityNet, learn: Callable):
    method = PixelAffinities(learn(network, 0.1), SETTINGS.radius)

    totals = [sum(method.training_step(labelled_batch, 0).values()).item() for _ in range(12)]

    assert totals[-1] < 0.85 * totals[0]

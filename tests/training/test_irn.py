from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tag2mask.config import RefinementSettings
from tag2mask.data.batch import LabelledBatch
from tag2mask.neighbours import half_plane_offsets, path_cells
from tag2mask.networks.irnet import BoundaryNet, build_boundary_net
from tag2mask.training.affinity import pair_losses
from tag2mask.training.irn import Boundaries, path_affinity

SETTINGS = RefinementSettings(backbone="test_resnet", weights="none", output_stride=8, crop=64, radius=4)


def gathered_affinity(edges: Tensor, offset: tuple[int, int], radius: int) -> Tensor:
    """Cell by cell through an index table of the paths."""
    _, height, width = edges.shape
    first = [(y, x) for y in range(height - radius + 1) for x in range(radius - 1, width - radius + 1)]
    table = torch.tensor([[(y + row) * width + x + column for y, x in first] for row, column in path_cells(offset)])
    highest = edges.flatten(1)[:, table].max(dim=1).values
    return 1 - highest.view(len(edges), height - radius + 1, width - 2 * radius + 2)


@pytest.fixture
def network() -> BoundaryNet:
    torch.manual_seed(0)
    return build_boundary_net(SETTINGS)


def test_running_maxima_equal_a_plain_gather():
    edges = torch.rand(2, 21, 26, generator=torch.Generator().manual_seed(0))

    for offset in half_plane_offsets(10):
        plain = gathered_affinity(edges, offset, 10)

        torch.testing.assert_close(path_affinity(edges, offset, 10), plain, rtol=0, atol=0)


def test_losses_and_gradients_equal_those_of_a_plain_gather():
    draw = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 3, 90, 255], dtype=torch.uint8)[torch.randint(4, (2, 12, 14), generator=draw)]
    edges = torch.rand(2, 12, 14, generator=draw).requires_grad_()

    losses, gradients = {}, {}
    for affinity in (path_affinity, gathered_affinity):
        losses[affinity] = torch.stack(pair_losses(edges, labels, affinity=affinity, radius=5))
        (gradients[affinity],) = torch.autograd.grad(losses[affinity].square().sum(), edges)

    torch.testing.assert_close(losses[path_affinity], losses[gathered_affinity], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[path_affinity], gradients[gathered_affinity], rtol=1e-5, atol=1e-5)
    assert gradients[path_affinity].abs().max() > 0.01


def test_gradient_goes_to_the_first_of_equal_edges():
    edges = torch.full((1, 2, 4), 0.5, requires_grad=True)

    path_affinity(edges, (0, 1), 2).sum().backward()

    assert edges.grad is not None
    assert edges.grad.tolist() == [[[0, 0, -1, -1], [0, 0, 0, 0]]]


def test_losses_and_gradient_are_those_of_the_released_code(golden: Path):
    with np.load(golden / "irn.npz") as arrays:
        released = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith("r10_")}
    logits = released["r10_edge_logits"].requires_grad_()

    losses = pair_losses(logits[:, 0].sigmoid(), released["r10_labels"], affinity=path_affinity, radius=10)
    losses.total().backward()

    for ours, name in zip(losses, ("pos_bg", "pos_fg", "neg"), strict=True):
        torch.testing.assert_close(ours, released[f"r10_loss_{name}"], rtol=1e-5, atol=1e-6)
    expected = (released["r10_loss_pos"] + released["r10_loss_neg"]) / 2
    torch.testing.assert_close(losses.total(), expected, rtol=1e-5, atol=1e-6)
    # The released total has terms of the displacements besides, which do not reach the edges.
    gradient = released["r10_grad_edge_logits"]
    assert (logits.grad - gradient).abs().max() < 1e-5 * gradient.abs().max()


def test_affinities_of_each_direction_are_those_of_the_released_code(golden: Path):
    with np.load(golden / "irn.npz") as released:
        edges = torch.from_numpy(released["r10_edge_logits"])[:, 0].sigmoid()
        expected = released["r10_affinity_mean_per_direction"]

    means = torch.stack([path_affinity(edges, offset, 10).double().mean((1, 2)) for offset in half_plane_offsets(10)])

    np.testing.assert_allclose(means.T, expected, rtol=1e-5)


def test_step_moves_the_new_layers_and_not_the_backbone(
    labelled_batch: LabelledBatch, network: BoundaryNet, learn: Callable
):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    losses = Boundaries(learn(network), SETTINGS.radius).training_step(labelled_batch, 0)

    assert losses.keys() == {"background", "foreground", "different"}
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith("backbone."), name


def test_loss_falls_and_the_boundary_shows(labelled_batch: LabelledBatch, network: BoundaryNet, learn: Callable):
    method = Boundaries(learn(network, 0.05), SETTINGS.radius)

    totals = [sum(method.training_step(labelled_batch, 0).values()).item() for _ in range(12)]

    assert totals[-1] < 0.8 * totals[0]
    with torch.no_grad():
        edges = network.eval()(labelled_batch.images)[0, 0].sigmoid()
    assert edges[4:, 6:9].amax(1).mean() > edges[4:, 12:].mean() + 0.3


def test_unlabelled_photos_leave_the_network_as_it_is(
    labelled_batch: LabelledBatch, network: BoundaryNet, learn: Callable
):
    nothing = LabelledBatch(labelled_batch.images, torch.full_like(labelled_batch.label_maps, 255), ("a", "b"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    losses = Boundaries(learn(network), SETTINGS.radius).training_step(nothing, 0)

    assert [loss.item() for loss in losses.values()] == [0, 0, 0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_process import work_together
from lightning_fabric import Fabric
from torch import Tensor, nn

from tag2mask.config import DataSettings, OptimizerSettings, SegmenterSettings
from tag2mask.data.batch import LabelledBatch, collate
from tag2mask.data.datasets import LabelledPhotos
from tag2mask.data.read import read_data_set
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.deeplab import DeepLab, build_deeplab
from tag2mask.training.learner import Learner
from tag2mask.training.optim import build_optimizer, build_schedule
from tag2mask.training.segmentation import Segmentation, balanced_cross_entropy, count_pixels, cross_entropy

SETTINGS = SegmenterSettings(backbone="test_resnet", head="deeplab_v2", output_stride=8)
LOSSES = (cross_entropy, balanced_cross_entropy)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def segmenter() -> DeepLab:
    return new_segmenter(SETTINGS)


def new_segmenter(settings: SegmenterSettings) -> DeepLab:
    torch.manual_seed(0)
    network = build_deeplab(settings, 2)
    for module in network.modules():
        # timm lets some begin at 0, where no gradient would pass.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def labelled_batch(shapes: Path) -> LabelledBatch:
    """Four of the drawn photos with their true label maps, augmented."""
    records = read_data_set(DataSettings(root=shapes)).split("train")
    settings = SegmenterSettings(resize_range=(0.8, 1.2), crop=32)
    photos = LabelledPhotos(records, settings, normalisation=Normalisation((0.5,) * 3, (0.25,) * 3), seed=0)
    return collate([photos[0, index] for index in range(4)])


def four_pixels() -> tuple[Tensor, Tensor, list[float]]:
    """Logits of two labels for 2x2 pixels, a label map with one pixel ignored, and -log of each pixel's true score."""
    logits = torch.tensor([[[[1.0, 0.0], [5.0, 2.0]], [[0.0, 2.0], [1.0, -1.0]]]])
    label_map = torch.tensor([[[0, 1], [255, 1]]])
    scores = logits.double().softmax(1)[0]
    return logits, label_map, (-torch.stack([scores[0, 0, 0], scores[1, 0, 1], scores[1, 1, 1]]).log()).tolist()


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    logits, label_map, (first, second, fourth) = four_pixels()

    loss = cross_entropy(logits, label_map, count_pixels(label_map))

    assert loss.item() == pytest.approx((first + second + fourth) / 3, rel=1e-5)


def test_balanced_loss_is_half_background_and_half_foreground():
    logits, label_map, (first, second, fourth) = four_pixels()

    loss = balanced_cross_entropy(logits, label_map, count_pixels(label_map))

    assert loss.item() == pytest.approx(first / 2 + (second + fourth) / 2 / 2, rel=1e-5)


def test_balanced_loss_without_foreground_is_the_background_s_half():
    logits, _, (first, *_) = four_pixels()
    label_map = torch.tensor([[[0, 255], [255, 255]]])

    assert balanced_cross_entropy(logits, label_map, count_pixels(label_map)).item() == pytest.approx(first / 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_labelled_teaches_nothing(loss: Loss):
    logits = four_pixels()[0].requires_grad_()
    label_map = torch.full((1, 2, 2), 255)

    value = loss(logits, label_map, count_pixels(label_map))
    value.backward()

    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_are_interpolated_to_the_label_map(loss: Loss):
    logits = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    label_map = torch.ones(1, 5, 3, dtype=torch.long)

    value = loss(logits, label_map, count_pixels(label_map)).item()

    share = 1.0 if loss is cross_entropy else 0.5
    assert value == pytest.approx(share * torch.tensor(-2.0).exp().log1p().item())


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_average_to_the_loss_of_one(loss: Loss):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 4, 4, generator=generator)
    label_maps = torch.randint(0, 3, (2, 4, 4), generator=generator)
    label_maps[0, :3] = 255

    counts = torch.stack([count_pixels(label_map[None]) for label_map in label_maps]).mean(0)
    parts = [loss(logits[[index]], label_maps[[index]], counts).item() for index in range(2)]

    assert sum(parts) / 2 == pytest.approx(loss(logits, label_maps, count_pixels(label_maps)).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "balanced"])
def test_step_descends_the_loss_of_the_settings(
    name: str, labelled_batch: LabelledBatch, segmenter: DeepLab, learn: Callable
):
    loss = dict(zip(("cross_entropy", "balanced"), LOSSES, strict=True))[name]
    label_maps = labelled_batch.label_maps
    with torch.no_grad():
        expected = loss(segmenter(labelled_batch.images), label_maps, count_pixels(label_maps)).item()
    method = Segmentation(learn(segmenter), replace(SETTINGS, loss=name))

    losses = method.training_step(labelled_batch, 0)

    assert method.learners.keys() == {"segmenter"}
    assert losses.keys() == {"segmentation"}
    assert losses["segmentation"].item() == pytest.approx(expected, rel=1e-5)


def photo_labelled_in_part(rank: int) -> LabelledBatch:
    """The photo of one process: of the first one most is labelled, of the second one little."""
    generator = torch.Generator().manual_seed(rank)
    label_map = torch.randint(0, 3, (1, 32, 32), generator=generator)
    label_map[:, 2 if rank else 28 :] = 255
    return LabelledBatch(torch.randn(1, 3, 32, 32, generator=generator), label_map, (f"{rank}",))


def bias_after_a_step(fabric: Fabric, batch: LabelledBatch) -> Tensor:
    """That of the head's first branch, by one plain step."""
    network = new_segmenter(SETTINGS)
    settings = OptimizerSettings(learning_rate=1, momentum=0, weight_decay=0)
    optimizer = build_optimizer(network, [], settings)
    schedule = build_schedule(optimizer, settings, num_steps=1, steps_per_epoch=1)
    Segmentation(Learner(fabric, network, optimizer, schedule), SETTINGS).training_step(batch, 0)
    return network.head.branches[0].bias.detach()


def take_a_step(fabric: Fabric, folder: Path) -> None:
    torch.save(
        bias_after_a_step(fabric, photo_labelled_in_part(fabric.global_rank)), folder / f"{fabric.global_rank}.pt"
    )


def test_step_of_two_processes_is_that_of_one_on_all_photos(fabric: Fabric, tmp_path: Path):
    expected = bias_after_a_step(fabric, collate([photo_labelled_in_part(rank) for rank in (0, 1)]))

    assert work_together(take_a_step, tmp_path) == [0, 0]

    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)


def test_step_moves_everything_but_batch_norm(labelled_batch: LabelledBatch, segmenter: DeepLab, learn: Callable):
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    norms = [name for name, module in segmenter.named_modules() if isinstance(module, nn.BatchNorm2d)]

    Segmentation(learn(segmenter, 0.1), SETTINGS).training_step(labelled_batch, 0)

    for name, tensor in segmenter.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name.rpartition(".")[0] in norms), name


def test_loss_falls_on_four_photos(labelled_batch: LabelledBatch, learn: Callable):
    settings = replace(SETTINGS, head="deeplab_v3plus", loss="balanced")
    method = Segmentation(learn(new_segmenter(settings), 0.01), settings)

    losses = [method.training_step(labelled_batch, 0)["segmentation"].item() for _ in range(8)]

    assert losses[-1] < 0.7 * losses[0]

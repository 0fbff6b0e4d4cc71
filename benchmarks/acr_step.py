"""Time of one ACR iteration: ours against a plain transcription of the released iteration, at equal losses.

    python benchmarks/acr_step.py --recipe animals_lite0

The plain one runs the classifier once for each phase, decodes each segment by itself, and lets the classifier's phase
compute gradients for the reconstructor's weights that nobody uses; tensors are in torch's default memory layout.
Both start from the same weights and see the same batches; they take turns, so that noise hits both.
"""

import argparse
import copy
import statistics
import time

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from tag2mask.config import AcrSettings, Recipe
from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import Classifier, build_classifier
from tag2mask.networks.normalisation import normalise_cams
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor
from tag2mask.recipes import load_recipe
from tag2mask.training.acr import Acr
from tag2mask.training.learner import Learner
from tag2mask.training.optim import build_optimizer, build_schedule

NUM_CLASSES = 6
NUM_STEPS = 1000


class PlainAcr:
    """The iteration written down line by line."""

    def __init__(self, classifier: Classifier, reconstructor: Reconstructor, settings: AcrSettings) -> None:
        self.classifier = classifier
        self.reconstructor = reconstructor
        self.settings = settings
        self.optimizers = [
            build_optimizer(classifier, classifier.new_parameters(), settings.classifier_optimizer),
            build_optimizer(reconstructor, reconstructor.new_parameters(), settings.reconstructor_optimizer),
        ]
        self.schedules = [
            build_schedule(optimizer, part, num_steps=NUM_STEPS, steps_per_epoch=NUM_STEPS)
            for optimizer, part in zip(
                self.optimizers, (settings.classifier_optimizer, settings.reconstructor_optimizer), strict=True
            )
        ]

    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """One iteration."""
        return self.update_reconstructor(batch) | self.update_classifier(batch)

    def update_reconstructor(self, batch: Batch) -> dict[str, Tensor]:
        """RU phase."""
        settings, network = self.settings, self.reconstructor
        side = network.side(batch.images)
        photo = network.photos_to_restore(batch.images)
        self.classifier.eval()
        with torch.no_grad():
            cam = self.target(self.classifier(batch.images).cams, batch.targets, side)
        network.train()
        features, logits = self.encode(batch.images)
        probability = settings.remnants.probability
        validated = 1 - F.interpolate((batch.grid_draws < probability).float(), size=(side, side), mode="nearest")
        losses = {"whole": F.l1_loss(network.decoder(features.detach()), photo)}
        if logits is not None:
            losses["classification"] = F.binary_cross_entropy_with_logits(logits, batch.tags)
        for name, erased in (("target", (1 - cam) * validated), ("non_target", cam * validated)):
            losses[name] = (erased * (network.decoder(features * (1 - erased)) - photo).abs()).mean()
        self.step(1, sum(getattr(settings.reconstructor_loss, name) * loss for name, loss in losses.items()))
        return {f"reconstructor/{name}": loss.detach() for name, loss in losses.items()}

    def update_classifier(self, batch: Batch) -> dict[str, Tensor]:
        """CU phase, soft masks."""
        settings, network = self.settings, self.reconstructor
        side = network.side(batch.images)
        photo = network.photos_to_restore(batch.images)
        self.classifier.train()
        cams, (logits,) = self.classifier(batch.images)
        network.eval()
        with torch.no_grad():
            features, _ = self.encode(batch.images)
        cam = self.target(cams, batch.targets, side)
        losses = {"classification": F.binary_cross_entropy_with_logits(logits, batch.tags)}
        losses["target"] = -((1 - cam) * (network.decoder(features * cam) - photo).abs()).mean()
        losses["non_target"] = -(cam * (network.decoder(features * (1 - cam)) - photo).abs()).mean()
        self.step(0, sum(getattr(settings.classifier_loss, name) * loss for name, loss in losses.items()))
        return {f"classifier/{name}": loss.detach() for name, loss in losses.items()}

    def target(self, cams: Tensor, targets: Tensor, side: int) -> Tensor:
        """Normalised CAM of the target class at the decoder's side."""
        chosen = normalise_cams(cams)[torch.arange(len(targets)), targets][:, None]
        return F.interpolate(chosen, size=(side, side), mode="bilinear", align_corners=False)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features at the decoder's side, and logits."""
        network = self.reconstructor
        features, logits = network.encode(network.backbone(images))
        side = network.side(images)
        return F.interpolate(features, size=(side, side), mode="bilinear", align_corners=False), logits

    def step(self, which: int, loss: Tensor) -> None:
        """Update one network; the other one's gradients are cleared before its own update."""
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()
        self.schedules[which].step()


def main() -> None:
    """Print seconds a step of both, their ratio, and the largest difference between losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="animals_lite0")
    parser.add_argument("--steps", type=int, default=8)
    arguments, flags = parser.parse_known_args()
    recipe = load_recipe(arguments.recipe, flags)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    classifier = build_classifier(recipe.classifier, NUM_CLASSES)
    reconstructor = build_reconstructor(recipe.classifier, recipe.acr.reconstructor, NUM_CLASSES)
    plain = PlainAcr(copy.deepcopy(classifier), copy.deepcopy(reconstructor), recipe.acr)
    method = build_ours(classifier, reconstructor, recipe.acr)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    worst = 0.0
    for step in range(arguments.steps + 1):
        batch = draw_batch(recipe)
        start = time.perf_counter()
        expected = plain.training_step(batch)
        middle = time.perf_counter()
        found = method.training_step(batch, 0)
        end = time.perf_counter()
        # The first step warms up, and is the only one whose weights are equal to the digit.
        if step:
            seconds["plain"].append(middle - start)
            seconds["ours"].append(end - middle)
        else:
            worst = max(abs(float(expected[name] - value)) for name, value in found.items())
    plain, ours = (statistics.median(seconds[name]) for name in ("plain", "ours"))
    batch, crop = recipe.acr.batch_size, recipe.data.crop
    print(f"recipe {arguments.recipe}, batch {batch}, crop {crop}, {torch.get_num_threads()} threads")
    print(f"plain {plain:.2f} s a step, ours {ours:.2f} s: {plain / ours:.2f} times as fast")
    print(f"largest difference between losses of the first step: {worst:.1e}")


def build_ours(classifier: Classifier, reconstructor: Reconstructor, settings: AcrSettings) -> Acr:
    """Our method around these networks."""
    fabric = Fabric(accelerator="cpu", devices=1)
    learners = []
    for network, part in (
        (classifier, settings.classifier_optimizer),
        (reconstructor, settings.reconstructor_optimizer),
    ):
        optimizer = build_optimizer(network, network.new_parameters(), part)
        schedule = build_schedule(optimizer, part, num_steps=NUM_STEPS, steps_per_epoch=NUM_STEPS)
        learners.append(Learner(fabric, network, optimizer, schedule))
    return Acr(*learners, settings)


def draw_batch(recipe: Recipe) -> Batch:
    """A batch of noise in the shapes of the recipe."""
    size, side = recipe.acr.batch_size, recipe.data.crop
    grid = recipe.acr.remnants.grid
    targets = torch.randint(NUM_CLASSES, (size,))
    return Batch(
        images=F.interpolate(torch.randn(size, 3, side // 8, side // 8), size=(side, side), mode="bicubic"),
        tags=F.one_hot(targets, NUM_CLASSES).float(),
        targets=targets,
        grid_draws=torch.rand(size, 1, grid, grid),
        names=tuple(str(number) for number in range(size)),
    )


if __name__ == "__main__":
    main()

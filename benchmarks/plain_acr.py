"""A plain transcription of the released ACR iteration, and batches of noise, to compare our iteration with it.

It runs the classifier once for each phase, decodes each segment by itself, and lets the classifier's phase compute
gradients for the reconstructor's weights that nobody uses; tensors are in torch's default memory layout.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.config import AcrSettings, Recipe
from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import PhotoClassifier
from tag2mask.networks.normalisation import normalise_cams
from tag2mask.networks.reconstructor import Reconstructor
from tag2mask.training.optim import build_optimizer, build_schedule
from tag2mask.training.segments import draw_remnants, scored_masks

# Steps of the schedule: more than any benchmark takes.
NUM_STEPS = 1000


class PlainAcr:
    """The iteration written down line by line; a term of weight 0 is left out, as ours leaves it out."""

    def __init__(self, classifier: PhotoClassifier, reconstructor: Reconstructor, settings: AcrSettings) -> None:
        if (settings.masking, settings.image_space) != ("upsampled", "normalised"):
            found = f"acr.masking {settings.masking} and acr.image_space {settings.image_space}"
            raise ValueError(f"{found}, but the released iteration has upsampled and normalised")
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

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """One iteration."""
        return self.update_reconstructor(batch, epoch) | self.update_classifier(batch)

    def update_reconstructor(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """RU phase."""
        network, weights = self.reconstructor, self.settings.reconstructor_loss
        side = network.side(batch.images)
        photo = network.photos_to_restore(batch.images)
        self.classifier.eval()
        with torch.no_grad():
            cam = self.target(self.classifier(batch.images).cams, batch.targets, side)
        network.train()
        features, logits = self.encode(batch.images)
        remnants = draw_remnants(batch.grid_draws, self.settings.remnants, epoch)
        validated = 1 - F.interpolate(remnants, size=(side, side), mode="nearest")
        losses = {}
        if weights.whole:
            losses["whole"] = F.l1_loss(network.decoder(features.detach()), photo)
        if weights.classification and logits is not None:
            losses["classification"] = F.binary_cross_entropy_with_logits(logits, batch.tags)
        for name, erased in (("target", (1 - cam) * validated), ("non_target", cam * validated)):
            if getattr(weights, name):
                losses[name] = (erased * (network.decoder(features * (1 - erased)) - photo).abs()).mean()
        self.step(1, sum(getattr(weights, name) * loss for name, loss in losses.items()))
        return {f"reconstructor/{name}": loss.detach() for name, loss in losses.items()}

    def update_classifier(self, batch: Batch) -> dict[str, Tensor]:
        """CU phase."""
        network, weights = self.reconstructor, self.settings.classifier_loss
        side = network.side(batch.images)
        photo = network.photos_to_restore(batch.images)
        self.classifier.train()
        output = self.classifier(batch.images)
        network.eval()
        with torch.no_grad():
            features, _ = self.encode(batch.images)
        cam = self.target(output.cams, batch.targets, side)
        masks = scored_masks(cam, output.cams, batch.targets, weights)
        losses = {"classification": F.binary_cross_entropy_with_logits(output.logits, batch.tags)}
        for name, fed, scored in (("target", cam, masks.target), ("non_target", 1 - cam, masks.non_target)):
            if getattr(weights, name):
                losses[name] = -(scored * (network.decoder(features * fed) - photo).abs()).mean()
        self.step(0, sum(getattr(weights, name) * loss for name, loss in losses.items()))
        return {f"classifier/{name}": loss.detach() for name, loss in losses.items()}

    def target(self, cams: Tensor, targets: Tensor, side: int) -> Tensor:
        """Normalised CAM of the target class at the decoder's side."""
        chosen = normalise_cams(cams)[torch.arange(len(targets), device=cams.device), targets][:, None]
        return F.interpolate(chosen, size=(side, side), mode="bilinear", align_corners=False)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features at the decoder's side, and logits."""
        network = self.reconstructor
        features, logits = network.encode(network.depths(images))
        side = network.side(images)
        return F.interpolate(features, size=(side, side), mode="bilinear", align_corners=False), logits

    def step(self, which: int, loss: Tensor) -> None:
        """Update one network; the other one's gradients are cleared before its own update."""
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()
        self.schedules[which].step()


def draw_batch(recipe: Recipe, num_classes: int) -> Batch:
    """A batch of noise in the shapes of the recipe."""
    size, side = recipe.acr.batch_size, recipe.data.crop
    grid = recipe.acr.remnants.grid
    targets = torch.randint(num_classes, (size,))
    return Batch(
        images=F.interpolate(torch.randn(size, 3, side // 8, side // 8), size=(side, side), mode="bicubic"),
        tags=F.one_hot(targets, num_classes).float(),
        targets=targets,
        grid_draws=torch.rand(size, 1, grid, grid),
        names=tuple(str(number) for number in range(size)),
    )

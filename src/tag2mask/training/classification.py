"""Plain classification: tags only, the baseline whose CAMs the other methods are compared with."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import ClassifierOutput, PhotoClassifier
from tag2mask.training.learner import Learner


def classification_loss(output: ClassifierOutput, tags: Tensor) -> Tensor:
    """Binary cross-entropy of the tags, averaged over photos and classes; one for each set of logits, summed.

    Args:
        output: the classifier's output for B photos.
        tags: (B, C), 1 where the photo has the class.
    """
    losses = [F.binary_cross_entropy_with_logits(logits.float(), tags) for logits in output.all_logits]
    return torch.stack(losses).sum()


class Classification:
    """Multi-label classification of photos."""

    def __init__(self, classifier: Learner[PhotoClassifier]) -> None:
        self.learners = {"classifier": classifier}
        self._classifier = classifier

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Update the classifier on one batch."""
        loss = classification_loss(self._classifier(batch.images), batch.tags)
        self._classifier.step(loss)
        return {"classification": loss.detach()}

"""Plain classification: tags only, the baseline whose CAMs the other methods are compared with."""

from torch import Tensor
from torch.nn import functional as F

from tag2mask.data.batch import Batch
from tag2mask.networks.classifier import Classifier
from tag2mask.training.learner import Learner


class Classification:
    """Multi-label classification of photos."""

    def __init__(self, classifier: Learner[Classifier]) -> None:
        self.learners = {"classifier": classifier}
        self._classifier = classifier

    def training_step(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Update the classifier on one batch."""
        output = self._classifier(batch.images)
        loss = F.binary_cross_entropy_with_logits(output.logits.float(), batch.tags)
        self._classifier.step(loss)
        return {"classification": loss.detach()}

"""Time of one ACR iteration: ours against a plain transcription of the released iteration, at equal losses.

    OMP_NUM_THREADS=1 python benchmarks/acr_step.py --recipe animals_lite0

Both start from the same weights and see the same batches; they take turns, so that noise hits both.
"""

import argparse
import copy
import statistics
import time

import torch
from lightning_fabric import Fabric
from plain_acr import NUM_STEPS, PlainAcr, draw_batch

from tag2mask.config import AcrSettings
from tag2mask.networks.classifier import Classifier, build_classifier
from tag2mask.networks.reconstructor import Reconstructor, build_reconstructor
from tag2mask.recipes import load_recipe
from tag2mask.training.acr import Acr
from tag2mask.training.learner import Learner
from tag2mask.training.optim import build_optimizer, build_schedule

NUM_CLASSES = 6


def main() -> None:
    """Print processor seconds per step of both, their ratio, and the largest difference between losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="animals_lite0")
    parser.add_argument("--steps", type=int, default=16)
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
        batch = draw_batch(recipe, NUM_CLASSES)
        # Processor time: what else runs on the machine does not count.
        start = time.process_time()
        expected = plain.training_step(batch, 0)
        middle = time.process_time()
        found = method.training_step(batch, 0)
        end = time.process_time()
        # The first step warms up, and is the only one whose weights are equal to the digit.
        if step:
            seconds["plain"].append(middle - start)
            seconds["ours"].append(end - middle)
        else:
            worst = max(abs(float(expected[name] - value)) for name, value in found.items())
    plain_seconds, our_seconds = (statistics.median(seconds[name]) for name in ("plain", "ours"))
    batch_size, crop = recipe.acr.batch_size, recipe.data.crop
    print(f"recipe {arguments.recipe}, batch {batch_size}, crop {crop}, {torch.get_num_threads()} threads")
    ratio = plain_seconds / our_seconds
    print(f"plain {plain_seconds:.2f} s of processor time a step, ours {our_seconds:.2f} s: {ratio:.2f} times as fast")
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


if __name__ == "__main__":
    main()

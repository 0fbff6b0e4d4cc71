"""Throughput of a recipe on one machine: its adversarial step in several ways, loading, CAMs, a whole training.

    python benchmarks/throughput.py --classifier.weights none --photos VOC2012/JPEGImages --data.num_workers 16
    python benchmarks/throughput.py --recipe animals_lite0 --device cpu --steps 3 --rows plain channels_last

Every row begins with the same weights, takes one batch of noise in the shapes of the recipe again and again, and is
gone before the next one begins. Dropout drops nothing in all steps: its draws differ from row to row, so that losses,
those of the first step, could not be compared, and what is compiled would be compiled again for another share. Two
more steps warm up, and the median of `--steps` counts, the batch's way to the device included. Convolutions and
products round as in a run, in all rows: the second line printed says how.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from cam_inference import batched, draw_photos, one_by_one
from clocks import clock
from PIL import Image
from plain_acr import draw_batch
from step_parts import StepParts
from step_ways import NUM_PHOTOS, WAYS, Adversaries, begin

from tag2mask.cams.multiscale import inference_sizes
from tag2mask.config import Recipe
from tag2mask.data.batch import Batch, collate
from tag2mask.data.datasets import TrainingPhotos
from tag2mask.data.loading import raise_faults
from tag2mask.data.records import Record
from tag2mask.data.transforms import FlipAugmentation
from tag2mask.engine import launch
from tag2mask.recipes import load_recipe
from tag2mask.training.classifiers import new_classifier
from tag2mask.training.training import Training, build_loader

# Epochs of the paper's training.
NUM_EPOCHS = 40
NUM_WARM_UP = 2
NUM_LOADED_BATCHES = 40
# Width and height of most of VOC's photos.
PHOTO_SIZE = (500, 375)


class Row(NamedTuple):
    """What was measured for one way of taking the step."""

    seconds: float
    first_seconds: float
    peak_bytes: int | None
    first_losses: dict[str, float]


def measure(adversaries: Adversaries, batch: Batch, num_steps: int) -> Row:
    """Losses of the first step, then seconds and memory of the steps after it."""
    device, seconds = adversaries.device, []
    start = clock(device)
    losses = adversaries.method.training_step(batch.to(device), 0)
    first_losses = {name: float(loss) for name, loss in losses.items()}
    first_seconds = clock(device) - start
    for number in range(NUM_WARM_UP + num_steps):
        if number == NUM_WARM_UP and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        start = clock(device)
        adversaries.method.training_step(batch.to(device), 0)
        seconds.append(clock(device) - start)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return Row(statistics.median(seconds[NUM_WARM_UP:]), first_seconds, peak, first_losses)


def forget() -> None:
    """Give back what an earlier row took, its compiled code too; its networks must be out of reach."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def measure_rows(
    names: Sequence[str], recipe: Recipe, num_classes: int, *, batch: Batch, num_steps: int
) -> dict[str, Row]:
    """Measure and print one row after the other, those that fail with the reason."""
    rows: dict[str, Row] = {}
    print(f"{'row':<15}{'s a step':>10}{'photos/s':>10}{'to plain':>10}{'peak GiB':>10}{'loss diff':>11}{'first s':>9}")
    for name in names:
        try:
            row = rows[name] = measure(begin(name, recipe, num_classes), batch, num_steps)
        except (ValueError, RuntimeError) as error:
            reason = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            print(f"{name:<15}not measured: {reason}", flush=True)
        # After the error, which holds all that the row took, is gone.
        forget()
        if name not in rows:
            continue
        ratio, worst = "-", "-"
        if plain := rows.get("plain"):
            ratio = f"{plain.seconds / row.seconds:.2f}x"
            worst = f"{max(abs(row.first_losses[key] - loss) for key, loss in plain.first_losses.items()):.1e}"
        peak = "-" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.1f}"
        rate = recipe.acr.batch_size / row.seconds
        print(
            f"{name:<15}{row.seconds:>10.4f}{rate:>10.1f}{ratio:>10}{peak:>10}{worst:>11}{row.first_seconds:>9.1f}"
            f"  {WAYS[name].words}",
            flush=True,
        )
    return rows


def print_parts(name: str, recipe: Recipe, num_classes: int, *, batch: Batch, num_steps: int) -> None:
    """Print where the time of a step goes."""
    adversaries = begin(name, recipe, num_classes)
    for _ in range(NUM_WARM_UP):
        adversaries.method.training_step(batch.to(adversaries.device), 0)
    parts = StepParts(adversaries.classifier, adversaries.reconstructor, adversaries.device)
    for _ in range(num_steps):
        moved = batch.to(adversaries.device)
        parts.end("transfer")
        adversaries.method.training_step(moved, 0)
        parts.end("rest")
    total = sum(parts.seconds.values())
    shares = sorted(((seconds / total, part) for part, seconds in parts.seconds.items()), reverse=True)
    words = ", ".join(f"{part} {share:.1%}" for share, part in shares)
    print(f"where {total / num_steps:.3f} s of a step of row {name} go, each part waited for: {words}")
    print("encoder: of the reconstructor; rest: features resized, cut and joined, masks, losses")


def loading_rate(recipe: Recipe, folder: Path, num_classes: int) -> float:
    """Photos per second from the training's loader when nothing else works and the files are in memory already."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    records = [Record(path.stem, path, (1,)) for path in paths[: NUM_LOADED_BATCHES * recipe.acr.batch_size]]
    training = Training(launch(recipe.engine), recipe, records, num_classes, Path())
    augmentation = FlipAugmentation(recipe.data, new_classifier(training, "classifier").backbone.normalisation)
    grid, seed = recipe.acr.remnants.grid, recipe.engine.seed
    photos = TrainingPhotos(records, num_classes, augmentation, grid=grid, seed=seed)
    loader = build_loader(training, photos, recipe.acr.batch_size, collate)
    # The first pass starts the processes and brings the files into memory.
    for _ in range(2):
        start = time.perf_counter()
        num_photos = sum(len(batch.names) for batch in raise_faults(loader))
        seconds = time.perf_counter() - start
    return num_photos / seconds


def print_cams(recipe: Recipe, num_photos: int, num_classes: int) -> None:
    """CAM inference at all scales with mirror images: photos per second, batched against one by one."""
    photos = draw_photos(num_photos, PHOTO_SIZE)
    rates: list[float] = []
    for words, infer, engine in (
        ("one by one, fp32", one_by_one, recipe.engine),
        ("batched, fp32, channels_last", batched, recipe.engine),
        ("batched, bf16, channels_last", batched, replace(recipe.engine, precision="bf16-mixed")),
    ):
        training = Training(launch(engine), recipe, [], num_classes, Path())
        classifier = new_classifier(training, "classifier").eval()
        training.fabric.to_device(classifier)
        if infer is batched:
            classifier.to(memory_format=torch.channels_last)
        with training.fabric.autocast():
            infer(classifier, photos, recipe.cams)
            start = time.perf_counter()
            # The maps come back to the processor, so there is nothing left to wait for.
            infer(classifier, photos, recipe.cams)
        rates.append(num_photos / (time.perf_counter() - start))
        print(f"CAMs {words}: {rates[-1]:.2f} photos/s, {rates[-1] / rates[0]:.2f}x", flush=True)
    start = time.perf_counter()
    for photo in photos:
        for size in inference_sizes(photo.size, recipe.cams):
            photo.resize(size, Image.Resampling.BICUBIC)
    print(f"of which resizing on the processor alone: {num_photos / (time.perf_counter() - start):.2f} photos/s")


def print_limit(rows: dict[str, Row], batch_size: int, loaded: float | None) -> None:
    """Print how long a whole training would take by the fastest row, and whether photos are loaded fast enough."""
    fastest = min(rows, key=lambda name: rows[name].seconds)
    trained = batch_size / rows[fastest].seconds
    num_photos = NUM_EPOCHS * (NUM_PHOTOS // batch_size) * batch_size
    print(f"{NUM_EPOCHS} epochs of {NUM_PHOTOS:,} photos by row {fastest}: {num_photos / trained / 3600:.2f} hours")
    if loaded is None:
        return
    if loaded >= trained:
        print(f"loading gives {loaded:.1f} photos/s, row {fastest} takes {trained:.1f}: the step is the limit")
        return
    hours = num_photos / loaded / 3600
    print(f"loading gives {loaded:.1f} photos/s, row {fastest} could take {trained:.1f}: loading is the limit")
    print(f"with it {hours:.2f} hours; more --data.num_workers help while there are cores")


def print_machine(name: str, recipe: Recipe, device: torch.device) -> None:
    """Print what is timed, on which machine, and how products are rounded."""
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    shapes = f"batch {recipe.acr.batch_size}, crop {recipe.data.crop}"
    print(f"{name} on {machine}: {shapes}, torch {torch.__version__}")
    print(
        f"tf32 in convolutions {torch.backends.cudnn.allow_tf32}, in products {torch.backends.cuda.matmul.allow_tf32}, "
        f"cudnn.benchmark {torch.backends.cudnn.benchmark}"
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", default="voc12_resnet38", help="other flags change its settings, as of a command")
    parser.add_argument("--rows", nargs="+", choices=WAYS, default=list(WAYS), help="put plain first")
    parser.add_argument("--steps", type=int, default=20, help="that count, of each row")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--photos", type=Path, help="folder of photos for the loader; none: it is not measured")
    parser.add_argument("--cam-photos", type=int, default=8, help="of CAM inference; 0: it is not measured")
    arguments, flags = parser.parse_known_args()
    recipe = load_recipe(arguments.recipe, flags)
    engine = replace(
        recipe.engine, accelerator=arguments.device, devices=1, num_nodes=1, precision="32-true", compile=False
    )
    recipe = replace(recipe, engine=engine)
    device = launch(engine).device
    print_machine(arguments.recipe, recipe, device)
    torch.manual_seed(0)
    batch = draw_batch(recipe, arguments.classes)
    if device.type == "cuda":
        # As a loader gives it.
        batch = batch.pin_memory()
    rows = measure_rows(arguments.rows, recipe, arguments.classes, batch=batch, num_steps=arguments.steps)
    if not rows:
        parser.exit(1, "no row could be measured\n")
    loaded = arguments.photos and loading_rate(recipe, arguments.photos, arguments.classes)
    print_limit(rows, recipe.acr.batch_size, loaded)
    if arguments.cam_photos:
        print_cams(recipe, arguments.cam_photos, arguments.classes)
    eager = [name for name in rows if name != "plain" and not WAYS[name].compile]
    if eager:
        fastest = min(eager, key=lambda name: rows[name].seconds)
        print_parts(fastest, recipe, arguments.classes, batch=batch, num_steps=arguments.steps)


if __name__ == "__main__":
    main()

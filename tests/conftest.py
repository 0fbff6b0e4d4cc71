"""Fixtures: photos and values of the authors' code that lie outside the repository, and a run on drawn photos."""

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

# Tests without networks start without torch.
if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from tag2mask.networks.deeplab import DeepLab
    from tag2mask.segmenter import Segmenter

# What the tests compile is small: starting processes for it takes longer than compiling it.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY_RECIPE = """
methods: [baseline, pretrained, acr]
refined_methods: []
data: {{root: {root}, resize_range: [36, 44], crop: 32, num_workers: 0}}
classifier:
  {{backbone: test_resnet, output_stride: 8, epochs: 3, batch_size: 4, optimizer: {{learning_rate: 0.02}}}}
acr:
  epochs: 2
  batch_size: 4
  warm_start: true
  reconstructor_epochs: 1
  remnants: {{grid: 4}}
  reconstructor: {{features: [1, 2, -1], feature_channels: [4, 4, 8], width: 4, depth: 4, dropout: 0}}
  # Masks without a threshold, so that rounding cannot flip a pixel.
  classifier_loss: {{target_mask: soft, non_target_mask: soft, mask_gradient: true}}
cams: {{scales: [1.0, 1.5], batch_pixels: 1}}
segmenter: {{supervision: []}}
engine: {{accelerator: cpu}}
"""

# From the seeds of one method to segmenters and predictions.
WHOLE_RECIPE = """
extends: {tiny}
methods: [acr]
refined_methods: [acr]
data: {{val_split: train}}
refinement:
  {{backbone: test_resnet, weights: none, output_stride: 8, crop: 32, epochs: 1, batch_size: 4, radius: 3,
   walk_radius: 3, log_steps: 3}}
segmenter:
  {{supervision: [pseudo_labels, masks], backbone: test_resnet, output_stride: 8, crop: 32, epochs: 1, batch_size: 4,
   scales: [1.0]}}
engine: {{workers: 1}}
"""


class Outcome(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets no file take a byte that is to be written, the first `but` ones aside."""
    full, touch = Path("/dev/full"), Path.touch
    if not full.exists():
        pytest.skip("needs the full disk that Linux has for tests")

    def fill(*, but: int = 0) -> None:
        begin = iter([touch] * but)
        monkeypatch.setattr(Path, "touch", lambda path: next(begin, lambda path: path.symlink_to(full))(path))

    return fill


@pytest.fixture(scope="session")
def animals() -> Path:
    """Folder of the animals of PASCAL VOC 2012; set TAG2MASK_ANIMALS to use another place."""
    return _folder_or_skip("TAG2MASK_ANIMALS", SHARED / "data" / "voc12-animals")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of reference values of the released code; set TAG2MASK_GOLDEN to use another place."""
    return _folder_or_skip("TAG2MASK_GOLDEN", SHARED / "golden")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set of 13 photos with red discs and blue squares, their tags and label maps; the last shows neither."""
    root = tmp_path_factory.mktemp("shapes")
    tags = [("disc",), ("square",), ("disc", "square")] * 4 + [()]
    rows = [f"{index:02}.png,{';'.join(photo)}" for index, photo in enumerate(tags)]
    (root / "tags.csv").write_text("\n".join(["image,tags", *rows]) + "\n")
    (root / "masks").mkdir()
    generator = np.random.default_rng(0)
    for index, photo in enumerate(tags):
        _draw_shapes(root, f"{index:02}.png", photo, generator)
    return root


@pytest.fixture(scope="session")
def tiny_recipe(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe of every method on the shapes, with networks so small that it runs in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY_RECIPE.format(root=shapes))
    return path


@pytest.fixture(scope="session")
def whole_recipe(tiny_recipe: Path) -> Path:
    """Recipe of all stages on the shapes, with the same small networks."""
    path = tiny_recipe.with_name("whole.yaml")
    path.write_text(WHOLE_RECIPE.format(tiny=tiny_recipe))
    return path


@pytest.fixture(scope="session")
def tag2mask() -> Command:
    """Runs a command in this process, on one thread as commands of their own in these tests."""
    return _command


@pytest.fixture(scope="session")
def finished_run(tag2mask: Command, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of the tiny recipe, finished; copy it before you change it."""
    return _finish(tag2mask, tiny_recipe, tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture(scope="session")
def whole_run(tag2mask: Command, whole_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of all stages, finished; copy it before you change it."""
    return _finish(tag2mask, whole_recipe, tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of several small networks spend their time waiting for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fabric() -> "Fabric":
    """One process on the processor."""
    from lightning_fabric import Fabric

    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="session")
def gpu_fabric() -> "Fabric":
    """One process that takes its device for a GPU and leaves networks on the processor."""
    import torch
    from lightning_fabric import Fabric

    class OnGpu(Fabric):
        @property
        def device(self) -> torch.device:
            return torch.device("cuda")

        def to_device(self, obj: Any) -> Any:
            return obj

    return OnGpu(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def drawn_network() -> "DeepLab":
    """Network of `drawn_segmenter`."""
    from drawn_segmenter import draw_network

    return draw_network()


@pytest.fixture(scope="module")
def segmenter(drawn_network: "DeepLab") -> "Segmenter":
    """Segmenter of the drawn network."""
    from drawn_segmenter import NAMES, SETTINGS

    from tag2mask.segmenter import Segmenter

    return Segmenter(drawn_network, SETTINGS, NAMES)


@pytest.fixture
def photo_folder(shapes: Path, tmp_path: Path) -> Path:
    """Folder of the photos of `drawn_segmenter`."""
    from drawn_segmenter import write_photos

    root = tmp_path / "photos"
    write_photos(shapes, root)
    return root


def _folder_or_skip(variable: str, usual: Path) -> Path:
    folder = Path(os.environ.get(variable, usual))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set {variable} to its place")
    return folder


def _draw_shapes(root: Path, name: str, tags: tuple[str, ...], generator: np.random.Generator) -> None:
    height, width = (36, 48) if "disc" in tags else (44, 40)
    pixels = generator.integers(60, 120, (height, width, 3), dtype=np.uint8)
    label_map = np.zeros((height, width), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    for tag in tags:
        y, x = generator.integers(9, height - 9), generator.integers(9, width - 9)
        far = np.hypot(rows - y, columns - x) if tag == "disc" else np.maximum(abs(rows - y), abs(columns - x))
        pixels[far < 8] = (220, 40, 40) if tag == "disc" else (40, 60, 230)
        label_map[far < 8] = 1 if tag == "disc" else 2
    Image.fromarray(pixels).save(root / name)
    Image.fromarray(label_map).save(root / "masks" / name)


def _finish(tag2mask: Command, recipe: Path, folder: Path) -> Path:
    outcome = tag2mask("run", recipe, "--run", folder)
    assert outcome.status == 0, outcome.err
    return folder


def _command(*arguments: object) -> Outcome:
    from tag2mask.cli import main

    out, err = io.StringIO(), io.StringIO()
    with _settings_of_the_process_kept(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return Outcome(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _settings_of_the_process_kept() -> Iterator[None]:
    import torch

    logger, num_threads = logging.getLogger(), torch.get_num_threads()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
        torch.set_flush_denormal(False)
        logger.handlers[:] = handlers
        logger.setLevel(level)

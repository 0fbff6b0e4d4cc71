"""A trained segmenter: its model folder, and how it labels a photo."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tag2mask import __version__
from tag2mask.config import PREDICTION_SETTINGS, TWIN, SegmenterSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.photos import open_photo, to_upright_rgb
from tag2mask.data.result_folders import MODEL_FILE
from tag2mask.data.sizes import reduce_photo, scaled_size
from tag2mask.data.transforms import Normalisation, normalise
from tag2mask.dotted_names import leaves
from tag2mask.files import replacing
from tag2mask.model_card import write_model_card
from tag2mask.networks.backbones.weights import load_strictly, read_weights, write_weights
from tag2mask.networks.deeplab import DeepLab, build_deeplab
from tag2mask.networks.grids import resize
from tag2mask.prediction import Prediction, ScoredPrediction
from tag2mask.recipes import recipe_of

WEIGHTS = "model.safetensors"
"""File of a model folder, beside its settings and its card."""
Photo = Path | str | Image.Image | NDArray[np.uint8]
"""What a segmenter takes for a photo."""

# What a segmenter needs to know once it is trained.
_KEPT_SETTINGS = ("head", "backbone", "output_stride", *PREDICTION_SETTINGS)


class Segmenter:
    """A network with all that it needs to label photos.

    Args:
        network: the trained network.
        settings: settings of the network and of its predictions.
        class_names: in the order of their ids, which begin at 1.
    """

    def __init__(self, network: DeepLab, settings: SegmenterSettings, class_names: Sequence[str]) -> None:
        self.network = network.eval().to(memory_format=torch.channels_last)
        self.settings = settings
        self.class_names = tuple(class_names)

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> "Segmenter":
        """The segmenter that `save` kept; it needs no other file and no internet.

        Args:
            folder: as of `model_folder`.
            device: where its network is put.

        Raises:
            ValueError: there is no model folder, a setting has no value that it may have, or the weights are not
                those of its network or not all finite.
        """
        folder = model_folder(Path(folder))
        path = folder / MODEL_FILE
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            kept = {name: config["segmenter"][name] for name in _KEPT_SETTINGS}
            class_names, mean, std = (tuple(config[name]) for name in ("class_names", "mean", "std"))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: found {error!r}, expected what a training wrote; copy the folder anew"
            ) from error
        # Users edit it.
        settings = recipe_of({"segmenter": kept}, str(path)).segmenter
        network = build_deeplab(settings, len(class_names))
        network.backbone.normalisation = Normalisation(mean, std)
        weights = read_weights(folder / WEIGHTS)
        for name, tensor in weights.items():
            # Every pixel would be background, without a word.
            if not tensor.isfinite().all():
                raise ValueError(f"{folder / WEIGHTS}: found {name} with nan or inf, expected finite numbers")
        load_strictly(network, weights, source=str(folder / WEIGHTS))
        return cls(network.to(device), settings, class_names)

    def save(self, folder: Path | str) -> None:
        """Keep everything in a folder that can be copied anywhere.

        Args:
            folder: for settings, weights and model card.
        """
        folder = Path(folder)
        write_weights(folder / WEIGHTS, self.network)
        write_model_card(folder, self.settings, self.class_names, facts={})
        settings = asdict(self.settings)
        config = {
            "version": __version__,
            "segmenter": {name: settings[name] for name in _KEPT_SETTINGS},
            "class_names": self.class_names,
            "palette": voc_palette()[: len(self.class_names) + 1],
            **asdict(self.network.backbone.normalisation),
        }
        _write_config(folder, config)

    def predict(self, image: Photo) -> Prediction:
        """Label every pixel of a photo.

        One that is larger than the settings' `long_side` is brought down to it first, its labels come at its own size.

        Args:
            image: path of a file, Pillow image of any kind, or (H, W, 3) uint8 array, RGB and upright.

        Raises:
            FileError: the photo cannot be used.
            OverflowError: it is too long for the settings' CRF.
            TypeError: that is no photo.
        """
        photo = _opened(image)
        label_map = _highest_label(self._scores(photo), photo.size).cpu().numpy()
        return Prediction(photo, label_map, self.class_names)

    def predict_with_scores(self, image: Photo) -> ScoredPrediction:
        """`predict`, with the scores of every label too: 4 (C + 1) bytes per pixel, 1 GB for 12 megapixels and VOC.

        Args:
            image: as for `predict`.

        Raises:
            FileError: the photo cannot be used.
            OverflowError: it is too long for the settings' CRF.
            TypeError: that is no photo.
        """
        photo = _opened(image)
        scores = self._scores(photo)
        label_map = _highest_label(scores, photo.size).cpu().numpy()
        enlarged = np.empty((len(scores), *label_map.shape), np.float32)
        for label, score in enumerate(scores):
            enlarged[label] = _enlarged(score, label_map.shape).cpu().numpy()
        return ScoredPrediction(photo, label_map, self.class_names, enlarged)

    def _scores(self, photo: Image.Image) -> Tensor:
        """Scores (C + 1, h, w) of the photo after it was brought down to `long_side`."""
        return predict_scores(self.network, reduce_photo(photo, self.settings.long_side), self.settings)


def model_folder(path: Path) -> Path:
    """The model folder itself, or that in a run folder; the fully supervised segmenter's only if there is no other.

    Raises:
        ValueError: there is no model folder, or the run has several.
    """
    if (path / MODEL_FILE).is_file():
        return path
    folders = sorted(config.parent for config in path.glob(f"5-segmenter/*/{MODEL_FILE}"))
    match [folder for folder in folders if folder.name != TWIN] or folders:
        case [folder]:
            return folder
        case []:
            raise ValueError(
                f"{path}: found no {MODEL_FILE}, expected a run with a segmenter, or a model folder such as its "
                "5-segmenter/acr"
            )
        case found:
            names = " or ".join(str(folder) for folder in found)
            raise ValueError(f"{path}: found {len(found)} segmenters, expected one: choose {names}")


@torch.inference_mode()
def predict_scores(network: DeepLab, photo: Image.Image, settings: SegmenterSettings) -> Tensor:
    """Scores of every label, joined over several sizes of the photo and its mirror images.

    Args:
        network: in evaluation mode.
        photo: RGB of H rows and W columns.
        settings: scales, how they are joined, and CRF; the caller has to see to `long_side`.

    Returns:
        (C + 1, H, W) in [0, 1]; joined by the highest, they do not sum to 1.
    """
    device = next(network.parameters()).device
    join = torch.maximum if settings.fuse == "max" else torch.add
    joined: Tensor | None = None
    for scale in settings.scales:
        resized = photo.resize(scaled_size(photo.size, scale), Image.Resampling.BICUBIC)
        image = normalise(resized, network.backbone.normalisation).to(device)
        logits = network(torch.stack([image, image.flip(2)])).float()
        logits = resize(logits, (photo.height, photo.width))
        plain, mirrored = logits.softmax(1)
        both = join(plain, mirrored.flip(2))
        joined = both if joined is None else join(joined, both)
    assert joined is not None
    if settings.fuse == "mean":
        joined /= 2 * len(settings.scales)
    return joined if settings.crf == "none" else _with_crf(joined, photo, settings)


def renew_settings(folder: Path, settings: SegmenterSettings) -> None:
    """Let the segmenter of a model folder predict with these scales, size and CRF, which need no new training."""
    path = folder / MODEL_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    wanted = config["segmenter"] | leaves({name: getattr(settings, name) for name in PREDICTION_SETTINGS})
    if wanted != config["segmenter"]:
        _write_config(folder, config | {"segmenter": wanted})


def _opened(image: Photo) -> Image.Image:
    """The photo, upright and RGB."""
    found = type(image).__name__
    match image:
        case Path() | str():
            return open_photo(Path(image))
        case Image.Image():
            if all(image.size):
                return to_upright_rgb(image, Path("image"))
            found = f"Pillow image of {image.width}x{image.height} pixels"
        case np.ndarray():
            if image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size:
                return Image.fromarray(image)
            found = f"{image.dtype} array of shape {image.shape}"
    raise TypeError(
        f"image: found {found}, expected the path of a photo, a Pillow image or a uint8 array of shape (H, W, 3), RGB"
    )


def _highest_label(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Label of the highest score (h, w) at every pixel of a photo of this size (width, height): (H, W) uint8.

    Scores are interpolated one label after the other: all of them at a camera's size fill the memory.
    """
    shape = size[::-1]
    if scores.shape[1:] == shape:
        return scores.argmax(0).to(torch.uint8)
    highest = scores.new_full(shape, -torch.inf)
    labels = torch.zeros(shape, dtype=torch.uint8, device=scores.device)
    for label, score in enumerate(scores):
        enlarged = _enlarged(score, shape)
        labels[enlarged > highest] = label
        torch.maximum(highest, enlarged, out=highest)
    return labels


def _enlarged(score: Tensor, shape: tuple[int, int]) -> Tensor:
    """Score (h, w) of a label at every pixel of a photo of H rows and W columns: (H, W)."""
    return resize(score[None, None], shape)[0, 0]


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    with replacing(folder / MODEL_FILE) as path:
        path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_crf(scores: Tensor, photo: Image.Image, settings: SegmenterSettings) -> Tensor:
    """Scores (C + 1, H, W) after a dense CRF among the labels that win a pixel somewhere; 0 for the others."""
    # Here, for numba takes a second to import, which most predictions can do without.
    from tag2mask.refinement.crf import LOWEST_SCORE, PRESETS, DenseCrf

    assert settings.crf != "none"
    labels = torch.unique(scores.argmax(0))
    unary = -scores[labels].clamp(min=LOWEST_SCORE).log().cpu().numpy()
    sharpened = DenseCrf(np.array(photo), PRESETS[settings.crf]).infer(unary)
    result = torch.zeros_like(scores)
    result[labels] = torch.from_numpy(sharpened).to(scores)
    return result

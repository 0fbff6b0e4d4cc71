"""A segmenter that was never trained, and photos for it."""

import shutil
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from tag2mask.config import SegmenterSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.transforms import Normalisation
from tag2mask.networks.deeplab import DeepLab, build_deeplab

SETTINGS = SegmenterSettings(backbone="test_resnet", head="deeplab_v2", output_stride=8, scales=(0.5, 1.0, 1.5))
NAMES = ("disc", "square")


def draw_network() -> DeepLab:
    """Drawn at random, with scores far enough apart that rounding decides nothing."""
    torch.manual_seed(2)
    network = build_deeplab(SETTINGS, len(NAMES))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d) and module.out_channels == 3:
            nn.init.normal_(module.weight, std=0.5)
    network.backbone.normalisation = Normalisation((0.4, 0.5, 0.6), (0.3, 0.2, 0.25))
    return network


def write_photos(shapes: Path, root: Path) -> None:
    """Three photos: one stands on its side and says so in its EXIF, one lies in a subfolder, and a broken one."""
    (root / "more").mkdir(parents=True)
    exif = Image.Exif()
    # Turned by a quarter.
    exif[274] = 6
    open_photo(shapes / "00.png").save(root / "turned.jpg", exif=exif)
    shutil.copy(shapes / "01.png", root / "more" / "turned.png")
    (root / "broken.jpg").write_bytes((root / "turned.jpg").read_bytes()[:300])

"""Draws the data set of `tag2mask demo`: toy animals, made so that class activation maps show their two faults.

Every animal has the same plain body, and only the pattern of its small head tells which one it is: maps that look for
what tells the classes apart leave the body out. Each class has a texture of the ground that it stands on mostly: maps
take that in. Head and body of an animal share a colour that nothing else has, and the background has a colour of its
own all over: who sees a part of either can tell the rest of it, and nothing of the other.
"""

import colorsys
import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tag2mask.data.classes import BACKGROUND, voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.photos import FileError
from tag2mask.files import replacing

Floats = NDArray[np.float64]
Region = NDArray[np.bool_]

CLASS_NAMES = ("giraffe", "lemur", "zebra")
NUM_PHOTOS = {"train": 240, "val": 60}
"""Photos of each split."""
SIZES = ((128, 96), (96, 128), (112, 112))
"""Width and height of the photos in pixels."""
SHARE_WITHOUT_ANIMAL = 0.05
"""Share of the photos that show no animal."""
SHARE_WITH_TWO = 0.2
"""Share of the photos that show two animals, of different classes."""
SHARE_ON_OWN_GROUND = 0.85
"""Share of the animals that are alone in their photo that stand on the ground of their class."""

# Edges are smooth because each pixel is drawn in so many parts per side.
_FINE = 2


class Content(NamedTuple):
    """What a photo shows."""

    tags: tuple[int, ...]
    """Class ids of its animals, from left to right."""
    ground: int
    """Class id that the texture of its ground goes with."""


class Scene(NamedTuple):
    """A drawn photo and the truth about it."""

    photo: NDArray[np.uint8]
    """RGB (H, W, 3)."""
    label_map: NDArray[np.uint8]
    """Class ids (H, W), 0 = background."""
    heads: Region
    """Pixels (H, W) of the parts that tell the class."""


def draw_scenes(root: Path, *, seed: int) -> None:
    """Draw the data set into `root`: `images/`, `masks/` and `tags.csv`.

    Files that hold what they should are left untouched, so that a second call completes the set or changes nothing.
    """
    rows = [("image", "tags", "split")]
    for number, (split, num_photos) in enumerate(NUM_PHOTOS.items()):
        for index, content in enumerate(plan_contents(num_photos, np.random.default_rng([seed, number]))):
            name = f"{split}_{index:03d}"
            scene = draw_scene(content, np.random.default_rng([seed, number, index]))
            _write(root / "images" / f"{name}.jpg", _as_jpeg(scene.photo))
            _write_label_map(root / "masks" / f"{name}.png", scene.label_map)
            rows.append((f"{name}.jpg", ";".join(CLASS_NAMES[tag - 1] for tag in sorted(content.tags)), split))
    _write(root / "tags.csv", _as_csv(rows))


def plan_contents(num_photos: int, generator: np.random.Generator) -> list[Content]:
    """What each photo of a split shows, in random order: as many photos of each ground and of each kind as can be."""
    class_ids = range(1, len(CLASS_NAMES) + 1)
    kinds = (np.arange(num_photos) // len(class_ids) + 0.5) / np.ceil(num_photos / len(class_ids))
    contents = []
    for index, kind in enumerate(kinds):
        ground = class_ids[index % len(class_ids)]
        other = int(generator.choice([class_id for class_id in class_ids if class_id != ground]))
        alone = (kind - SHARE_WITHOUT_ANIMAL - SHARE_WITH_TWO) / (1 - SHARE_WITHOUT_ANIMAL - SHARE_WITH_TWO)
        if kind < SHARE_WITHOUT_ANIMAL:
            tags: tuple[int, ...] = ()
        elif alone < 0:
            tags = (ground, other) if generator.random() < 0.5 else (other, ground)
        else:
            tags = (ground,) if alone < SHARE_ON_OWN_GROUND else (other,)
        contents.append(Content(tags, ground))
    return [contents[index] for index in generator.permutation(num_photos)]


def draw_scene(content: Content, generator: np.random.Generator) -> Scene:
    """Draw one photo with its truth."""
    width, height = SIZES[generator.integers(len(SIZES))]
    grid = _Grid(width, height)
    hue = generator.random()
    colours = _draw_background(grid, content.ground, hue, generator)
    ids = np.full(grid.x.shape, BACKGROUND, np.uint8)
    heads = np.zeros(grid.x.shape, bool)
    for class_id, place in zip(content.tags, _places(grid, len(content.tags), generator), strict=True):
        animal = _draw_animal(grid, place, class_id, hue, generator)
        colours[animal.shape] = animal.light[animal.shape, None] * animal.colour
        ids[animal.shape] = class_id
        heads[animal.shape] = animal.head[animal.shape]
    photo = _parts(colours, grid).mean(axis=2) + generator.normal(scale=0.012, size=(height, width, 3))
    # The second largest of a pixel's four ids: an animal's where it covers at least half of the pixel.
    label_map = np.sort(_parts(ids, grid), axis=2)[:, :, _FINE**2 // 2]
    head_map = _parts(heads, grid).mean(axis=2) >= 0.5
    return Scene((photo.clip(0, 1) * 255).round().astype(np.uint8), label_map, head_map & (label_map > BACKGROUND))


class _Place(NamedTuple):
    """Where an animal stands."""

    x: float
    y: float
    scale: float
    """Half the length of its body in pixels."""
    facing: int
    """1 to the right, -1 to the left."""
    tilt: float
    """In radians."""


class _Animal(NamedTuple):
    """An animal on the fine grid."""

    colour: Floats
    light: Floats
    """What its colour is multiplied with, at every point."""
    shape: Region
    head: Region


class _Grid:
    """The fine grid that a photo is drawn on; `x` and `y` are its points, in pixels of the photo."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        down, right = ((np.arange(_FINE * side) + 0.5) / _FINE for side in (height, width))
        self.y, self.x = np.meshgrid(down, right, indexing="ij")

    def noise(self, spacing: float, generator: np.random.Generator) -> Floats:
        """Smooth noise of mean 0 with hills about `spacing` pixels apart, mostly between -2 and 2."""
        coarse = generator.normal(size=(round(self.height / spacing) + 2, round(self.width / spacing) + 2))
        fine = Image.fromarray(coarse.astype(np.float32)).resize(self.x.shape[::-1], Image.Resampling.BICUBIC)
        return np.asarray(fine, np.float64)

    def seen_from(self, place: _Place) -> tuple[Floats, Floats]:
        """The points as the animal has them: forward and up, its body from -1 to 1."""
        forward, up = place.facing * (self.x - place.x), place.y - self.y
        return _turned(forward / place.scale, up / place.scale, place.tilt)


def _places(grid: _Grid, num_animals: int, generator: np.random.Generator) -> list[_Place]:
    """Places side by side that keep the animals in the picture."""
    places = []
    for index in range(num_animals):
        room = grid.width / num_animals
        scale = generator.uniform(0.85, 1) * min(0.33 * grid.height, room / 2.85)
        x = room * index + generator.uniform(1.4 * scale, room - 1.4 * scale)
        y = generator.uniform(1.1 * scale, grid.height - 1.2 * scale)
        places.append(_Place(x, y, scale, int(generator.choice([-1, 1])), generator.uniform(-0.2, 0.2)))
    return places


def _draw_background(grid: _Grid, ground: int, hue: float, generator: np.random.Generator) -> Floats:
    """Sky above the ground of a class, in shades of one colour."""
    saturation, value = generator.uniform(0.1, 0.6), generator.uniform(0.25, 0.9)
    dark, light, sky = (
        _rgb(hue, factor * saturation, brightness * value)
        for factor, brightness in ((1.0, 0.8), (0.8, 1.15), (0.6, 1.1))
    )
    texture = _ground_texture(grid, ground, generator)
    horizon = grid.height * generator.uniform(0.25, 0.5) + 3 * grid.noise(30, generator)
    below = (grid.y - horizon + 0.5).clip(0, 1)
    clouds = 1 + 0.08 * grid.noise(20, generator)
    grain = 1 + 0.04 * grid.noise(3, generator)
    shares = np.stack([below * (1 - texture), below * texture, (1 - below) * clouds], axis=2)
    return (shares * grain[..., None]) @ np.stack([dark, light, sky])


def _ground_texture(grid: _Grid, ground: int, generator: np.random.Generator) -> Floats:
    """The texture that goes with a class, 0 to 1."""
    period = generator.uniform(7, 10)
    x, y, bend = grid.x / period, grid.y / period, 0.3 * grid.noise(24, generator)
    match CLASS_NAMES[ground - 1]:
        case "giraffe":  # dunes
            wave = _wave(y + 0.25 * np.sin(np.pi * x) + bend)
        case "lemur":  # leaves
            row = np.floor(y)
            wave = (3 - 7 * np.hypot((x + 0.5 * row + 0.5 * bend) % 1 - 0.5, y - row - 0.5)).clip(0, 1)
        case "zebra":  # grass
            wave = _wave(1.1 * x + 0.15 * np.sin(2 * y) + bend) ** 2
    return wave


def _draw_animal(
    grid: _Grid, place: _Place, class_id: int, ground_hue: float, generator: np.random.Generator
) -> _Animal:
    """An animal of any colour but the ground's."""
    forward, up = grid.seen_from(place)
    colour = _rgb(ground_hue + generator.uniform(0.1, 0.9), generator.uniform(0.6, 0.95), generator.uniform(0.6, 0.95))
    body = _ellipse(forward, up, (1, generator.uniform(0.5, 0.65)))
    tail = _ellipse(*_turned(forward + 1, up - 0.35, 0.6), (0.45, 0.13))
    legs = _ellipse(np.abs(forward + 0.03) - 0.47, up + 0.7, (0.17, 0.42))
    # In radii of the head, from its middle.
    across, above = (forward - 0.9) / 0.46, (up - 0.5) / 0.46
    head = _ellipse(across, above, (1, 1))
    light = 0.85 + 0.25 * up.clip(-1, 1) + 0.04 * grid.noise(8, generator)
    light[head] = np.where(_is_dark(class_id, across[head], above[head]), 0.15, 1.05)
    return _Animal(colour, light, body | tail | legs | head, head)


def _is_dark(class_id: int, across: Floats, above: Floats) -> Region:
    """The pattern of a class's head."""
    match CLASS_NAMES[class_id - 1]:
        case "giraffe":  # patches
            wave = np.sin(7 * across) * np.sin(7 * above)
        case "lemur":  # rings around two eyes
            wave = -np.cos(4 * np.pi * np.hypot(np.abs(across) - 0.42, above - 0.1))
        case "zebra":  # stripes
            wave = np.sin(11.4 * (across + 0.6 * above))
    return wave < 0


def _turned(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    """Points turned by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos - y * sin, x * sin + y * cos


def _ellipse(x: Floats, y: Floats, radii: tuple[float, float]) -> Region:
    return (x / radii[0]) ** 2 + (y / radii[1]) ** 2 < 1


def _wave(x: Floats) -> Floats:
    """0 to 1 and back with each 1 of x."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * x)


def _rgb(hue: float, saturation: float, value: float) -> Floats:
    """Red, green and blue; 1 of hue is once around."""
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def _parts(fine: NDArray[Any], grid: _Grid) -> NDArray[Any]:
    """The fine points of each pixel: (H, W, parts, ...)."""
    blocks = fine.reshape(grid.height, _FINE, grid.width, _FINE, *fine.shape[2:]).swapaxes(1, 2)
    return blocks.reshape(grid.height, grid.width, _FINE**2, *fine.shape[2:])


def _as_jpeg(photo: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(photo).save(content, format="JPEG", quality=92, subsampling=0)
    return content.getvalue()


def _as_csv(rows: list[tuple[str, str, str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it holds that already."""
    if path.is_file() and path.read_bytes() == content:
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _write_label_map(path: Path, label_map: NDArray[np.uint8]) -> None:
    """Write a label map unless the file holds that already."""
    try:
        same = path.is_file() and np.array_equal(open_label_map(path), label_map)
    except FileError:
        same = False
    if not same:
        write_label_map(path, label_map, voc_palette())

from pathlib import Path

import pytest
from PIL import Image

from tag2mask.config import DataSettings
from tag2mask.data.faults import FaultLog
from tag2mask.data.photo_files import list_photos
from tag2mask.data.read import read_data_set, read_with_faults


def draw(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One folder per class, with masks beside them."""
    draw(tmp_path / "cat/1.png", tmp_path / "dog/2.png", tmp_path / "masks/1.png")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("mine", (".checked_files.json", "levels.png", "4-pseudo-labels/acr/1.png")),
        ("runs/mine", (".checked_files.json", "levels.png", "4-pseudo-labels/acr/1.png")),
        ("tables", (".checked_files.json", "table1.png", "seed-1/table1/acr/levels.png")),
        ("labelled", ("photos.json", "manifest.json", "masks/1.png")),
    ],
)
def test_results_among_the_photos_change_no_data_set(folder: str, files: tuple[str, ...], root: Path):
    before = read_data_set(DataSettings(root=root))
    photos = [path for path in files if not path.endswith(".json")]
    draw(*(root / folder / path for path in photos))
    changed = read_with_faults(DataSettings(root=root))
    for path in {*files} - {*photos}:
        (root / folder / path).touch()

    found = read_data_set(DataSettings(root=root))

    assert found.class_names == before.class_names == ("cat", "dog")
    assert found.splits == before.splits
    assert found.splits["all"][0].label_map == root / "masks/1.png"
    assert list_photos(root, root, FaultLog(), skip=["masks"]).files.keys() == {"cat/1.png", "dog/2.png"}
    # They would if they were not known.
    assert changed.splits != before.splits or changed.faults

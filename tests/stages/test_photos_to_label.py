import shutil
from pathlib import Path

import pytest
from PIL import Image

from tag2mask.stages.photos_to_label import photos_below, photos_of_places


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "b.png", "more/b.png"], ["a", "b", "more/b"]),
        (["a.jpg", "b.jpg", "b.PNG", "more/b.png"], ["a", "b.jpg", "b.PNG", "more/b"]),
        # As one on a disk that takes upper and lower case for the same.
        (["b.jpg", "B.png"], ["b.jpg", "B.png"]),
        # Each of these could be called as another one is.
        (["b.jpg", "b.png", "b.jpg.png"], ["b.jpg", "b.png", "b.jpg.png"]),
        (["b.jpg", "b.JPG.png"], ["b", "b.JPG.png"]),
        (["b.jpg", "b.png", "b.jpg.png", "b.jpg.png.png"], ["b.jpg", "b.png", "b.jpg.png", "b.jpg.png.png"]),
        (["a.heic", "a.heic.png", "b.png"], ["a.heic", "a.heic.png", "b"]),
    ],
)
def test_photos_that_would_be_called_the_same_keep_their_suffix(files: list[str], names: list[str], tmp_path: Path):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()

    found = photos_below(tmp_path, without=tmp_path / "out")

    assert found == {name: tmp_path / file for name, file in zip(names, files, strict=True)}


def test_earlier_predictions_are_no_photos(photo_folder: Path, shapes: Path):
    out = photo_folder / "predictions"
    out.mkdir()
    shutil.copy(shapes / "00.png", out / "mask.png")

    assert "predictions/mask" not in photos_below(photo_folder, without=out)


def test_single_photo_is_taken(photo_folder: Path, tmp_path: Path):
    assert photos_below(photo_folder / "turned.jpg", without=tmp_path) == {"turned": photo_folder / "turned.jpg"}


def test_place_without_photos_is_told_when_it_does_not_exist(tmp_path: Path):
    with pytest.raises(ValueError, match="no such file or folder, expected a photo or a folder of photos"):
        photos_below(tmp_path / "none", without=tmp_path / "out")


@pytest.mark.parametrize("out", ["photos", "photos/more/..", "."])
def test_photos_are_not_looked_for_where_predictions_go(out: str, photo_folder: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds the photos of .*, expected a folder beside or below it"):
        photos_below(photo_folder, without=tmp_path / out)


def test_predictions_need_a_folder(photo_folder: Path):
    with pytest.raises(ValueError, match="found a file, expected a folder for predictions"):
        photos_below(photo_folder / "turned.jpg", without=photo_folder / "broken.jpg")


def test_folder_without_photos_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match="found no photo, expected"):
        photos_below(tmp_path, without=tmp_path / "out")


def test_photo_of_several_places_is_labelled_once_by_its_first_name(photo_folder: Path, tmp_path: Path):
    alone = photo_folder / "more" / "turned.png"

    photos = photos_of_places([alone, photo_folder / "more", photo_folder / "broken.jpg"], without=tmp_path / "out")

    assert photos == {"turned": alone, "broken": photo_folder / "broken.jpg"}


def test_names_of_one_folder_are_its_own_affair(photo_folder: Path, tmp_path: Path):
    (photo_folder / "TURNED.jpg").write_bytes((photo_folder / "turned.jpg").read_bytes())
    (photo_folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")

    photos = photos_of_places([photo_folder], without=tmp_path / "out")

    assert list(photos) == ["TURNED.jpg", "broken", "gone", "more/turned", "turned.jpg"]


def test_photos_of_two_places_need_names_of_their_own(photo_folder: Path, tmp_path: Path):
    places = [photo_folder / "turned.jpg", photo_folder / "more" / "turned.png"]

    with pytest.raises(ValueError, match=r"found two photos for the mask turned\.png"):
        photos_of_places(places, without=tmp_path / "out")


@pytest.mark.parametrize("table", ["tags.csv", "labels.csv"])
def test_masks_of_a_data_set_are_no_photos(photo_folder: Path, tmp_path: Path, table: str):
    (photo_folder / "masks").mkdir()
    Image.new("L", (4, 4)).save(photo_folder / "masks" / "turned.png")
    before = photos_below(photo_folder, without=tmp_path / "out")
    (photo_folder / table).write_text("image,tags\n")

    photos = photos_below(photo_folder, without=tmp_path / "out")

    assert list(before) == ["broken", "masks/turned", "more/turned", "turned"]
    assert list(photos) == ["broken", "more/turned", "turned"]

from pathlib import Path

from tag2mask.config import Recipe
from tag2mask.runs.foreign import is_foreign, unread_files


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_of_somebody_else_that_no_stage_reads_are_told_with_where_one_would(tmp_path: Path):
    cams, labels = tmp_path / "2-cams", tmp_path / "4-pseudo-labels"
    touch(cams, "baseline/00.npz", "mine/00.npz", "yours/00.npz", "00.npz", ".hidden/00.npz", "notes/00.txt")
    touch(labels, "baseline/00.png")
    recipe = Recipe(methods=("baseline", "acr"))

    assert unread_files(recipe, tmp_path) == [
        "2-cams/00.npz and 2 more: not read, expected 2-cams/baseline/PHOTO.npz or 2-cams/acr/PHOTO.npz, as methods "
        "says",
        "4-pseudo-labels/baseline: not read, expected 4-pseudo-labels/acr/PHOTO.png, as refined_methods says",
    ]
    # Of methods that the recipe asked for before: the report tells of these.
    touch(tmp_path, *(f"{folder}/manifest.json" for folder in (cams / "mine", cams / "yours", labels / "baseline")))
    (cams / "00.npz").unlink()
    assert unread_files(recipe, tmp_path) == []


def test_predictions_are_read_below_masks_alone(tmp_path: Path):
    recipe = Recipe(methods=("acr",))
    # The name of the method is left out, which looks like that of the segmenter on masks; or the folder is.
    touch(tmp_path / "6-predictions", "masks/00.png", "acr/garden/01.png")

    assert unread_files(recipe, tmp_path) == [
        "6-predictions/acr and 1 more: not read, expected 6-predictions/acr/masks/PHOTO.png or "
        "6-predictions/masks/masks/PHOTO.png, as refined_methods says, masks for a segmenter on the true masks"
    ]
    assert not is_foreign("predictions", "masks", tmp_path)
    touch(tmp_path / "6-predictions", "masks/masks/00.png", "acr/masks/garden/01.png")
    assert unread_files(recipe, tmp_path) == []
    assert is_foreign("predictions", "masks", tmp_path)
    assert is_foreign("predictions", "acr", tmp_path)

from pathlib import Path

import pytest
from drawn_run import EVIL_NAME, DrawnRun

from tag2mask.data.records import Record
from tag2mask.report.content import Column, Gallery
from tag2mask.report.galleries import candidates, choose_photos, evenly_spaced, find_galleries

COLUMN = Column("acr", "seed", "maps", Path("2-cams/acr"))


def gallery(num_photos: int, *, measured: int) -> Gallery:
    records = tuple(Record(f"{number:03}", Path(f"{number:03}.jpg"), (1,)) for number in range(num_photos))
    iou = {f"{number:03}": number * 37 % 101 / 101 for number in range(measured)}
    return Gallery("labels", records, (COLUMN,), {COLUMN.key: iou}, COLUMN if measured else None)


def names(records: tuple[Record, ...]) -> list[str]:
    return [record.name for record in records]


def test_photos_are_the_worst_the_middle_the_best_and_a_random_sample():
    shown = gallery(100, measured=100)
    ranked = sorted(shown.iou[COLUMN.key], key=lambda name: shown.iou[COLUMN.key][name])

    groups = {group.key: names(group.records) for group in choose_photos(shown, 21)}

    assert groups["worst"] == ranked[:5]
    assert groups["median"] == ranked[47:52]
    assert groups["best"] == ranked[:-6:-1]
    assert len(set(groups["random"])) == 6
    assert groups == {group.key: names(group.records) for group in choose_photos(shown, 21)}


def test_only_measured_photos_are_chosen_where_some_are():
    shown = gallery(100, measured=40)

    groups = choose_photos(shown, 20)

    assert len(candidates(shown)) == 40
    assert {name for group in groups for name in names(group.records)} <= {f"{number:03}" for number in range(40)}


def test_without_scores_all_photos_are_random():
    (group,) = choose_photos(gallery(100, measured=0), 20)

    assert (group.key, len(group.records)) == ("random", 20)
    assert len(candidates(gallery(100, measured=0))) == 100


def test_few_photos_are_shown_whole_the_worst_first():
    shown = gallery(4, measured=4)

    (group,) = choose_photos(shown, 20)

    assert (group.key, names(group.records)) == ("all", ["000", "003", "001", "002"])


def galleries_of(run: DrawnRun) -> tuple[Gallery, ...]:
    return find_galleries(run.stages, run.records, run=run.folder, refined_methods=["acr"])


def test_galleries_have_the_columns_that_have_files(masked_run: DrawnRun, unmasked_run: DrawnRun):
    labels, predictions = galleries_of(masked_run)

    assert [column.key for column in labels.columns if column.shown] == [
        "cam-baseline", "cam-acr", "seed-acr", "crf-acr", "refined-acr", "pseudo-label-acr", "truth-",
    ]  # fmt: skip
    assert [column.key for column in labels.columns if not column.shown] == ["seed-baseline"]
    assert [column.key for column in predictions.columns] == ["segmenter-acr", "segmenter-masks", "truth-"]
    assert labels.decisive is not None
    assert labels.decisive.key == "pseudo-label-acr"
    assert names(labels.records)[0] == EVIL_NAME
    assert names(predictions.records) == ["val_00", "val_01", "val_02", "val_03"]

    labels, _ = galleries_of(unmasked_run)

    assert labels.decisive is None
    assert "truth-" not in {column.key for column in labels.columns}


def test_stages_that_are_not_given_have_no_column(masked_run: DrawnRun):
    stages = [stage for stage in masked_run.stages if stage.folder not in ("2-cams/acr", "scores/pseudo-label-acr")]

    labels, _ = find_galleries(stages, masked_run.records, run=masked_run.folder, refined_methods=["acr"])

    assert [column.key for column in labels.columns] == [
        "cam-baseline", "seed-baseline", "crf-acr", "refined-acr", "pseudo-label-acr", "truth-",
    ]  # fmt: skip
    assert labels.decisive is not None
    assert labels.decisive.key == "refined-acr"


def test_an_empty_run_has_no_gallery(tmp_path: Path, masked_run: DrawnRun):
    assert find_galleries(masked_run.stages, masked_run.records, run=tmp_path, refined_methods=["acr"]) == ()


@pytest.mark.parametrize(
    ("count", "wanted", "places"), [(3, 7, [0, 1, 2]), (9, 5, [0, 2, 4, 6, 8]), (40, 4, [0, 13, 26, 39])]
)
def test_places_are_evenly_spaced_from_first_to_last(count: int, wanted: int, places: list[int]):
    assert evenly_spaced(count, wanted) == places

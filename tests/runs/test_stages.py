from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.config import AcrSettings, CamSettings, ClassifierSection, MctformerSettings, Recipe
from tag2mask.runs.manifest import Manifest, write_manifest
from tag2mask.runs.stages import Kind, Stage, cam_settings_of, seconds_with_all_before, state_of


def stage(kind: Kind, *before: Stage) -> Stage:
    return Stage(kind, "", kind, (), Manifest({"cams.threshold": 0.25}, {"photos": "abc"}), before)


def test_stage_is_to_do_then_unfinished_then_up_to_date(tmp_path: Path):
    cams = stage("cams")
    folder = tmp_path / cams.folder

    assert state_of(cams, tmp_path)[1:] == ("to do", "not made yet")
    write_manifest(folder, cams.manifest)
    assert state_of(cams, tmp_path)[1:] == ("unfinished", "")
    write_manifest(folder, replace(cams.manifest, finished=True))
    assert state_of(cams, tmp_path)[1:] == ("up to date", "")
    write_manifest(folder, replace(cams.manifest, settings={"cams.threshold": 0.3}, finished=True))
    assert state_of(cams, tmp_path)[1:] == ("to do", "cams.threshold changed from 0.3 to 0.25")


@pytest.mark.parametrize(
    ("photos", "reason"),
    [
        ({"cat": "1", "dog": "2", "cow": "3"}, "of its photos 1 new or changed"),
        ({"cat": "other", "dog": "2"}, "of its photos 1 new or changed"),
        ({"cat": "1"}, "of its photos 1 no longer asked for"),
        ({"bird": "4"}, "of its photos 1 new or changed and 2 no longer asked for"),
    ],
)
def test_stage_goes_on_with_other_photos_and_says_how_many(photos: dict[str, str], reason: str, tmp_path: Path):
    cams = stage("cams")
    done = replace(cams.manifest, photos={"cat": "1", "dog": "2"}, finished=True)
    write_manifest(tmp_path / cams.folder, done)

    found = state_of(replace(cams, manifest=replace(cams.manifest, photos=photos)), tmp_path)

    assert found[1:] == ("unfinished", reason)
    assert state_of(replace(cams, manifest=replace(done, finished=False)), tmp_path).state == "up to date"


def test_files_of_somebody_else_are_up_to_date_and_said_to_be_so(tmp_path: Path):
    foreign = replace(stage("cams"), foreign=True)

    assert state_of(foreign, tmp_path)[1:] == ("up to date", "somebody else's, taken as they are")


def test_seconds_count_every_stage_before_once(tmp_path: Path):
    baseline = stage("baseline")
    reconstructor = stage("reconstructor", baseline)
    acr = stage("acr", baseline, reconstructor)
    for seconds, part in ((1, baseline), (10, reconstructor), (100, acr)):
        write_manifest(tmp_path / part.folder, replace(part.manifest, finished=True, seconds=seconds))

    assert seconds_with_all_before(reconstructor, tmp_path) == 11
    assert seconds_with_all_before(acr, tmp_path) == 111
    assert seconds_with_all_before(stage("cams", acr), tmp_path) == 111


@pytest.mark.parametrize(
    ("kind", "classifier", "scales"),
    [
        ("baseline", "mctformer", (2.0,)),
        ("mctformer", "classifier", (0.5,)),
        ("acr", "classifier", (2.0,)),
        ("acr", "mctformer", (0.5,)),
        ("pretrained", "mctformer", (0.5,)),
    ],
)
def test_maps_have_the_scales_of_the_network_that_gives_them(
    kind: Kind, classifier: ClassifierSection, scales: tuple[float, ...]
):
    recipe = Recipe(
        acr=AcrSettings(classifier=classifier),
        cams=CamSettings(scales=(2.0,), threshold=0.3),
        mctformer=MctformerSettings(scales=(0.5,)),
    )

    assert cam_settings_of(kind, recipe) == replace(recipe.cams, scales=scales)

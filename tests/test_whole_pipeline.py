"""From tags to predictions of a segmenter, on drawn shapes with networks of a few channels."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_process import kill_when, start
from PIL import Image

from tag2mask.cams.store import full_size_maps, read_cams, stored_names
from tag2mask.data.label_maps import label_map_names, open_label_map
from tag2mask.evaluation.confusion import confusion_matrix, scores_from_confusion
from tag2mask.pseudo_labels import label_map_from_maps
from tag2mask.report.tables import read_scores
from tag2mask.segmenter import Segmenter
from tag2mask.stages.labels import read_threshold

NAMES = {f"{index:02}" for index in range(13)}
LABEL_FOLDERS = (
    "3-refined/acr/crf", "3-refined/acr/relations", "4-pseudo-labels/acr", "6-predictions/acr/masks",
    "6-predictions/masks/masks",
)  # fmt: skip


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(whole_run, tmp_path / "run"))


def stages_done(err: str) -> dict[str, str]:
    """What a run told of each stage, by its folder."""
    lines = [line.split(" ", 2)[2] for line in err.splitlines() if line.startswith("stage ")]
    return dict(line.split(": ", 1) for line in lines)


def redone(err: str) -> set[str]:
    return {folder for folder, told in stages_done(err).items() if told != "up to date"}


def labels_and_weights(run: Path) -> dict[str, bytes]:
    """Content of all files that do not hold a time."""
    files = [path for suffix in ("png", "npz", "safetensors") for path in run.rglob(f"*.{suffix}")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def test_every_photo_gets_maps_labels_and_predictions(whole_run: Path):
    assert stored_names(whole_run / "3-refined/acr/maps") == NAMES
    for folder in LABEL_FOLDERS:
        assert label_map_names(whole_run / folder) == NAMES, folder


def test_labels_are_palette_images_of_the_photos_own_size(whole_run: Path, shapes: Path):
    for name in NAMES:
        label_map = Image.open(whole_run / f"4-pseudo-labels/acr/{name}.png")
        assert label_map.mode == "P"
        assert label_map.size == Image.open(shapes / f"{name}.png").size


def test_labels_hold_only_tags_of_their_photo(whole_run: Path, shapes: Path):
    tags = dict(line.split(",") for line in (shapes / "tags.csv").read_text().splitlines()[1:])
    ids = {"disc": 1, "square": 2}
    for folder in ("3-refined/acr/crf", "3-refined/acr/relations", "4-pseudo-labels/acr"):
        for name in NAMES:
            allowed = {0, 255, *(ids[tag] for tag in tags[f"{name}.png"].split(";") if tag)}
            assert set(np.unique(open_label_map(whole_run / folder / f"{name}.png"))) <= allowed, (folder, name)


def test_pseudo_labels_follow_from_the_walked_maps_and_their_threshold(whole_run: Path):
    threshold = read_threshold(whole_run / "4-pseudo-labels/acr")
    assert threshold is not None
    assert threshold == (0.25, "fixed")
    for name in NAMES:
        cams = read_cams(whole_run / "3-refined/acr/maps", name)
        expected = label_map_from_maps(full_size_maps(cams), cams.class_ids, threshold=0.25, uncertain=0)
        np.testing.assert_array_equal(open_label_map(whole_run / f"4-pseudo-labels/acr/{name}.png"), expected)


def test_every_level_is_measured(whole_run: Path):
    rows = read_scores(whole_run / "scores.json")

    assert [(row.method, row.level, row.threshold_source) for row in rows] == [
        ("acr", "seed", "best on this split"),
        ("acr", "seed", "fixed"),
        ("acr", "crf", None),
        ("acr", "refined", "best on this split"),
        ("acr", "refined", "fixed"),
        ("acr", "pseudo-label", "fixed"),
        ("acr", "segmenter", None),
        ("masks", "segmenter", None),
    ]
    by_level = {(row.level, row.threshold_source): row for row in rows if row.method == "acr"}
    assert by_level["pseudo-label", "fixed"].miou == pytest.approx(by_level["refined", "fixed"].miou)


def test_scores_are_those_of_the_label_maps(whole_run: Path, shapes: Path):
    counts = sum(
        confusion_matrix(
            open_label_map(whole_run / f"6-predictions/acr/masks/{name}.png"),
            open_label_map(shapes / f"masks/{name}.png"),
            num_classes=2,
        )
        for name in NAMES
    )
    (row,) = (row for row in read_scores(whole_run / "scores.json") if (row.method, row.level) == ("acr", "segmenter"))

    assert isinstance(counts, np.ndarray)
    assert row.miou == pytest.approx(scores_from_confusion(counts, ("disc", "square")).miou)


def test_examples_of_the_training_are_kept_for_the_report(whole_run: Path):
    folder = whole_run / "1-classifier/acr"

    assert {path.name for path in (folder / "epochs").iterdir()} == {"01", "02"}
    names = stored_names(folder / "epochs/01")
    assert len(names) == 2
    assert {path.name for path in (folder / "restored").iterdir()} == {
        f"{name}.{part}.png" for name in names for part in ("photo", "target", "rest")
    }


def test_report_is_written_and_tells_every_level(whole_run: Path):
    page = (whole_run / "report.html").read_text()

    for row in read_scores(whole_run / "scores.json"):
        assert f"{100 * row.miou:.1f}" in page


def test_evaluation_measures_what_is_there_and_says_what_is_not(run: Path, tag2mask: Callable, whole_recipe: Path):
    for part in ("3-refined", "scores"):
        shutil.rmtree(run / part)

    outcome = tag2mask("evaluate", whole_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    told = stages_done(outcome.err)
    assert told["scores/refined-acr"] == (
        "left out, it needs 3-refined/acr/maps, which must be done first: not made yet"
    )
    assert [row.level for row in read_scores(run / "scores.json")][:2] == ["seed", "seed"]
    assert "refined" not in {row.level for row in read_scores(run / "scores.json")}


def test_second_run_redoes_nothing(run: Path, tag2mask: Callable, whole_recipe: Path):
    outcome = tag2mask("run", whole_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    assert redone(outcome.err) == set()


@pytest.mark.parametrize(
    ("flags", "first"),
    [
        (("--labels.threshold", 0.5), "4-pseudo-labels/acr"),
        (("--refinement.beta", 4), "3-refined/acr/maps"),
        (("--segmenter.scales", "[0.5]"), "6-predictions/acr"),
    ],
)
def test_changed_setting_redoes_its_stage_and_what_follows(
    run: Path, tag2mask: Callable, whole_recipe: Path, flags: tuple[str, object], first: str
):
    outcome = tag2mask("run", whole_recipe, "--run", run, *flags)

    assert outcome.status == 0, outcome.err
    told = stages_done(outcome.err)
    assert told[first].startswith(f"{flags[0].removeprefix('--')} changed from ")
    order = list(told)
    assert all(told[folder] == "up to date" for folder in order[: order.index(first)])
    # The twin does not depend on labels; its predictions depend on the scales.
    twin = {"6-predictions/masks", "scores/segmenter-masks"} if "segmenter" in flags[0] else set()
    follows = {folder for folder in order[order.index(first) :] if folder.endswith("acr") or folder.endswith("maps")}
    assert redone(outcome.err) == follows | twin


def test_settings_of_predictions_reach_the_model_folders(run: Path, tag2mask: Callable, whole_recipe: Path):
    weights = {path: path.stat().st_mtime_ns for path in run.glob("5-segmenter/*/model.safetensors")}

    outcome = tag2mask("segment", whole_recipe, "--run", run, "--segmenter.scales", "[0.5]", "--segmenter.crf", "irn")

    assert outcome.status == 0, outcome.err
    for name in ("acr", "masks"):
        settings = Segmenter.load(run / "5-segmenter" / name).settings
        assert (settings.scales, settings.crf) == ((0.5,), "irn")
        # It was measured with other settings than it predicts with now.
        card = (run / "5-segmenter" / name / "README.md").read_text(encoding="utf-8")
        assert "| Trained on | 13 photos with " in card
        assert "mIoU" not in card
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_labels_of_somebody_else_train_the_segmenter(run: Path, tag2mask: Callable, whole_recipe: Path, shapes: Path):
    folder = run / "4-pseudo-labels/acr"
    shutil.rmtree(folder)
    shutil.copytree(shapes / "masks", folder)

    outcome = tag2mask("run", whole_recipe, "--run", run)

    told = stages_done(outcome.err)
    assert told["4-pseudo-labels/acr"] == "up to date (somebody else's, taken as they are)"
    assert told["5-segmenter/acr"] == "4-pseudo-labels/acr changed"
    ours, twin = (run / f"5-segmenter/{name}/model.safetensors" for name in ("acr", "masks"))
    assert ours.read_bytes() == twin.read_bytes()
    card = (run / "5-segmenter/acr/README.md").read_text(encoding="utf-8")
    assert "13 photos with label maps that the run did not make" in card


def test_labels_of_somebody_else_with_classes_that_the_tags_lack_are_counted(
    run: Path, tag2mask: Callable, whole_recipe: Path, shapes: Path
):
    folder = run / "4-pseudo-labels/acr"
    shutil.rmtree(folder)
    shutil.copytree(shapes / "masks", folder)
    # The photo shows a disc alone.
    Image.fromarray(np.full((36, 48), 2, np.uint8)).save(folder / "03.png")

    outcome = tag2mask("evaluate", whole_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    assert (
        "warning: 4-pseudo-labels/acr: found classes that the tags lack in 1 of 13 photos, such as 03, expected those "
        "of the tags alone"
    ) in outcome.err.splitlines()


@pytest.mark.parametrize("command", ["segment", "run"])
def test_labels_of_somebody_else_in_other_files_are_not_to_be_deleted(
    command: str, tag2mask: Callable, whole_recipe: Path, tmp_path: Path
):
    folder = tmp_path / "run/4-pseudo-labels/acr"
    folder.mkdir(parents=True)
    (folder / "00.bmp").touch()

    outcome = tag2mask(command, whole_recipe, "--run", tmp_path / "run")

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"tag2mask: {folder}: found 00.bmp without manifest.json, expected files of your own as "
        "4-pseudo-labels/METHOD/PHOTO.png: convert them or move them there, or move them elsewhere to have the stage "
        "done"
    )


@pytest.mark.parametrize(
    ("name", "methods", "told"),
    [
        ("acr", ("acr",), "tag2mask: {run}/6-predictions/acr: found 00.png without manifest.json, expected files of "
         "your own as 6-predictions/METHOD/masks/PHOTO.png: "),
        ("masks", (), "warning: 6-predictions/masks: not read, expected 6-predictions/acr/masks/PHOTO.png or "
         "6-predictions/masks/masks/PHOTO.png, as refined_methods says, masks for a segmenter on the true masks"),
    ],
)  # fmt: skip
def test_predictions_in_a_wrong_place_are_told_the_right_one(
    name: str, methods: tuple[str, ...], told: str, tag2mask: Callable, whole_recipe: Path, shapes: Path, tmp_path: Path
):
    run, supervision = tmp_path / "run", "[pseudo_labels]" if methods else "[]"
    shutil.copytree(shapes / "masks", run / f"6-predictions/{name}")

    outcome = tag2mask("evaluate", whole_recipe, "--run", run, "--segmenter.supervision", supervision)

    assert told.format(run=run) in outcome.err
    assert "no such file" not in outcome.err.lower()


def test_predictions_alone_are_measured(tag2mask: Callable, whole_recipe: Path, shapes: Path, tmp_path: Path):
    run = tmp_path / "run"
    masks = Path(shutil.copytree(shapes / "masks", run / "6-predictions/acr/masks"))
    # A third class in a photo's prediction is no matter of its tags, and here it is a miss.
    Image.fromarray(np.full((36, 48), 2, np.uint8)).save(masks / "03.png")
    (run / "2-cams/mine").mkdir(parents=True)
    (run / "2-cams/mine/00.npz").touch()

    outcome = tag2mask("evaluate", whole_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    (row,) = read_scores(run / "scores.json")
    confusion = sum(
        confusion_matrix(
            open_label_map(masks / f"{name}.png"), open_label_map(shapes / f"masks/{name}.png"), num_classes=2
        )
        for name in NAMES
    )
    assert (row.method, row.level, row.num_photos) == ("acr", "segmenter", 13)
    assert row.miou == pytest.approx(scores_from_confusion(confusion, ["disc", "square"]).miou)
    assert row.miou < 1
    assert 'id="foreign">Not made by this run but taken as they were found: 6-predictions/acr.<' in (
        run / "report.html"
    ).read_text(encoding="utf-8")
    assert outcome.err.count("tags lack") == 0
    assert outcome.err.count("warning: 2-cams/mine: not read, expected 2-cams/acr/PHOTO.npz, as methods says") == 1


def test_predictions_that_miss_every_object_are_measured(
    tag2mask: Callable, whole_recipe: Path, shapes: Path, tmp_path: Path
):
    masks = Path(shutil.copytree(shapes / "masks", tmp_path / "run/6-predictions/acr/masks"))
    shares = []
    for path in masks.iterdir():
        truth = open_label_map(path)
        shares.append(((truth == 0).sum(), truth.size))
        Image.fromarray(np.zeros_like(truth)).save(path)
    flags = ("--segmenter.supervision", "[]", "--run", tmp_path / "run")

    outcome = tag2mask("evaluate", whole_recipe, *flags)

    assert outcome.status == 0, outcome.err
    (row,) = read_scores(tmp_path / "run/scores.json")
    background, pixels = np.sum(shares, axis=0)
    assert row.miou == pytest.approx(background / pixels / 3)


def test_predictions_without_a_split_to_measure_are_refused(
    tag2mask: Callable, whole_recipe: Path, shapes: Path, tmp_path: Path
):
    folder = tmp_path / "run/6-predictions/acr"
    shutil.copytree(shapes / "masks", folder / "masks")

    outcome = tag2mask("run", whole_recipe, "--run", tmp_path / "run", "--data.val_split", "null")

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"tag2mask: {folder}: found predictions, but data.val_split names no photos of them"
    )


def test_labels_of_somebody_else_with_unknown_classes_are_refused(
    run: Path, tag2mask: Callable, whole_recipe: Path, shapes: Path
):
    folder = run / "4-pseudo-labels/acr"
    shutil.rmtree(folder)
    shutil.copytree(shapes / "masks", folder)
    Image.fromarray(np.full((36, 48), 7, np.uint8)).save(folder / "03.png")

    outcome = tag2mask("run", whole_recipe, "--run", run)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"tag2mask: {folder / '03.png'}: found class id 7, expected 0 to 2, or 255 where unsure"
    )


def test_labels_of_somebody_else_of_another_size_are_refused(
    run: Path, tag2mask: Callable, whole_recipe: Path, shapes: Path
):
    folder = run / "4-pseudo-labels/acr"
    shutil.rmtree(folder)
    shutil.copytree(shapes / "masks", folder)
    Image.fromarray(np.zeros((36, 47), np.uint8)).save(folder / "03.png")

    outcome = tag2mask("run", whole_recipe, "--run", run)

    assert outcome.err.splitlines()[-1] == (
        f"tag2mask: {folder / '03.png'}: found 47x36 pixels, expected 48x36 as its photo"
    )


def test_labels_of_somebody_else_may_be_of_the_label_split_alone(
    run: Path, tag2mask: Callable, whole_recipe: Path, shapes: Path, tmp_path: Path
):
    names = ["00.png", "01.png", "02.png", "03.png", "05.png"]
    (tmp_path / "some.txt").write_text("\n".join(names))
    shutil.rmtree(run / "4-pseudo-labels/acr")
    for name in names:
        (run / "4-pseudo-labels/acr").mkdir(exist_ok=True)
        shutil.copy(shapes / "masks" / name, run / "4-pseudo-labels/acr")

    outcome = tag2mask("run", whole_recipe, "--run", run, "--data.label_split", tmp_path / "some.txt")

    assert outcome.status == 0, outcome.err
    (row,) = (row for row in read_scores(run / "scores.json") if row.level == "pseudo-label")
    assert (row.num_photos, row.miou) == (5, pytest.approx(1))
    assert (row.threshold, row.threshold_source) == (None, None)


def test_labels_that_processes_share_are_those_of_one(run: Path, tag2mask: Callable, whole_recipe: Path):
    before = labels_and_weights(run)
    shutil.rmtree(run / "4-pseudo-labels")

    outcome = tag2mask("label", whole_recipe, "--run", run, "--engine.workers", 2)

    assert outcome.status == 0, outcome.err
    assert labels_and_weights(run) == before


def test_labels_at_an_estimated_threshold_say_so(run: Path, tag2mask: Callable, whole_recipe: Path):
    flags = ("--labels.threshold_source", "estimated", "--segmenter.supervision", "[]")

    outcome = tag2mask("run", whole_recipe, "--run", run, *flags)

    assert outcome.status == 0, outcome.err
    rows = {(row.level, row.threshold_source): row for row in read_scores(run / "scores.json")}
    labels, maps = rows["pseudo-label", "estimated"], rows["refined", "estimated"]
    assert (labels.threshold, labels.miou) == (maps.threshold, pytest.approx(maps.miou))


def test_maps_made_anew_are_not_measured_at_the_threshold_of_older_labels(
    run: Path, tag2mask: Callable, whole_recipe: Path
):
    flags = ("--labels.threshold_source", "estimated", "--segmenter.supervision", "[]", "--run", run)
    tag2mask("label", whole_recipe, *flags)

    for command in ("refine", "evaluate"):
        assert tag2mask(command, whole_recipe, "--refinement.log_steps", 4, *flags).status == 0

    sources = {(row.level, row.threshold_source) for row in read_scores(run / "scores.json")}
    assert ("refined", "best on this split") in sources
    assert "estimated" not in {source for _, source in sources}


def test_labels_of_the_crf_have_no_threshold_and_a_changed_one_is_told_to_be_unread(
    run: Path, tag2mask: Callable, whole_recipe: Path
):
    flags = ("--refinement.method", "none", "--labels.threshold", 0.5, "--segmenter.supervision", "[]")

    outcome = tag2mask("run", whole_recipe, "--run", run, *flags)

    assert outcome.status == 0, outcome.err
    warning = "warning: labels.threshold: not read, as labels are what the CRF makes without a refinement"
    assert outcome.err.splitlines().count(warning) == 1
    (row,) = (row for row in read_scores(run / "scores.json") if row.level == "pseudo-label")
    assert (row.threshold, row.threshold_source) == (None, None)


@pytest.fixture
def few_masks(shapes: Path, tmp_path: Path) -> Path:
    """The photos of the run, three of which have a mask."""
    root = Path(shutil.copytree(shapes, tmp_path / "few"))
    for mask in sorted((root / "masks").iterdir())[3:]:
        mask.unlink()
    return root


def test_few_masks_train_no_segmenter_beside_that_of_the_pseudo_labels(
    run: Path, few_masks: Path, tag2mask: Callable, whole_recipe: Path
):
    outcome = tag2mask("segment", whole_recipe, "--run", run, "--data.root", few_masks)

    assert outcome.status == 0, outcome.err
    assert {stage for stage in stages_done(outcome.err) if stage.startswith("5-")} == {"5-segmenter/acr"}
    told = "5-segmenter/masks: left out: 3 of 13 photos of train have a mask, too few to compare"
    assert sum(line.startswith(told) for line in outcome.err.splitlines()) == 1


def test_what_is_not_measured_without_masks_is_told_by_its_split(
    run: Path, few_masks: Path, tag2mask: Callable, whole_recipe: Path
):
    unmasked = few_masks.with_name("unmasked.txt")
    unmasked.write_text("03.png\n05.png\n")
    flags = ("--data.root", few_masks, "--data.seed_split", unmasked, "--data.label_split", "train")

    outcome = tag2mask("evaluate", whole_recipe, "--run", run, *flags)

    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert f"no photo of {unmasked} has a mask: seeds, CRF, refined maps and pseudo-labels cannot be measured" in lines
    assert any(row.level == "segmenter" for row in read_scores(run / "scores.json"))


def test_classes_without_labels_are_told_before_a_segmenter_is_trained(
    run: Path, tag2mask: Callable, whole_recipe: Path
):
    flags = ("--labels.threshold", 1, "--segmenter.supervision", "[]")

    for outcome in (tag2mask(command, whole_recipe, "--run", run, *flags) for command in ("label", "run")):
        assert outcome.status == 0, outcome.err
        told = "warning: 4-pseudo-labels/acr: no or hardly any pixel of disc (8 photos), square (8 photos), which"
        assert sum(line.startswith(told) for line in outcome.err.splitlines()) == 1
    assert "Warning: the pseudo-labels have no or hardly any pixel of disc" in (run / "report.html").read_text()


def test_threshold_that_is_not_measured_is_refused_before_anything_runs(
    tag2mask: Callable, whole_recipe: Path, tmp_path: Path
):
    outcome = tag2mask("run", whole_recipe, "--run", tmp_path / "run", "--labels.threshold", 0.255)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == "tag2mask: labels.threshold is 0.255, expected a multiple of 0.01"
    assert not (tmp_path / "run" / "1-classifier").exists()


def test_predictions_of_two_models_are_not_mixed(run: Path, tag2mask: Callable, shapes: Path, tmp_path: Path):
    out = tmp_path / "out"
    tag2mask("predict", shapes, "--model", run / "5-segmenter/acr", "--out", out)

    again = tag2mask("predict", shapes, "--model", run / "5-segmenter/acr", "--out", out)
    other = tag2mask("predict", shapes, "--model", run / "5-segmenter/masks", "--out", out)
    config = run / "5-segmenter/acr/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scales": [0.5]}))
    with_other_settings = tag2mask("predict", shapes, "--model", run / "5-segmenter/acr", "--out", out)

    assert again.status == 0, again.err
    for refused in (other, with_other_settings):
        assert refused.status == 1
        assert refused.err.splitlines()[-1].startswith(f"tag2mask: {out}: found files that this model did not make")


def test_model_card_tells_what_the_segmenter_is_worth(whole_run: Path):
    card = (whole_run / "5-segmenter/acr/README.md").read_text()

    (row,) = (row for row in read_scores(whole_run / "scores.json") if (row.method, row.level) == ("acr", "segmenter"))
    assert "13 photos with pseudo-labels from seeds of acr" in card
    assert f"{100 * row.miou:.1f} (13 photos)" in card


def test_affinity_is_the_other_refinement(run: Path, tag2mask: Callable, whole_recipe: Path):
    flags = ("--refinement.method", "affinity", "--refinement.crop", 72, "--segmenter.supervision", "[]")

    outcome = tag2mask("run", whole_recipe, "--run", run, *flags)

    assert outcome.status == 0, outcome.err
    assert {f"3-refined/acr/{name}" for name in ("relations", "network", "maps")} <= redone(outcome.err)
    assert stored_names(run / "3-refined/acr/maps") == NAMES


def test_predictions_of_a_copied_model_are_those_of_the_run(
    run: Path, tag2mask: Callable, shapes: Path, tmp_path: Path
):
    model = Path(shutil.copytree(run / "5-segmenter/acr", tmp_path / "model"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in NAMES:
        shutil.copy(shapes / f"{name}.png", photos)

    outcome = tag2mask("predict", photos, "--model", model, "--out", tmp_path / "out")

    assert outcome.status == 0, outcome.err
    for name in NAMES:
        expected = (run / f"6-predictions/acr/masks/{name}.png").read_bytes()
        assert (tmp_path / f"out/masks/{name}.png").read_bytes() == expected


def test_killed_run_ends_as_an_unbroken_one(whole_run: Path, whole_recipe: Path, tmp_path: Path):
    run, told = tmp_path / "killed", tmp_path / "told.txt"
    command = ("run", whole_recipe, "--run", run)
    # Killed as soon as each of these is there, in the middle of its stage.
    markers = (
        "3-refined/acr/relations/*.png", "3-refined/acr/network/manifest.json", "3-refined/acr/maps/*.npz",
        "4-pseudo-labels/acr/*.png", "5-segmenter/acr/manifest.json", "6-predictions/acr/masks/*.png",
    )  # fmt: skip
    for marker in markers:
        kill_when(lambda marker=marker: bool(list(run.glob(marker))), *command, told=told)

    last = start(*command, told=told)
    last.join()

    assert last.exitcode == 0, told.read_text()
    unbroken, found = labels_and_weights(whole_run), labels_and_weights(run)
    assert found.keys() == unbroken.keys()
    assert [name for name in found if found[name] != unbroken[name] and not name.startswith("seed_")] == []
    assert json.loads((run / "scores.json").read_text())[0]["miou"] == read_scores(whole_run / "scores.json")[0].miou

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tag2mask.config import DataSettings, Recipe
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.runs.manifest import write_manifest
from tag2mask.runs.plan import plan
from tag2mask.runs.stages import Photos, Stage, photos_of, state_of

BASELINE, MCTFORMER, ALONE, PRETRAINED, ACR = (
    f"1-classifier/{name}" for name in ("baseline", "mctformer", "reconstructor", "pretrained", "acr")
)
METHODS = ("baseline", "pretrained", "acr")


@pytest.fixture
def photos(shapes: Path) -> Photos:
    settings = DataSettings(root=shapes)
    return photos_of(read_data_set(settings), settings)


@pytest.fixture
def recipe() -> Recipe:
    return changed(Recipe(methods=METHODS, refined_methods=()), {"acr.reconstructor_epochs": 1, "acr.warm_start": True})


def changed(settings: Any, changes: dict[str, Any]) -> Any:
    """The same settings but for those of these dotted names."""
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        settings = replace(settings, **{first: changed(getattr(settings, first), {rest: value}) if rest else value})
    return settings


def folders(stages: Sequence[Stage]) -> list[str]:
    return [stage.folder for stage in stages]


def finish(stages: Sequence[Stage], run: Path) -> None:
    for stage in stages:
        write_manifest(run / stage.folder, replace(stage.manifest, finished=True, seconds=10.0))


def to_do(stages: Sequence[Stage], run: Path) -> dict[str, str]:
    """Folder and reason of the stages that are to do."""
    states = [state_of(stage, run) for stage in stages]
    return {state.stage.folder: state.reason for state in states if state.state != "up to date"}


def seeds(*methods: str) -> set[str]:
    return {f"2-cams/{method}" for method in methods} | scores(*methods)


def scores(*methods: str) -> set[str]:
    return {f"scores/seed-{method}" for method in methods}


def test_stages_stand_in_the_order_in_which_they_are_done(recipe: Recipe, photos: Photos, tmp_path: Path):
    stages = plan(recipe, photos, tmp_path)

    assert folders(stages) == [
        BASELINE, ALONE, PRETRAINED, ACR,
        "2-cams/baseline", "scores/seed-baseline", "2-cams/pretrained", "scores/seed-pretrained",
        "2-cams/acr", "scores/seed-acr",
    ]  # fmt: skip
    done: set[str] = set()
    for stage in stages:
        assert {before.folder for before in stage.before} <= done
        done.add(stage.folder)


@pytest.mark.parametrize(
    ("methods", "changes", "trainings"),
    [
        (("baseline",), {}, [BASELINE]),
        (("acr",), {}, [ACR]),
        (("baseline", "acr"), {}, [BASELINE, ACR]),
        (("acr",), {"acr.warm_start": True}, [BASELINE, ACR]),
        (("acr",), {"acr.reconstructor_epochs": 2}, [BASELINE, ALONE, ACR]),
        (("pretrained",), {"acr.reconstructor_epochs": 2}, [BASELINE, ALONE, PRETRAINED]),
        (("baseline",), {"acr.reconstructor_epochs": 2}, [BASELINE]),
        (("mctformer",), {}, [MCTFORMER]),
        (("acr", "acr_vit"), {}, [MCTFORMER, ACR]),
        (("acr",), {"acr.warm_start": True, "acr.classifier": "mctformer"}, [MCTFORMER, ACR]),
        (("acr",), {"acr.reconstructor_epochs": 2, "acr.classifier": "mctformer"}, [MCTFORMER, ALONE, ACR]),
    ],
)
def test_only_what_the_methods_need_is_trained(
    methods: Any, changes: dict[str, Any], trainings: list[str], photos: Photos, tmp_path: Path
):
    stages = plan(changed(Recipe(methods=methods, refined_methods=()), changes), photos, tmp_path)

    assert [folder for folder in folders(stages) if folder.startswith("1-")] == trainings
    assert {folder for folder in folders(stages) if not folder.startswith("1-")} == seeds(*methods)


def test_pretrained_without_a_reconstructor_is_refused(photos: Photos, tmp_path: Path):
    with pytest.raises(ValueError, match=r"methods has pretrained, but acr\.reconstructor_epochs is 0"):
        plan(Recipe(methods=("pretrained",), refined_methods=()), photos, tmp_path)


def test_spread_seeds_without_those_that_are_spread_are_refused(photos: Photos, tmp_path: Path):
    with pytest.raises(ValueError, match="methods has acr_vit, which spreads the seeds of acr, but not acr"):
        plan(Recipe(methods=("baseline", "acr_vit")), photos, tmp_path)


def test_seeds_that_are_spread_already_are_not_spread_again(photos: Photos, tmp_path: Path):
    recipe = changed(Recipe(methods=("acr", "acr_vit"), refined_methods=()), {"acr.classifier": "mctformer"})

    with pytest.raises(ValueError, match="the seeds of acr are spread already: leave out acr_vit"):
        plan(recipe, photos, tmp_path)
    plan(changed(recipe, {"mctformer.patch_affinity": False}), photos, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mctformer.epochs": 5}, r"mctformer\.optimizer\.warmup_epochs is 5, but the training has 5 epochs"),
        ({"classifier.optimizer.warmup_epochs": 40}, r"classifier\.optimizer\.warmup_epochs is 40"),
        ({"acr.epochs": 1, "acr.reconstructor_optimizer.warmup_epochs": 1}, r"acr\.reconstructor_optimizer\.warmup"),
        ({"refinement.optimizer.warmup_epochs": 3}, r"refinement\.optimizer\.warmup_epochs is 3"),
        ({"segmenter.optimizer.warmup_epochs": 30}, r"segmenter\.optimizer\.warmup_epochs is 30"),
    ],
)
def test_learning_rate_that_rises_to_the_end_is_refused(
    changes: dict[str, Any], told: str, photos: Photos, tmp_path: Path
):
    recipe = Recipe(methods=("baseline", "acr", "mctformer"))

    with pytest.raises(ValueError, match=told):
        plan(changed(recipe, changes), photos, tmp_path)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("acr",), []),
        (("baseline", "acr"), [BASELINE, "2-cams/baseline", "scores/seed-baseline"]),
        (
            ("acr_vit", "acr"),
            [MCTFORMER, ACR, "2-cams/acr", "scores/seed-acr", "2-cams/acr_vit", "scores/seed-acr_vit"],
        ),
    ],
)
def test_labels_of_somebody_else_need_nothing_that_is_before_them(
    methods: Any, expected: list[str], photos: Photos, tmp_path: Path
):
    shutil.copytree(photos.label[0].label_map.parent, tmp_path / "4-pseudo-labels" / "acr")
    recipe = changed(Recipe(methods=methods, refined_methods=("acr",)), {"acr.reconstructor_epochs": 0})

    stages = plan(recipe, photos, tmp_path)

    assert folders(stages) == [*expected, "4-pseudo-labels/acr", "scores/pseudo-label-acr", "5-segmenter/acr"]
    assert {stage.folder for stage in stages if stage.foreign} == {"4-pseudo-labels/acr"}


@pytest.mark.parametrize("supervision", [("pseudo_labels",), ()])
def test_predictions_of_somebody_else_need_no_segmenter(supervision: Any, photos: Photos, tmp_path: Path):
    masks = photos.label[0].label_map.parent
    shutil.copytree(masks, tmp_path / "6-predictions" / "acr" / "masks")
    recipe = changed(Recipe(methods=("acr",)), {"segmenter.supervision": supervision})
    photos = photos._replace(val=photos.seed[:3])
    expected = ["6-predictions/acr", "scores/segmenter-acr"]

    stages = plan(recipe, photos, tmp_path)

    assert folders(stages) == expected
    assert stages[0].foreign
    assert stages[1].records == list(photos.val)
    shutil.copytree(masks, tmp_path / "4-pseudo-labels" / "acr")
    assert folders(plan(recipe, photos, tmp_path)) == ["4-pseudo-labels/acr", "scores/pseudo-label-acr", *expected]


def test_predictions_in_the_place_of_the_segmenter_on_masks_take_its_place(photos: Photos, tmp_path: Path):
    shutil.copytree(photos.label[0].label_map.parent, tmp_path / "6-predictions" / "masks" / "masks")
    recipe = changed(Recipe(methods=("baseline",), refined_methods=()), {"segmenter.supervision": ("masks",)})

    stages = plan(recipe, photos._replace(val=photos.seed), tmp_path)

    assert folders(stages)[-2:] == ["6-predictions/masks", "scores/segmenter-masks"]
    assert "5-segmenter/masks" not in folders(stages)


def test_seeds_are_spread_on_all_photos_that_go_on(photos: Photos, tmp_path: Path):
    first, rest = photos.seed[:3], photos.seed[3:]
    recipe = Recipe(methods=("acr_vit", "acr", "mctformer"), refined_methods=("acr_vit",))

    stages = {stage.folder: stage for stage in plan(recipe, photos._replace(seed=first, label=rest), tmp_path)}

    spread, acr = stages["2-cams/acr_vit"], stages["2-cams/acr"]
    assert (spread.source.folder, spread.training.folder) == ("2-cams/acr", MCTFORMER)
    assert spread.records == acr.records == [*first, *rest]
    assert stages["2-cams/mctformer"].records == first
    assert stages["3-refined/acr_vit/maps"].source is spread


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("mctformer.epochs", 30, {MCTFORMER, *seeds("mctformer", "acr_vit")}),
        ("mctformer.patch_affinity", False, seeds("mctformer")),
        ("mctformer.fused_blocks", 2, seeds("mctformer")),
        ("classifier.epochs", 3, {BASELINE, ACR, *seeds("baseline", "acr", "acr_vit")}),
        ("mctformer.long_side", 100, seeds("acr_vit")),
        ("mctformer.scales", (0.5,), seeds("mctformer")),
        ("data.crop", 512, {BASELINE, ACR, *seeds("baseline", "acr", "acr_vit")}),
        ("cams.scales", (1.0,), seeds("baseline", "acr", "acr_vit")),
        # DeiT's augmentation has sizes of its own.
        ("data.resize_range", (40.0, 50.0), {BASELINE, ACR, *seeds("baseline", "acr", "acr_vit")}),
        ("engine.seed", 1, None),
    ],
)
def test_changed_setting_redoes_what_depends_on_it_of_two_classifiers(
    name: str, value: Any, expected: set[str] | None, photos: Photos, tmp_path: Path
):
    recipe = Recipe(methods=("baseline", "acr", "mctformer", "acr_vit"), refined_methods=())
    recipe = changed(recipe, {"acr.warm_start": True})
    finish(plan(recipe, photos, tmp_path), tmp_path)

    stages = plan(changed(recipe, {name: value}), photos, tmp_path)

    assert to_do(stages, tmp_path).keys() == (set(folders(stages)) if expected is None else expected)


def test_changed_fusion_redoes_what_learns_on_fused_maps(photos: Photos, tmp_path: Path):
    recipe = Recipe(methods=("mctformer", "acr"), refined_methods=())
    recipe = changed(recipe, {"acr.classifier": "mctformer", "acr.warm_start": True, "acr.reconstructor_epochs": 1})
    finish(plan(recipe, photos, tmp_path), tmp_path)

    found = to_do(plan(changed(recipe, {"mctformer.fused_blocks": 2}), photos, tmp_path), tmp_path)

    assert found.keys() == {ALONE, ACR, *seeds("mctformer", "acr")}


def test_photos_without_masks_are_not_measured(recipe: Recipe, photos: Photos, tmp_path: Path):
    unmasked = photos._replace(seed=[replace(record, label_map=None) for record in photos.seed])

    assert not [folder for folder in folders(plan(recipe, unmasked, tmp_path)) if folder.startswith("scores")]


@pytest.mark.parametrize(
    ("supervision", "num_masked", "trained"),
    [
        (("pseudo_labels", "masks"), 12, ["5-segmenter/acr"]),
        (("pseudo_labels", "masks"), 13, ["5-segmenter/acr", "5-segmenter/masks"]),
        (("masks",), 12, ["5-segmenter/masks"]),
        (("masks",), 0, []),
    ],
)
def test_segmenter_on_masks_stands_beside_another_only_where_all_photos_have_one(
    supervision: Any, num_masked: int, trained: list[str], photos: Photos, tmp_path: Path
):
    label = [*photos.label[:num_masked], *(replace(record, label_map=None) for record in photos.label[num_masked:])]
    recipe = changed(Recipe(methods=("acr",)), {"segmenter.supervision": supervision})

    stages = plan(recipe, photos._replace(label=label), tmp_path)

    assert [folder for folder in folders(stages) if folder.startswith("5-")] == trained
    assert {len(stage.records) for stage in stages if stage.folder == "5-segmenter/masks"} <= {num_masked}


def test_finished_stages_are_up_to_date(recipe: Recipe, photos: Photos, tmp_path: Path):
    assert set(to_do(plan(recipe, photos, tmp_path), tmp_path).values()) == {"not made yet"}

    finish(plan(recipe, photos, tmp_path), tmp_path)

    assert to_do(plan(recipe, photos, tmp_path), tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("cams.scales", (1.0,), seeds(*METHODS)),
        # The counts that are kept hold every threshold.
        ("cams.threshold", 0.3, set()),
        ("engine.seed", 1, {BASELINE, ALONE, PRETRAINED, ACR, *seeds(*METHODS)}),
        ("data.crop", 512, {BASELINE, ALONE, PRETRAINED, ACR, *seeds(*METHODS)}),
        ("classifier.epochs", 3, {BASELINE, ALONE, PRETRAINED, ACR, *seeds(*METHODS)}),
        ("acr.epochs", 3, {PRETRAINED, ACR, *seeds("pretrained", "acr")}),
        ("acr.classifier_loss.target", 0.1, {PRETRAINED, ACR, *seeds("pretrained", "acr")}),
        ("acr.reconstructor_rate_factor", 0.1, {ACR, *seeds("acr")}),
        ("acr.remnants.grid", 8, {ALONE, PRETRAINED, ACR, *seeds("pretrained", "acr")}),
        ("engine.precision", "bf16-mixed", {BASELINE, ALONE, PRETRAINED, ACR, *seeds(*METHODS)}),
        ("engine.compile", True, {BASELINE, ALONE, PRETRAINED, ACR, *seeds(*METHODS)}),
        ("data.num_workers", 0, set()),
        ("engine.inference_precision", "bf16-mixed", seeds(*METHODS)),
        # What it is without being named.
        ("engine.inference_precision", "32-true", set()),
        ("engine.devices", 2, set()),
        ("engine.accelerator", "cpu", set()),
    ],
)
def test_changed_setting_redoes_the_stages_that_depend_on_it(
    name: str, value: Any, expected: set[str], recipe: Recipe, photos: Photos, tmp_path: Path
):
    finish(plan(recipe, photos, tmp_path), tmp_path)

    found = to_do(plan(changed(recipe, {name: value}), photos, tmp_path), tmp_path)

    assert found.keys() == expected
    assert not expected or next(iter(found.values())).startswith(f"{name} changed from ")


def test_training_that_kept_a_setting_which_it_does_not_read_is_up_to_date(
    recipe: Recipe, photos: Photos, tmp_path: Path
):
    stages = plan(recipe, photos, tmp_path)
    pretrained = next(stage for stage in stages if stage.folder == PRETRAINED)
    # As it was written once, and all that was made of it.
    pretrained.manifest.settings["acr.reconstructor_rate_factor"] = 0.5
    for stage in stages:
        stage.manifest.inputs.update({before.folder: before.manifest.digest for before in stage.before})
    finish(stages, tmp_path)

    assert to_do(plan(recipe, photos, tmp_path), tmp_path) == {}


def test_stage_after_a_changed_one_says_so(recipe: Recipe, photos: Photos, tmp_path: Path):
    finish(plan(recipe, photos, tmp_path), tmp_path)

    found = to_do(plan(changed(recipe, {"cams.scales": (1.0,)}), photos, tmp_path), tmp_path)

    assert found["2-cams/acr"] == "cams.scales changed from [0.5, 1.0, 1.5, 2.0] to [1.0]"
    assert found["scores/seed-acr"] == "2-cams/acr changed"


def test_without_warm_start_the_baseline_may_change(recipe: Recipe, photos: Photos, tmp_path: Path):
    cold = changed(recipe, {"acr.warm_start": False, "acr.reconstructor_epochs": 0, "methods": ("baseline", "acr")})
    finish(plan(cold, photos, tmp_path), tmp_path)

    found = to_do(plan(changed(cold, {"classifier.epochs": 3}), photos, tmp_path), tmp_path)

    assert found.keys() == {BASELINE, *seeds("baseline")}


def test_without_warm_start_the_classifier_still_depends_on_what_its_reconstructor_learned_from(
    recipe: Recipe, photos: Photos, tmp_path: Path
):
    cold = changed(recipe, {"acr.warm_start": False})
    finish(plan(cold, photos, tmp_path), tmp_path)

    found = to_do(plan(changed(cold, {"classifier.epochs": 3}), photos, tmp_path), tmp_path)

    assert found.keys() == {BASELINE, ALONE, PRETRAINED, ACR, *seeds(*METHODS)}
    assert found[ACR] == f"{ALONE} changed"


def test_changed_tags_redo_everything(recipe: Recipe, photos: Photos, tmp_path: Path):
    finish(plan(recipe, photos, tmp_path), tmp_path)
    first = replace(photos.train[0], tags=(1, 2))

    found = to_do(
        plan(recipe, photos._replace(train=[first, *photos.train[1:]], seed=[first, *photos.seed[1:]]), tmp_path),
        tmp_path,
    )

    assert found.keys() == set(folders(plan(recipe, photos, tmp_path)))
    assert found[BASELINE] == "photos or tags changed"


def test_an_estimated_threshold_follows_from_the_seeds_of_a_classifier(photos: Photos, tmp_path: Path):
    recipe = changed(
        Recipe(methods=("acr", "acr_vit"), refined_methods=("acr", "acr_vit")), {"labels.threshold_source": "estimated"}
    )

    stages = {stage.folder: stage for stage in plan(recipe, photos, tmp_path)}

    for method in ("acr", "acr_vit"):
        labels = stages[f"4-pseudo-labels/{method}"]
        assert (labels.source.folder, labels.seeds.folder) == (f"3-refined/{method}/maps", "2-cams/acr")


@pytest.mark.parametrize(
    ("source", "segmented"),
    [("fixed", set()), ("estimated", {"5-segmenter/acr", "6-predictions/acr", "scores/segmenter-acr"})],
)
def test_other_photos_to_measure_train_nothing_anew_that_does_not_read_them(
    source: str, segmented: set[str], photos: Photos, tmp_path: Path
):
    recipe = changed(Recipe(methods=("acr",)), {"labels.threshold_source": source})
    photos = photos._replace(label=photos.label[:6], val=photos.val or photos.seed)
    finish(plan(recipe, photos, tmp_path), tmp_path)

    found = to_do(plan(recipe, photos._replace(seed=photos.seed[:-1]), tmp_path), tmp_path)

    of_seeds = {"2-cams/acr", "3-refined/acr/crf", "3-refined/acr/maps", "4-pseudo-labels/acr"}
    measured = {f"scores/{level}-acr" for level in ("seed", "crf", "refined", "pseudo-label")}
    assert found.keys() == of_seeds | measured | segmented
    assert found["2-cams/acr"] == "of its photos 1 no longer asked for"


def test_changed_classes_train_everything_anew(recipe: Recipe, photos: Photos, tmp_path: Path):
    recipe = changed(recipe, {"segmenter.supervision": ("masks",)})
    finish(plan(recipe, photos, tmp_path), tmp_path)

    found = to_do(plan(recipe, photos._replace(class_names=("ring", "square")), tmp_path), tmp_path)

    assert {folder: found[folder] for folder in (BASELINE, "5-segmenter/masks")} == {
        BASELINE: "classes changed", "5-segmenter/masks": "classes changed",
    }  # fmt: skip


@pytest.mark.parametrize("first", ["2-cams", "4-pseudo-labels", "6-predictions"])
def test_changed_classes_measure_anew_what_somebody_else_made_and_what_follows_from_it(
    first: str, photos: Photos, tmp_path: Path
):
    masks = photos.label[0].label_map.parent
    shutil.copytree(masks, tmp_path / first / "acr" / ("masks" if first == "6-predictions" else ""))
    if first == "2-cams":
        for path in (tmp_path / first / "acr").iterdir():
            path.rename(path.with_suffix(".npz"))
    recipe = changed(Recipe(methods=("baseline", "acr")), {"refinement.method": "none", "crf.enabled": False})
    photos = photos._replace(val=photos.seed)
    finish([stage for stage in plan(recipe, photos, tmp_path) if not stage.foreign], tmp_path)

    found = to_do(plan(recipe, photos._replace(class_names=("ring", "square")), tmp_path), tmp_path)

    own = {BASELINE, *seeds("baseline")}
    of_segmenter = {"5-segmenter/acr", "6-predictions/acr", "scores/segmenter-acr"}
    measured = {
        "2-cams": {"scores/seed-acr", "scores/pseudo-label-acr"},
        "4-pseudo-labels": {"scores/pseudo-label-acr"},
        "6-predictions": {"scores/segmenter-acr"},
    }[first]
    assert found.keys() == own | measured | (set() if first == "6-predictions" else of_segmenter)
    assert {found[folder] for folder in measured} == {"classes changed"}


def test_measurements_of_what_a_run_trained_need_no_word_of_the_classes(photos: Photos, tmp_path: Path):
    recipe = changed(
        Recipe(methods=("baseline", "acr", "acr_vit")), {"segmenter.supervision": ("pseudo_labels", "masks")}
    )

    measured = [stage for stage in plan(recipe, photos._replace(val=photos.seed), tmp_path) if stage.level]

    # Else run folders of older versions would be measured anew.
    assert {name for stage in measured for name in stage.manifest.inputs} == {
        "photos", "label maps", *(before.folder for stage in measured for before in stage.before),
    }  # fmt: skip


def test_seeds_after_the_crf_are_of_all_photos_where_labels_are_made_of_them(photos: Photos, tmp_path: Path):
    first, rest = photos.seed[:3], photos.seed[3:]
    recipe, photos = Recipe(methods=("acr",)), photos._replace(seed=first, label=rest)

    def sharpened(method: str) -> Sequence[Record]:
        stages = plan(changed(recipe, {"refinement.method": method}), photos, tmp_path)
        return next(stage.records for stage in stages if stage.kind == "crf")

    assert sharpened("irn") == first
    assert sharpened("none") == [*first, *rest]


def test_changed_masks_redo_the_scores_and_the_segmenter_that_learned_from_them(
    recipe: Recipe, photos: Photos, tmp_path: Path
):
    recipe = changed(recipe, {"segmenter.supervision": ("masks",)})
    label_map = tmp_path / "mask.png"
    shutil.copy(photos.seed[0].label_map, label_map)
    records = [replace(photos.seed[0], label_map=label_map), *photos.seed[1:]]
    masked = photos._replace(seed=records, label=records)
    finish(plan(recipe, masked, tmp_path), tmp_path)

    label_map.write_bytes(b"another mask")

    assert to_do(plan(recipe, masked, tmp_path), tmp_path).keys() == {*scores(*METHODS), "5-segmenter/masks"}


def test_photos_without_tags_concern_the_baseline_alone(photos: Photos, tmp_path: Path):
    cold = Recipe(methods=("baseline", "acr"), refined_methods=())
    finish(plan(cold, photos, tmp_path), tmp_path)

    found = to_do(plan(cold, photos._replace(train=photos.train[:-1]), tmp_path), tmp_path)

    assert photos.train[-1].tags == ()
    assert found.keys() == {BASELINE, *seeds("baseline")}


def test_changed_weights_file_redoes_the_trainings(photos: Photos, tmp_path: Path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"1")
    recipe = changed(Recipe(methods=("baseline",), refined_methods=()), {"classifier.weights": str(weights)})
    finish(plan(recipe, photos, tmp_path), tmp_path)

    assert to_do(plan(recipe, photos, tmp_path), tmp_path) == {}
    weights.write_bytes(b"other weights")
    assert to_do(plan(recipe, photos, tmp_path), tmp_path)[BASELINE] == "classifier.weights changed"

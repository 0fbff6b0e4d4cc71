import re
from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.config import (
    CamSettings,
    ClassifierSettings,
    DataSettings,
    OptimizerSettings,
    Recipe,
    RemnantSettings,
    SegmenterSettings,
)
from tag2mask.recipes import load_recipe, save_recipe, settings_help
from tag2mask.recipes.paths import with_absolute_paths
from tag2mask.recipes.recipe_files import shipped_recipes
from tag2mask.runs.contradictions import unread_label_settings
from tag2mask.usage import UsageError


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_loads_and_comes_back_the_same(name: str, tmp_path: Path):
    recipe = load_recipe(name)

    save_recipe(tmp_path / "config.yaml", recipe)

    assert load_recipe(str(tmp_path / "config.yaml")) == replace(with_absolute_paths(recipe), extends=None)


def test_folder_of_the_photos_is_kept_so_that_it_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    save_recipe(tmp_path / "config.yaml", Recipe(data=DataSettings(root=Path("photos"))))

    assert load_recipe(str(tmp_path / "config.yaml")).data.root == tmp_path / "photos"


def test_lists_and_weights_are_kept_so_that_they_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    # A file that is called as a split is, and a list that lies in the folder of the photos.
    for name in ("some.txt", "train", "list", "photos/val.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    recipe = Recipe(
        data=DataSettings(
            Path("photos"), train_split="some.txt", seed_split="train", label_split="./list", val_split="val.txt"
        ),
        classifier=ClassifierSettings(weights="nets/resnet38.params"),
        segmenter=SegmenterSettings(weights="embedded"),
    )

    save_recipe(tmp_path / "config.yaml", recipe)

    kept = load_recipe(str(tmp_path / "config.yaml"))
    assert (kept.data.train_split, kept.data.seed_split) == (str(tmp_path / "some.txt"), "train")
    assert (kept.data.label_split, kept.data.val_split) == (str(tmp_path / "list"), "val.txt")
    assert kept.classifier.weights == str(tmp_path / "nets/resnet38.params")
    assert (kept.mctformer.weights, kept.refinement.weights, kept.segmenter.weights) == ("timm", "timm", "embedded")


def test_recipes_of_the_released_code_and_of_the_paper_are_shipped():
    assert {"voc12_resnet38", "voc12_resnet38_paper", "coco14_resnet38", "animals_lite0"} <= shipped_recipes().keys()


def test_refinement_is_that_of_rib_and_by_the_text_that_of_irn():
    def numbers(name: str) -> tuple[float, ...]:
        recipe = load_recipe(name)
        refinement = recipe.refinement
        return refinement.foreground, refinement.uncertain, refinement.power, recipe.labels.threshold

    assert numbers("voc12_resnet38") == (0.35, 0.17, 1.3, 0.27)
    assert numbers("coco14_resnet38") == (0.35, 0.17, 1.3, 0.22)
    assert numbers("voc12_resnet38_paper") == (0.30, 0.05, 1, 0.25)


@pytest.mark.parametrize("name", ["voc12_acr_vit", "voc12_mctformer", "coco14_mctformer"])
def test_spread_seeds_have_the_thresholds_that_were_measured_on_such(name: str):
    def thresholds(name: str) -> tuple[object, ...]:
        recipe = load_recipe(name)
        refinement = recipe.refinement
        return (
            recipe.cams.threshold, recipe.crf.background, refinement.foreground, refinement.uncertain,
            recipe.labels.threshold_source,
        )  # fmt: skip

    assert thresholds(name) == thresholds("animals_vit")


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_sets_nothing_of_labels_that_is_not_read(name: str):
    assert unread_label_settings(load_recipe(name)) == ""


def test_coco_recipe_takes_all_photos_and_learns_as_long_as_voc_does():
    voc, coco = load_recipe("voc12_resnet38"), load_recipe("coco14_resnet38")

    assert (coco.data.layout, coco.data.train_split, coco.data.val_split) == ("coco", "train2014", "val2014")
    assert coco.acr == replace(voc.acr, epochs=5, remnants=replace(voc.acr.remnants, probability_step=-0.1))


def test_what_a_recipe_does_not_say_has_its_default(tmp_path: Path):
    assert load_recipe(written(tmp_path, "acr: {epochs: 40}")) == Recipe()


def test_recipe_of_comments_alone_is_the_default_settings(tmp_path: Path):
    assert load_recipe(written(tmp_path, "# nothing yet\n")) == Recipe()


def test_sections_of_a_recipe_become_settings(tmp_path: Path):
    text = "methods: [acr]\ndata: {root: /photos, resize_range: [0.5, 1.3]}\nacr: {remnants: {probability: 0.4}}\n"

    recipe = load_recipe(written(tmp_path, text))

    assert recipe.methods == ("acr",)
    assert recipe.data == DataSettings(root=Path("/photos"), resize_range=(0.5, 1.3))
    assert recipe.acr.remnants == RemnantSettings(probability=0.4)


def test_flags_lie_on_top(tmp_path: Path):
    path = written(tmp_path, "acr: {epochs: 3, batch_size: 2}\n")

    recipe = load_recipe(
        path, ["--acr.epochs", "10", "--cams.scales=[1.0]", "--acr.remnants.probability_step", "-0.02"]
    )

    assert (recipe.acr.epochs, recipe.acr.batch_size) == (10, 2)
    assert recipe.cams == CamSettings(scales=(1.0,))
    assert recipe.acr.remnants.probability_step == -0.02


def test_flags_from_python_may_be_numbers_and_paths(tmp_path: Path):
    path = Path(written(tmp_path, "acr: {epochs: 3}"))
    flags = ["--acr.epochs", 10, "--data.root", tmp_path, "--engine.compile", True, "--cams.scales", [0.5, 2]]

    recipe = load_recipe(path, flags)  # type: ignore[arg-type]

    words = ["--acr.epochs", "10", "--data.root", str(tmp_path), "--engine.compile=true", "--cams.scales", "0.5,2"]
    assert recipe == load_recipe(str(path), words)
    with pytest.raises(UsageError, match=r"^no recipe .*demmo: neither a file nor .*$"):
        load_recipe(Path("demmo"))


@pytest.mark.parametrize(
    ("flags", "methods", "scales", "refined"),
    [
        (["--methods", "acr"], ("acr",), (1.0,), ("acr",)),
        (["--methods=baseline,acr", "--cams.scales", "0.5, 2"], ("baseline", "acr"), (0.5, 2.0), ("acr",)),
        (["--methods", "[acr]", "--cams.scales=[2]", "--refined_methods", "null"], ("acr",), (2.0,), None),
        (["--refined_methods", "[]"], ("baseline", "acr"), (1.0,), ()),
    ],
)
def test_list_on_the_command_line_needs_no_brackets(
    flags: list[str], methods: object, scales: object, refined: object, tmp_path: Path
):
    recipe = load_recipe(written(tmp_path, "cams: {scales: [1]}\nrefined_methods: [acr]\n"), flags)

    assert (recipe.methods, recipe.cams.scales, recipe.refined_methods) == (methods, scales, refined)


def test_tilde_of_a_path_is_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    written(tmp_path, "data: {root: ~/photos, train_split: ~/some.txt}", "base.yaml")
    mine = written(tmp_path, "extends: ~/base.yaml\nclassifier: {weights: ~/nets/a.pth}\n")

    recipe = load_recipe("~/mine.yaml", ["--segmenter.weights=~/b.pth", "--refinement.weights", "a~b"])

    assert recipe == load_recipe(mine, [f"--segmenter.weights={tmp_path}/b.pth", "--refinement.weights", "a~b"])
    assert (recipe.data.root, recipe.data.train_split) == (tmp_path / "photos", str(tmp_path / "some.txt"))
    assert (recipe.classifier.weights, recipe.segmenter.weights) == (f"{tmp_path}/nets/a.pth", f"{tmp_path}/b.pth")
    assert recipe.refinement.weights == "a~b"
    # Alone it is null in YAML, but not to who types it.
    assert load_recipe(mine, ["--data.root=~"]).data.root == tmp_path


def test_folder_in_the_place_of_a_recipe_is_told_from_a_misspelt_name(tmp_path: Path):
    with pytest.raises(UsageError, match=r"found a folder, expected a file, such as the config") as error:
        load_recipe(str(tmp_path))

    assert str(error.value).endswith(f"; --data.root {tmp_path} names photos")


def test_recipe_extends_another_one_beside_it(tmp_path: Path):
    written(tmp_path, "acr: {epochs: 3, batch_size: 2, classifier_optimizer: {momentum: 0.1}}\n", "base.yaml")
    path = written(tmp_path, "extends: base.yaml\nacr: {epochs: 5, classifier_optimizer: {learning_rate: 0.5}}\n")

    recipe = load_recipe(path)

    assert (recipe.acr.epochs, recipe.acr.batch_size) == (5, 2)
    assert recipe.acr.classifier_optimizer == OptimizerSettings(momentum=0.1, learning_rate=0.5)


def test_paper_recipe_differs_from_the_released_one_where_the_text_does():
    of_code, of_text = load_recipe("voc12_resnet38"), load_recipe("voc12_resnet38_paper")
    released, paper = of_code.acr, of_text.acr

    assert (released.masking, paper.masking) == ("upsampled", "feature_grid")
    assert (released.image_space, paper.image_space) == ("normalised", "unit")
    assert released.reconstructor_loss.whole == 0.2
    assert (paper.reconstructor_loss.classification, paper.reconstructor_loss.whole) == (0, 0)
    assert paper.reconstructor_loss.target == paper.reconstructor_loss.non_target == 0.5
    assert (paper.classifier_loss.target_mask, paper.classifier_loss.non_target_mask) == ("soft", "soft")
    assert paper.remnants.probability_step == 0
    assert released.reconstructor_optimizer.momentum == 0.0005
    assert paper.epochs == released.epochs == 40
    # Of momentum and decay the text says nothing.
    assert of_text.classifier.optimizer == of_code.classifier.optimizer
    assert paper.classifier_optimizer == released.classifier_optimizer
    assert paper.reconstructor_optimizer == released.reconstructor_optimizer


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("acr: {epoch: 3}", "no setting is called acr.epoch; did you mean acr.epochs?"),
        ("acr: {remnants: {grids: 3}}", "no setting is called acr.remnants.grids; did you mean acr.remnants.grid?"),
        ("acr: {epochs: many}", "mine.yaml: acr.epochs is many, expected a whole number above 0"),
        ("acr: {epochs: 0}", "acr.epochs is 0, expected a whole number above 0"),
        ("acr: {epochs: null}", "acr.epochs is null, expected a whole number above 0"),
        ("cams: {threshold: 1.5}", "cams.threshold is 1.5, expected a number from 0 to 1"),
        ("data: {root: 5}", "data.root is 5, expected a path or null"),
        ("acr: 3", "mine.yaml: acr is 3, expected settings such as acr.epochs"),
        ("acr: null", "acr is null, expected settings such as acr.epochs"),
        ("acr: []", r"acr is \[\], expected settings such as acr.epochs"),
        ("classifier: {optimizer: null}", "optimizer is null, expected settings such as classifier.optimizer.name"),
        ("acr:\n  epochs: 3\n  epochs: 4\n", "mine.yaml line 3: found epochs again, expected it once"),
        ("cams: {}\nacr: {}\ncams: {}\n", "mine.yaml line 3: found cams again, expected it once"),
        ("acr: {masking: sideways}", "sideways"),
        ("methods: [baseline, acrobat]", "acrobat"),
        (
            "data: {resize_range: [3]}",
            r"resize_range is \[3\], expected a list of 2 in brackets, each a number above 0",
        ),
        ("[1, 2]", "found list, expected sections"),
        ("acr: {epochs: 3", "not YAML"),
        ("extends: mine.yaml", "extends itself"),
        ("extends: voc13_resnet38", "no recipe voc13_resnet38: .*did you mean voc12_resnet38?"),
    ],
)
def test_recipe_that_cannot_be_understood_is_refused_in_one_line(text: str, told: str, tmp_path: Path):
    with pytest.raises(UsageError, match=told.replace("?", r"\?")) as error:
        load_recipe(written(tmp_path, text))

    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--acr.epoch", "3"], "command line: no setting is called acr.epoch; did you mean acr.epochs?"),
        (["--acr.epochs", "-1"], "command line: acr.epochs is -1, expected a whole number above 0"),
        (["--acr.epochs", "2.0"], "command line: acr.epochs is 2.0, expected a whole number above 0"),
        (["--cams.scales", "1", "--acr.epochs=2.0"], "acr.epochs is 2.0, expected a whole number above 0"),
        (["--acr.epochs", "1e3"], "command line: acr.epochs is 1e3, expected a whole number above 0"),
        (["--acr.epochs"], "--acr.epochs has no value, expected a whole number above 0"),
        (["--acr.epochs", "--data.root", "x"], "--acr.epochs has no value, expected a whole number above 0"),
        (["--methods", "acrobat"], "methods is [acrobat], expected a list in brackets, each one of baseline"),
        (["--methods", "[acr"], "methods is '[acr', expected a list in brackets, each one of baseline"),
        (["--refined_methods", ""], "--refined_methods has no value, expected a list in brackets, each one of"),
        (["--data.val_split="], "--data.val_split has no value, expected text or null"),
        (["--data", "{root: 5}"], "command line: data.root is 5, expected a path or null"),
        (["--acr", "3"], "command line: acr is 3, expected settings such as acr.epochs"),
        (["stray"], "command line: found stray, expected a setting such as --acr.epochs"),
    ],
)
def test_flag_that_cannot_be_understood_is_refused_in_one_line(flags: list[str], told: str, tmp_path: Path):
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        load_recipe(written(tmp_path, "acr: {epochs: 3}"), flags)

    assert "\n" not in str(error.value)


def test_every_setting_has_help():
    told = settings_help()

    for name in ("--acr.remnants.probability", "--data.root", "--engine.devices", "--classifier.optimizer.momentum"):
        assert name in told
    assert "Probability q of Eq. (8)" in " ".join(told.split())

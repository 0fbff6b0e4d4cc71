from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.config import DataSettings, Recipe
from tag2mask.data.read import read_data_set
from tag2mask.paper_tables import PaperScores, Table, TableRow, load_table, row_recipes, shipped_tables
from tag2mask.recipes import load_recipe
from tag2mask.recipes.recipe_files import shipped_recipes
from tag2mask.runs.plan import plan
from tag2mask.runs.stages import Photos, photos_of
from tag2mask.usage import UsageError

# Read off the tables of the paper: mIoU, precision and recall.
PAPER = {
    "table1": {
        "baseline": (48.4,),
        "pre-trained": (52.9,),
        "pre-trained, SRF": (54.6,),
        "adversarial": (55.8,),
        "adversarial, SRF": (60.3,),
    },
    "table2": {
        "classification only": (48.4, 61, 72),
        "with target term": (53.4, 73, 68),
        "with non-target term": (51.5, 58, 77),
        "with both": (60.3, 75, 76),
    },
    "table3": {"seed": (60.3,), "with CRF": (65.9,), "refined mask": (72.3,)},
    "table3_vit": {"seed of MCTformer": (61.7,), "seed with ViT": (65.5,), "refined mask with ViT": (70.9,)},
    "table4": {"trained on pseudo-labels": (71.9,), "trained on true masks": ()},
    "table4_vit": {"trained on pseudo-labels with ViT": (72.4,), "trained on true masks": ()},
}
ROWS = {
    ("table1", "baseline"): ("baseline", "seed"),
    ("table1", "pre-trained"): ("pretrained", "seed"),
    ("table1", "pre-trained, SRF"): ("pretrained", "seed"),
    ("table1", "adversarial"): ("acr", "seed"),
    ("table1", "adversarial, SRF"): ("acr", "seed"),
    ("table2", "classification only"): ("baseline", "seed"),
    ("table2", "with target term"): ("acr", "seed"),
    ("table2", "with non-target term"): ("acr", "seed"),
    ("table2", "with both"): ("acr", "seed"),
    ("table3", "seed"): ("acr", "seed"),
    ("table3", "with CRF"): ("acr", "crf"),
    ("table3", "refined mask"): ("acr", "refined"),
    ("table3_vit", "seed of MCTformer"): ("mctformer", "seed"),
    ("table3_vit", "seed with ViT"): ("acr_vit", "seed"),
    ("table3_vit", "refined mask with ViT"): ("acr_vit", "refined"),
    ("table4", "trained on pseudo-labels"): ("acr", "segmenter"),
    ("table4", "trained on true masks"): ("masks", "segmenter"),
    ("table4_vit", "trained on pseudo-labels with ViT"): ("acr_vit", "segmenter"),
    ("table4_vit", "trained on true masks"): ("masks", "segmenter"),
}
MINE = "title: Mine\nsource: nowhere\nrows:\n"


def recipe_of(table: str, row: str, recipe: str = "voc12_resnet38", *flags: str) -> Recipe:
    loaded = load_table(table)
    (found,) = (each for each in loaded.rows if each.name == row)
    (made,) = row_recipes(replace(loaded, rows=(found,)), recipe, flags)
    return made


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def photos(shapes: Path) -> Photos:
    settings = DataSettings(root=shapes, train_split="all", seed_split="all", val_split="all")
    return photos_of(read_data_set(settings), settings)


def test_tables_of_the_paper_are_shipped():
    assert shipped_tables().keys() == PAPER.keys()


@pytest.mark.parametrize("name", PAPER)
def test_figures_are_those_of_the_paper(name: str):
    shown = {}
    for row in load_table(name).rows:
        found = (row.paper.miou, row.paper.precision, row.paper.recall) if row.paper else ()
        shown[row.name] = tuple(round(100 * value, 1) for value in found if value is not None)

    assert shown == PAPER[name]


def test_thresholds_of_one_recipe_serve_all_rows_of_a_table():
    for name in shipped_tables():
        spread = {row.method == "acr_vit" for row in load_table(name).rows if row.level != "seed" and row.paper}
        assert len(spread) < 2, name


@pytest.mark.parametrize(("place", "shown"), ROWS.items())
def test_row_shows_the_score_of_its_method_and_level(place: tuple[str, str], shown: tuple[str, str]):
    (row,) = (row for row in load_table(place[0]).rows if row.name == place[1])

    assert (row.method, row.level) == shown


@pytest.mark.parametrize("name", shipped_tables())
@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_row_of_every_table_can_be_planned_with_every_recipe(name: str, recipe: str, photos: Photos):
    table = load_table(name)
    if name.endswith("_vit") and load_recipe(recipe).acr.classifier == "mctformer":
        pytest.skip("seeds that are spread already are not spread again")

    for row, own in zip(table.rows, row_recipes(table, recipe), strict=True):
        stages = plan(own, photos, Path("nowhere"))
        measured = [(stage.method, stage.level) for stage in stages if stage.kind == "scores"]
        assert (row.method, row.level) in measured, row.name


@pytest.mark.parametrize("row", ["pre-trained", "adversarial"])
def test_rows_of_table_1_differ_by_the_remnants_alone(row: str):
    without, fed = recipe_of("table1", row), recipe_of("table1", f"{row}, SRF")

    assert (without.acr.remnants.enabled, fed.acr.remnants.enabled) == (False, True)
    assert without.methods == fed.methods == ("pretrained" if row == "pre-trained" else "acr",)
    assert without.acr.classifier_loss == load_recipe("voc12_resnet38").acr.classifier_loss
    assert without.refined_methods == without.segmenter.supervision == ()


def test_reconstructor_of_the_pretrained_rows_learns_as_long_as_the_classifier_where_the_recipe_gives_no_number():
    assert load_recipe("voc12_resnet38").acr.reconstructor_epochs == 0
    assert recipe_of("table1", "pre-trained").acr.reconstructor_epochs == 40
    assert recipe_of("table1", "pre-trained", "animals_lite0").acr.reconstructor_epochs == 2
    assert recipe_of("table1", "adversarial").acr.reconstructor_epochs == 0


def test_rows_of_table_2_leave_out_a_term_each():
    weights = {}
    table = load_table("table2")
    for row, recipe in zip(table.rows, row_recipes(table, "voc12_resnet38"), strict=True):
        if row.method == "acr":
            loss = recipe.acr.classifier_loss
            weights[row.name] = (loss.classification, loss.target, loss.non_target)

    assert weights["with target term"] == (1.0, 0.8, 0)
    assert weights["with non-target term"] == (1.0, 0, 0.3)
    assert weights["with both"] == (1.0, 0.8, 0.3)


def test_segmenter_is_trained_in_table_4_alone():
    assert recipe_of("table3", "refined mask").segmenter.supervision == ()
    assert recipe_of("table4", "trained on pseudo-labels").segmenter.supervision == ("pseudo_labels",)
    twin = recipe_of("table4", "trained on true masks")
    assert (twin.methods, twin.refined_methods, twin.segmenter.supervision) == ((), (), ("masks",))


def test_flags_change_the_recipe_and_rows_change_the_flags():
    recipe = recipe_of("table1", "adversarial", "demo", "--acr.epochs=7", "--acr.remnants.enabled=true")

    assert recipe.acr.epochs == 7
    assert not recipe.acr.remnants.enabled


def test_table_of_ones_own_is_read(tmp_path: Path):
    text = f"{MINE}  - {{name: 'A, b (c)', method: acr, level: crf, settings: {{cams: {{scales: [1, 2]}}}}}}\n"

    table = load_table(written(tmp_path, text))

    row = TableRow("A, b (c)", "acr", "crf", {"cams": {"scales": [1, 2]}}, None)
    assert table == Table("mine", "Mine", "nowhere", (row,))
    assert row.folder == "a-b-c"
    (recipe,) = row_recipes(table, "demo")
    assert recipe.cams.scales == (1.0, 2.0)
    assert recipe.refined_methods == ("acr",)


def test_figures_of_a_paper_are_optional_but_miou(tmp_path: Path):
    text = f"{MINE}  - {{name: a, method: acr, level: seed, paper: {{miou: 0.5, recall: 0.25}}}}\n"

    assert load_table(written(tmp_path, text)).rows[0].paper == PaperScores(0.5, None, 0.25)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("titel: x\nrows: []", "found titel, expected title, source, rows; did you mean title?"),
        ("title: x\nsource: y", "rows is missing"),
        ("title: x\nsource: y\nrows: []", "rows is [], expected a list of rows"),
        ("title: x\nsource: y\nrows: [5]", "row 1: found int, expected names with values"),
        ("title: {x", "not YAML"),
        (f"{MINE}  - {{name: a, methd: acr, level: seed}}", "row 1: found methd, expected name, method, level"),
        (f"{MINE}  - {{name: a, method: acr}}", "row 1: level is missing"),
        (f"{MINE}  - {{name: a, method: arc, level: seed}}", "row 1 (a): method is 'arc', expected one of baseline"),
        (f"{MINE}  - {{name: a, method: acr, level: sead}}", "row 1 (a): level is 'sead', expected one of seed"),
        (f"{MINE}  - {{name: a, method: masks, level: seed}}", "row 1 (a): method masks has no level but segmenter"),
        (
            f"{MINE}  - {{name: a, method: acr, level: seed, settings: 3}}",
            "row 1 (a): settings is 3, expected sections",
        ),
        (
            f"{MINE}  - {{name: a, method: acr, level: seed, settings: {{methods: [baseline]}}}}",
            "row 1 (a): found methods in settings, where it does nothing; expected method and level",
        ),
        (
            f"{MINE}  - {{name: a, method: acr, level: seed, settings: {{segmenter: {{supervision: [masks]}}}}}}",
            "row 1 (a): found segmenter.supervision in settings, where it does nothing",
        ),
        (
            f"{MINE}  - {{name: a, method: acr, level: seed, settings: {{extends: voc12_resnet38}}}}",
            "row 1 (a): found extends in settings, where it does nothing",
        ),
        (f"{MINE}  - {{name: a, method: acr, level: seed, paper: {{miou: 48}}}}", "paper: miou is 48, expected 0 to 1"),
        (f"{MINE}  - {{name: a, method: acr, level: seed, paper: {{recall: 0.4}}}}", "paper: miou is missing"),
        (
            f"{MINE}  - {{name: a b, method: acr, level: seed}}\n  - {{name: A-b, method: acr, level: crf}}",
            "row 'a b': expected a name of its own",
        ),
    ],
)
def test_table_that_cannot_be_understood_is_refused_in_one_line(text: str, told: str, tmp_path: Path):
    with pytest.raises(UsageError) as error:
        load_table(written(tmp_path, text))

    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_table_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"no table tabel1: neither a file nor one of table1, .*did you mean table1\?"):
        load_table("tabel1")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("{acr: {remnant: {enabled: false}}}", "mine, row a: no setting is called acr.remnant.enabled; did you mean"),
        ("{acr: {epochs: -1}}", "mine, row a: "),
        ("{acr: {epochs: 2023-06-18}}", "2023-06-18"),
        ("{cams: {scales: !!set {1, 2}}}", "mine, row a: "),
        ("{engine: {precision: bf16-mixed}}", "mine, row a: changes engine, which all rows share"),
        ("{data: {root: elsewhere}}", "mine, row a: changes data.root, which all rows share"),
    ],
)
def test_settings_of_a_row_that_cannot_be_taken_are_refused_in_one_line(settings: str, told: str, tmp_path: Path):
    text = f"{MINE}  - {{name: a, method: acr, level: seed, settings: {settings}}}\n"
    table = load_table(written(tmp_path, text))

    with pytest.raises(ValueError, match="mine, row a") as error:
        row_recipes(table, "demo")

    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_mistake_in_a_flag_is_not_told_of_a_row():
    with pytest.raises(UsageError, match=r"^command line: no setting is called acr.epoch;"):
        recipe_of("table1", "baseline", "demo", "--acr.epoch=3")


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("--methods=[acr]",), "methods"),
        (("--acr.epochs", "3", "--refined_methods", "[]"), "refined_methods"),
        (("--segmenter.supervision", "masks"), "segmenter.supervision"),
        (("--segmenter", "{supervision: [masks]}"), "segmenter.supervision"),
    ],
)
def test_flag_that_every_row_decides_itself_is_refused(flags: tuple[str, ...], name: str):
    with pytest.raises(UsageError, match=f"^command line: found --{name}, which does nothing in a table; expected"):
        recipe_of("table1", "baseline", "demo", *flags)


def test_value_that_is_called_as_such_a_flag_is_taken():
    assert recipe_of("table1", "baseline", "demo", "--data.train_split", "methods").data.train_split == "methods"

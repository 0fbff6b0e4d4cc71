"""Tables run on drawn shapes with networks of a few channels."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_process import kill_when, on_two_devices

from tag2mask.cams.store import stored_names
from tag2mask.report.tables import read_scores
from tag2mask.runs.folder import refuse_foreign_tables

# Both begin with the baseline; the second one feeds no remnants.
TABLE = """
title: Two rows
source: a paper
rows:
  - {name: plain, method: baseline, level: seed, paper: {miou: 0.484}}
  - {name: against each other, method: acr, level: seed, settings: {acr: {remnants: {enabled: false}}}}
"""
SHORT = ("--classifier.epochs", 1, "--acr.epochs", 1)
FIRST, SECOND = "seed-4242/two/plain", "seed-4242/two/against-each-other"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "two.yaml"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="module")
def finished(tag2mask: Callable, table: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the table with one seed, finished, and what was told; copy it before you change it."""
    run = tmp_path_factory.mktemp("tables") / "run"
    outcome = tag2mask("table", table, tiny_recipe, "--run", run, *SHORT)
    assert outcome.status == 0, outcome.err
    (run / "told.txt").write_text(outcome.err + outcome.out)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished table that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def weights(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}


def mious(run: Path) -> dict[str, dict[str, float]]:
    """Row to seed to mIoU, as the table has it."""
    rows = json.loads((run / "two.json").read_text())["rows"]
    return {row["name"]: {seed: score["miou"] for seed, score in row["scores"].items()} for row in rows}


def test_what_rows_have_in_common_is_done_once(finished: Path):
    told = (finished / "told.txt").read_text()
    baseline = "1-classifier/baseline/classifier.safetensors"

    assert f"1-classifier/baseline: taken from {finished / FIRST}" in told
    assert told.count("1-classifier/baseline: epoch 1 of 1") == 1
    assert (finished / FIRST / baseline).samefile(finished / SECOND / baseline)


def test_rows_do_only_what_their_score_needs(finished: Path):
    stages = {
        row: {path.parent.relative_to(finished / row).as_posix() for path in (finished / row).rglob("manifest.json")}
        for row in (FIRST, SECOND)
    }

    assert stages[FIRST] == {"1-classifier/baseline", "2-cams/baseline", "scores/seed-baseline"}
    assert stages[SECOND] == {
        "1-classifier/baseline", "1-classifier/reconstructor", "1-classifier/acr", "2-cams/acr", "scores/seed-acr",
    }  # fmt: skip


def test_rows_give_what_runs_of_their_own_give(finished: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    flags = (*SHORT, "--methods", "[acr]", "--acr.remnants.enabled", "false")

    outcome = tag2mask("run", tiny_recipe, "--run", tmp_path / "alone", *flags)

    assert outcome.status == 0, outcome.err
    assert weights(tmp_path / "alone") == weights(finished / SECOND)
    best, _ = read_scores(tmp_path / "alone" / "scores.json")
    assert mious(finished)["against each other"] == {"4242": best.miou}


def test_table_is_printed_and_written_with_the_papers_figures(finished: Path):
    told = (finished / "told.txt").read_text()
    plain = f"{100 * mious(finished)['plain']['4242']:.1f}"

    assert f"│ plain              │ {plain} │  48.4 │ 1 of 1 │" in told
    assert f"| plain | {plain} | 48.4 | 1 of 1 |" in (finished / "two.md").read_text()
    assert told.splitlines()[-1] == f"results: {finished / 'two'}.md, .json and .png"
    assert (finished / "two.png").exists()


def test_two_processes_give_the_table_of_one(finished: Path, table: Path, tiny_recipe: Path, tmp_path: Path):
    run = tmp_path / "run"

    done = on_two_devices("table", table, tiny_recipe, "--run", run, *SHORT)

    assert done.returncode == 0, done.stderr
    for name, scores in mious(finished).items():
        assert mious(run)[name] == pytest.approx(scores, abs=1e-3)
    for folder in (f"{FIRST}/2-cams/baseline", f"{SECOND}/2-cams/acr"):
        assert stored_names(run / folder) == stored_names(finished / folder)
    # The first process alone tells and writes.
    assert done.stderr.count("two 2/2, against each other, seed 4242") == 1
    assert done.stdout.splitlines()[-1] == f"results: {run / 'two'}.md, .json and .png"
    assert done.stdout.count("results: ") == 1


def test_row_whose_scores_are_gone_is_measured_again(run: Path, tag2mask: Callable, table: Path, tiny_recipe: Path):
    before = mious(run)
    (run / FIRST / "scores.json").unlink()

    outcome = tag2mask("table", table, tiny_recipe, "--run", run, *SHORT)

    assert outcome.status == 0, outcome.err
    assert ": epoch 1 of 1" not in outcome.err
    assert mious(run) == before


def test_further_seed_is_added_to_those_that_are_done(run: Path, tag2mask: Callable, table: Path, tiny_recipe: Path):
    before = mious(run)

    outcome = tag2mask("table", table, tiny_recipe, "--run", run, "--seeds", 2, *SHORT)

    assert f"two 1/4, plain, seed 4242: {run / FIRST} is done" in outcome.err
    assert outcome.err.count("1-classifier/acr: epoch 1 of 1") == 1
    after = mious(run)
    assert {name: scores.keys() for name, scores in after.items()} == {name: {"4242", "4243"} for name in before}
    assert all(after[name]["4242"] == before[name]["4242"] for name in before)
    assert len(set(after["plain"].values())) == 2
    assert "± " in (run / "two.md").read_text()

    one_alone = tag2mask("table", table, tiny_recipe, "--run", run, *SHORT)

    assert "two 2/2, against each other, seed 4242" in one_alone.err
    assert mious(run) == after
    assert "standard deviation over random seeds 4242, 4243" in (run / "two.md").read_text()


def test_seed_of_other_settings_or_half_done_is_not_added(
    run: Path, tag2mask: Callable, table: Path, tiny_recipe: Path
):
    shutil.copytree(run / FIRST, run / FIRST.replace("4242", "4243"))
    shutil.copytree(run / "seed-4242", run / "seed-5")

    outcome = tag2mask("table", table, tiny_recipe, "--run", run, *SHORT)

    assert outcome.status == 0, outcome.err
    assert {seed for scores in mious(run).values() for seed in scores} == {"4242"}
    assert "1 of 1" in (run / "two.md").read_text()


def test_table_that_fails_does_not_keep_scores_of_other_settings(
    run: Path, tag2mask: Callable, table: Path, tiny_recipe: Path
):
    flags = (*SHORT, "--classifier.optimizer.learning_rate", 1e12)

    outcome = tag2mask("table", table, tiny_recipe, "--run", run, *flags)

    assert outcome.status == 1
    assert mious(run) == {"plain": {}, "against each other": {}}
    assert "| plain | not done | 48.4 | 0 of 1 |" in (run / "two.md").read_text()


def test_stage_without_manifest_in_the_way_of_one_to_take_over_is_refused(
    run: Path, tag2mask: Callable, table: Path, tiny_recipe: Path
):
    stage = run / SECOND / "1-classifier/baseline"
    (stage / "manifest.json").unlink()
    (run / SECOND / "report.html").unlink()

    outcome = tag2mask("table", table, tiny_recipe, "--run", run, *SHORT)

    assert outcome.status == 1
    assert outcome.err.splitlines()[-1] == (
        f"tag2mask: two, row against each other: {stage}: found files but no manifest.json: "
        "delete the folder to redo this stage"
    )


def test_killed_table_tells_what_is_missing_and_goes_on_to_the_same_scores(
    finished: Path, table: Path, tiny_recipe: Path, tmp_path: Path, tag2mask: Callable
):
    run = tmp_path / "run"
    arguments = ("table", table, tiny_recipe, "--run", run, *SHORT)

    kill_when((run / SECOND / "1-classifier/acr/manifest.json").exists, *arguments, told=tmp_path / "told.txt")

    assert "| against each other | not done | - | 0 of 1 |" in (run / "two.md").read_text()

    outcome = tag2mask(*arguments)

    assert f"{run / FIRST} is done" in outcome.err
    assert "1-classifier/baseline: epoch" not in outcome.err
    assert mious(run) == mious(finished)


def test_table_that_was_killed_before_its_first_run_can_be_begun_again(table: Path, tiny_recipe: Path, tmp_path: Path):
    run = tmp_path / "run"

    kill_when((run / "two.json").exists, "table", table, tiny_recipe, "--run", run, told=tmp_path / "told.txt")

    refuse_foreign_tables(run)


def test_other_table_in_the_same_folder_takes_what_it_has_in_common(
    run: Path, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    other = tmp_path / "other.yaml"
    other.write_text("title: One row\nsource: none\nrows: [{name: again, method: baseline, level: seed}]\n")

    outcome = tag2mask("table", other, tiny_recipe, "--run", run, *SHORT)

    assert outcome.err.count(f"taken from {run / 'seed-4242/two'}") == 3
    assert {"two.json", "other.json"} <= {path.name for path in run.iterdir()}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("[{name: a, method: pretrained, level: seed}, {name: b, method: acr, level: sead}]", "level is 'sead'"),
        (
            "[{name: a, method: baseline, level: seed},"
            " {name: b, method: acr, level: seed, settings: {acr: {epoch: 3}}}]",
            "mine, row b: no setting is called acr.epoch; did you mean acr.epochs?",
        ),
        (
            "[{name: a, method: baseline, level: seed},"
            " {name: b, method: acr, level: seed, settings: {acr: {reconstructor: {classify: false}}}}]",
            "mine, row b: acr.reconstructor.classify is False, but acr.reconstructor_loss.classification is 1.0",
        ),
        (
            "[{name: a, method: baseline, level: seed}, {name: b, method: masks, level: segmenter}]",
            "mine, row b: nothing gives the level segmenter of masks; expected photos with masks in data.val_split",
        ),
        (
            "[{name: a, method: baseline, level: seed},"
            " {name: b, method: acr, level: seed, settings: {data: {crop: 40}}}]",
            "mine, row b: data.crop is 40, but a reconstructor of depth 4 needs a multiple of 16",
        ),
        (
            "[{name: a, method: baseline, level: seed},"
            " {name: b, method: acr, level: seed, settings: {acr: {batch_size: 100}}}]",
            "mine, row b: 1-classifier/reconstructor: 12 photos to train on, but a batch takes 100",
        ),
        (
            "[{name: a, method: baseline, level: seed},"
            " {name: b, method: mctformer, level: seed, settings: {mctformer: {batch_size: 4, weights: no.pth}}}]",
            "mine, row b: 1-classifier/mctformer: weights no.pth: no such file",
        ),
    ],
)
def test_row_that_cannot_work_is_refused_before_anything_is_done(
    rows: str, told: str, tag2mask: Callable, tiny_recipe: Path, tmp_path: Path
):
    (tmp_path / "mine.yaml").write_text(f"title: Mine\nsource: none\nrows: {rows}\n")

    outcome = tag2mask("table", tmp_path / "mine.yaml", tiny_recipe, "--run", tmp_path / "run")

    assert outcome.status in (1, 2)
    (line,) = (line for line in outcome.err.splitlines() if not line.startswith("warning: "))
    assert told in line
    assert not (tmp_path / "run").exists()


def test_row_of_a_later_level_has_its_score_and_a_report(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    table, run = tmp_path / "later.yaml", tmp_path / "run"
    table.write_text(
        "title: Later\nsource: a paper\n"
        "rows: [{name: with CRF, method: acr, level: crf, settings: {crf: {enabled: true}}}]\n"
    )

    outcome = tag2mask("table", table, tiny_recipe, "--run", run, *SHORT)

    assert outcome.status == 0, outcome.err
    row = run / "seed-4242/later/with-crf"
    (score,) = read_scores(row / "scores.json")
    assert (score.method, score.level) == ("acr", "crf")
    (shown,) = json.loads((run / "later.json").read_text())["rows"]
    assert shown["scores"]["4242"]["miou"] == score.miou
    assert "no two of them were measured on the same photos" in (row / "report.html").read_text(encoding="utf-8")

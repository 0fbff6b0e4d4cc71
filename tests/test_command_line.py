from pathlib import Path

import pytest

from tag2mask import commands
from tag2mask.command_line import build_parser, refuse_file, refuse_unknown, split_settings
from tag2mask.usage import UsageError


@pytest.mark.parametrize(
    ("arguments", "own", "settings"),
    [
        ("run demo --acr.epochs 3 --run out", "run demo --run out", "--acr.epochs 3"),
        ("run --acr.epochs=3 demo", "run demo", "--acr.epochs=3"),
        ("--methods [acr] table table1 demo --seeds 2", "table table1 demo --seeds 2", "--methods [acr]"),
        ("check data --layout voc", "check data --layout voc", ""),
        ("run demo --acr.remnants.probability_step -0.1", "run demo", "--acr.remnants.probability_step -0.1"),
        ("run demo --acr.epochs", "run demo", "--acr.epochs"),
        ("run demo --acr.epochs --run out", "run demo --run out", "--acr.epochs"),
        ("run demo --acr.epochs --data.root x", "run demo", "--acr.epochs --data.root x"),
    ],
)
def test_settings_are_told_from_arguments_wherever_they_stand(arguments: str, own: str, settings: str):
    assert split_settings(arguments.split()) == (own.split(), settings.split())


def test_commands_are_listed_in_their_order_with_the_first_line_of_what_they_do():
    text = " ".join(build_parser().format_help().split())

    summary, _, more = " ".join((commands.predict.__doc__ or "").split()).partition(". ")
    assert text.index(f"{commands.run.__doc__}") < text.index(f"{summary}.") < text.index(f"{commands.env.__doc__}")
    assert more not in text


def test_table_takes_a_table_a_recipe_and_a_number_of_seeds():
    typed = build_parser().parse_args(["table", "table1", "demo", "--seeds", "3"])

    assert (typed.table, typed.recipe, typed.seeds, typed.run) == ("table1", "demo", 3, None)


@pytest.mark.parametrize("number", ["many", "1.5", "0", "-1"])
def test_number_that_is_no_count_is_refused_with_what_is_expected(number: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["report", "run", f"--photos={number}"])

    told = f"argument --photos: found {number}, expected a whole number, 1 or more\n"
    assert capsys.readouterr().err.endswith(told)


def test_unknown_argument_is_refused_with_the_one_that_was_probably_meant():
    typed = build_parser().parse_args(["table", "table1", "demo"])

    with pytest.raises(UsageError, match=r"table does not know --seed; did you mean --seeds\?"):
        refuse_unknown(["--seed"], typed)


def test_help_names_what_comes_of_the_tags():
    text = " ".join(build_parser().format_help().split())

    assert "From photos with tags to class activation maps, from these to masks and a segmenter." in text


def test_tilde_of_an_argument_is_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    parser = build_parser()

    ran = parser.parse_args(["run", "~/mine.yaml", "--run=~/runs/x"])
    predicted = parser.parse_args(["predict", "~/a.jpg", "b.jpg", "--model=~/model", "--out", "a~b"])

    assert (ran.recipe, ran.run) == (str(tmp_path / "mine.yaml"), tmp_path / "runs/x")
    assert predicted.photos == [tmp_path / "a.jpg", Path("b.jpg")]
    assert (predicted.model, predicted.out) == (tmp_path / "model", Path("a~b"))


def test_file_in_the_place_of_a_run_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")

    refuse_file(None)
    refuse_file(tmp_path)
    with pytest.raises(UsageError, match=r"--run is the file .*file, expected a folder"):
        refuse_file(tmp_path / "file")

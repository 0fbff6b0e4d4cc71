from pathlib import Path

import pytest

from tag2mask.run_folder import RECIPE_FILE, expect_run, refuse_foreign, refuse_foreign_tables


def test_run_may_begin_in_a_new_or_empty_folder_and_go_on_in_its_own(tmp_path: Path):
    refuse_foreign(tmp_path / "absent")
    refuse_foreign(tmp_path)
    (tmp_path / RECIPE_FILE).touch()
    (tmp_path / "scores.json").touch()

    refuse_foreign(tmp_path)
    expect_run(tmp_path)


def test_folder_of_other_files_is_no_run(tmp_path: Path):
    (tmp_path / "photo.jpg").touch()

    with pytest.raises(ValueError, match=r"not empty and not a run of tag2mask \(config\.yaml is missing\)"):
        refuse_foreign(tmp_path)
    with pytest.raises(ValueError, match=r"found no config\.yaml, expected the folder of a run"):
        expect_run(tmp_path)


def test_tables_go_on_beside_the_runs_of_their_seeds_alone(tmp_path: Path):
    refuse_foreign_tables(tmp_path)
    (tmp_path / "table1.md").touch()

    with pytest.raises(ValueError, match=r"not empty and not a folder of tables \(seed-\* is missing\)"):
        refuse_foreign_tables(tmp_path)
    (tmp_path / "seed-1").mkdir()
    refuse_foreign_tables(tmp_path)

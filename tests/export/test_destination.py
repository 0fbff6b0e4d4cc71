import os
from pathlib import Path

import pytest

from tag2mask.export.destination import check_destination


def test_file_that_can_be_written_is_left_to_be_made(tmp_path: Path):
    check_destination(tmp_path / "new" / "a.tar.gz", ".tar", ".tar.gz")

    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("name", ["m.pt", "m.onnx.pt", "onnx"])
def test_name_with_another_ending_is_refused(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"^found the name .*{name}, expected one that ends in \.onnx$"):
        check_destination(tmp_path / "new" / name, ".onnx")

    assert not (tmp_path / "new").exists()


def test_folder_in_the_place_of_the_file_is_refused(tmp_path: Path):
    (tmp_path / "m.onnx").mkdir()

    with pytest.raises(ValueError, match=r"m\.onnx: found a folder, expected the name of a file$"):
        check_destination(tmp_path / "m.onnx", ".onnx")


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match=r"file/new: cannot write here: Not a directory$"):
        check_destination(tmp_path / "file" / "new" / "m.onnx", ".onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_rights_is_refused(tmp_path: Path):
    tmp_path.chmod(0o500)

    with pytest.raises(ValueError, match=r"cannot write here: Permission denied$"):
        check_destination(tmp_path / "m.onnx", ".onnx")

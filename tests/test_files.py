import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tag2mask.files import replacing


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """What a user's new files are not open to."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_weights_are_as_open_to_others_as_any_new_file(umask: int, tmp_path: Path):
    with replacing(tmp_path / "model.safetensors") as temporary:
        save_file({"weight": np.ones(2, np.float32)}, temporary)

    mode = stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode)
    assert oct(mode) == oct(0o666 & ~umask)


def test_block_that_fails_leaves_what_was_there(tmp_path: Path):
    (tmp_path / "file").write_text("before")

    with suppress(KeyboardInterrupt), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt

    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_full_disk_is_told_with_the_file_that_was_to_be_written(fill_disk: Callable[..., None], tmp_path: Path):
    fill_disk()

    with pytest.raises(OSError, match="No space left on device") as error, replacing(tmp_path / "a/file") as temporary:
        temporary.write_text("content")

    assert error.value.filename == str(tmp_path / "a" / "file")
    assert list((tmp_path / "a").iterdir()) == []


def test_error_of_the_temporary_file_names_the_one_that_was_to_be_written(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as error, replacing(tmp_path / "file") as temporary:
        temporary.rename(tmp_path / "elsewhere")

    assert error.value.filename == str(tmp_path / "file")


def test_what_another_file_s_error_names_stays(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as error, replacing(tmp_path / "file"):
        (tmp_path / "absent").read_text()

    assert error.value.filename == str(tmp_path / "absent")


def test_name_may_have_all_the_bytes_that_the_system_takes(tmp_path: Path):
    path = tmp_path / ("é" * 126 + "png")

    with replacing(path) as temporary:
        temporary.write_text("content")

    assert [file.name for file in tmp_path.iterdir()] == [path.name]

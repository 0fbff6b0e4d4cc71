from functools import partial
from pathlib import Path

import pytest

from tag2mask.workers import for_each


def write_square(number: int, folder: Path) -> None:
    if number < 0:
        raise ValueError(f"{number} is negative")
    (folder / str(number)).write_text(str(number**2))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_work_is_done_on_every_item(tmp_path: Path, num_processes: int):
    for_each(partial(write_square, folder=tmp_path), [1, 2, 3], num_processes=num_processes, title="squares")

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"1": "1", "2": "4", "3": "9"}


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_error_reaches_the_caller(tmp_path: Path, num_processes: int):
    with pytest.raises(ValueError, match="-1 is negative"):
        for_each(partial(write_square, folder=tmp_path), [1, -1, 2], num_processes=num_processes, title="squares")


def test_nothing_to_do_is_nothing_done(tmp_path: Path):
    for_each(partial(write_square, folder=tmp_path), [], num_processes=0, title="squares")

    assert list(tmp_path.iterdir()) == []

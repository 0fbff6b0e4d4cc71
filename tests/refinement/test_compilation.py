import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tag2mask

DOUBLED = """
import tag2mask.refinement.lattice
import tag2mask.refinement.random_walk
from tag2mask.refinement.compilation import compiled

@compiled()
def doubled(number):
    return 2 * number
"""


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """Folder with the package and one more module, in neither of which anything can be kept, not even by root."""
    folder = tmp_path / "read_only"
    package = Path(tag2mask.__file__).parent
    shutil.copytree(package, folder / "tag2mask", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "doubled.py").write_text(DOUBLED)
    for path in (folder, folder / "tag2mask/refinement"):
        (path / "__pycache__").touch()
    return folder


def double(number: int, read_only: Path, cache: Path) -> str:
    """What a process prints whose home is no folder."""
    no_folder = str(read_only / "doubled.py")
    places = {"HOME": no_folder, "XDG_CACHE_HOME": no_folder, "NUMBA_CACHE_DIR": str(cache)}
    code = f"import tag2mask.refinement, doubled; print(tag2mask.__file__, doubled.doubled({number}))"
    environment = os.environ | places | {"PYTHONPATH": str(read_only)}
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_compiled_functions_work_where_nothing_can_be_kept(read_only: Path):
    printed = double(21, read_only, read_only / "doubled.py/cache")

    assert printed == f"{read_only / 'tag2mask/__init__.py'} 42\n"


def test_compiled_functions_are_kept_where_a_folder_is_named(read_only: Path, tmp_path: Path):
    double(21, read_only, tmp_path / "cache")

    assert [path.name.partition("-")[0] for path in (tmp_path / "cache").rglob("*.nbi")] == ["doubled.doubled"]

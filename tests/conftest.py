"""Fixtures for what lies outside the repository: real photos, and values that the authors' code computed."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def animals() -> Path:
    """Folder of the animals of PASCAL VOC 2012; set TAG2MASK_ANIMALS to use another place."""
    return _folder_or_skip("TAG2MASK_ANIMALS", SHARED / "data" / "voc12-animals")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of reference values of the released code; set TAG2MASK_GOLDEN to use another place."""
    return _folder_or_skip("TAG2MASK_GOLDEN", SHARED / "golden")


def _folder_or_skip(variable: str, usual: Path) -> Path:
    folder = Path(os.environ.get(variable, usual))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set {variable} to its place")
    return folder

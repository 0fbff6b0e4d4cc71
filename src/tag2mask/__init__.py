"""From photos with tags to a network that segments them (ACR, CVPR 2023)."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tag2mask import commands
    from tag2mask.commands import Job
    from tag2mask.prediction import Prediction, ScoredPrediction
    from tag2mask.recipes import load_recipe
    from tag2mask.report.tables import ScoreRow, read_scores
    from tag2mask.segmenter import Segmenter

__all__ = [
    "Job", "Prediction", "ScoreRow", "ScoredPrediction", "Segmenter", "commands", "load_recipe", "read_scores",
]  # fmt: skip
__version__ = version("tag2mask")

# Imported when they are asked for: a segmenter brings torch, which takes seconds.
_MODULES = {
    "Job": "commands",
    "Prediction": "prediction",
    "ScoreRow": "report.tables",
    "ScoredPrediction": "prediction",
    "Segmenter": "segmenter",
    "load_recipe": "recipes",
    "read_scores": "report.tables",
}


def __getattr__(name: str) -> object:
    if name == "commands":
        return import_module(f"{__name__}.commands")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Who imports whom: settings, data, networks, training, in that direction, and torch only where networks are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tag2mask

PACKAGE = Path(tag2mask.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ANY = {module.split("/")[0].removesuffix(".py") for module in MODULES}

# What a part of the package may import of the others; parts that are not named are free.
MAY_IMPORT = {
    "config": {"config"},
    "files": {"files"},
    "progress": {"progress"},
    "data": {"config", "files", "progress", "data"},
    "networks": {"config", "files", "data", "networks"},
    "neighbours": {"neighbours"},
    "training": {"config", "files", "progress", "data", "networks", "neighbours", "workers", "training"},
    "refinement": {"config", "data", "neighbours", "refinement"},
    "pseudo_labels": {"data", "evaluation"},
    "prediction": {"data"},
    "segmenter": {
        "config", "files", "data", "dotted_names", "recipes", "networks", "refinement", "model_card", "prediction",
    },
    "evaluation": {"config", "files", "progress", "data", "evaluation"},
    "usage": {"usage"},
    "recipes": {"config", "files", "data", "dotted_names", "usage", "recipes"},
    "runs": {"config", "files", "progress", "data", "dotted_names", "recipes", "evaluation", "runs"},
    "report": {
        "config", "dotted_names", "files", "data", "cams", "evaluation", "pseudo_labels", "paper_tables",
        "runs", "stages", "report",
    },
    "workers": {"data", "progress"},
    "engine": {"config", "workers"},
    "cams": {"config", "files", "memory", "progress", "data", "networks", "workers", "cams"},
}  # fmt: skip
# Modules outside networks and training that may import torch when they are imported themselves.
WITH_TORCH = {
    "data/augmentation.py",
    "data/batch.py",
    "data/datasets.py",
    "data/loading.py",
    "data/sampling.py",
    "data/transforms.py",
    "cams/attention.py",
    "cams/inference.py",
    "cams/multiscale.py",
    "engine.py",
    "export/onnx.py",
    "pipeline.py",
    "segmenter.py",
    "stages/examples.py",
    "stages/predictions.py",
    "stages/walked_maps.py",
    "stages/work.py",
}
WITH_FABRIC = {
    "cams/inference.py", "engine.py", "pipeline.py", "stages/examples.py", "stages/predictions.py", "stages/work.py",
    "workers.py",
}  # fmt: skip


def imported(module: str, *, everywhere: bool) -> set[str]:
    """Dotted names that a module imports: in all of it, or only in what runs when it is imported."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else _run_at_import(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _run_at_import(tree: ast.AST) -> list[ast.AST]:
    found = []
    for node in ast.iter_child_nodes(tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not for_types:
            found += [node, *_run_at_import(node)]
    return found


def part(module: str) -> str:
    """The folder of a module, or its own name at the top."""
    return module.split("/")[0].removesuffix(".py")


def parts_imported(module: str) -> set[str]:
    own = {name.split(".")[1] for name in imported(module, everywhere=True) if name.startswith("tag2mask.")}
    return own - {"__version__"}


def packages_imported(module: str, *, everywhere: bool) -> set[str]:
    return {name.split(".")[0] for name in imported(module, everywhere=everywhere)}


def test_imports_run_one_way():
    beyond = {module: parts_imported(module) - MAY_IMPORT.get(part(module), ANY) for module in MODULES}

    assert {module: parts for module, parts in beyond.items() if parts} == {}


def test_no_part_needs_itself_through_others():
    needed = {part(module): set() for module in MODULES}
    for module in MODULES:
        needed[part(module)] |= parts_imported(module) - {part(module)}
    while leaves := [name for name, others in needed.items() if not others & needed.keys()]:
        for name in leaves:
            del needed[name]

    assert needed == {}


def test_nobody_imports_pipeline_and_commands():
    importers = [module for module in MODULES if parts_imported(module) & {"pipeline", "commands", "cli"}]

    # The package names what is public, and imports it when it is asked for.
    of_the_program = ["__main__.py", "arguments.py", "command_line.py"]
    assert importers == ["__init__.py", *of_the_program, "commands.py", "comparison.py"]


def test_public_names_are_there_and_are_imported_when_they_are_asked_for():
    code = "import sys, tag2mask; assert {*tag2mask.__all__} < {*dir(tag2mask)}; assert 'yaml' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

    public = {name: getattr(tag2mask, name) for name in tag2mask.__all__}

    assert public["Segmenter"].__module__ == "tag2mask.segmenter"
    assert all(found.__name__.removeprefix("tag2mask.") == name for name, found in public.items())
    with pytest.raises(AttributeError, match="module 'tag2mask' has no attribute 'Segmentor'"):
        tag2mask.Segmentor  # noqa: B018


def test_commands_are_there_without_being_imported_by_their_name():
    code = "import sys, tag2mask; assert tag2mask.commands.run; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_is_imported_where_networks_are():
    packages = {"torch", "torchvision", "timm", "lightning_fabric"}
    importers = {module for module in MODULES if packages_imported(module, everywhere=False) & packages}

    assert {module for module in importers if part(module) not in ("networks", "training")} <= WITH_TORCH


def test_fabric_is_known_to_training_and_the_entries_of_stages():
    importers = {module for module in MODULES if "lightning_fabric" in packages_imported(module, everywhere=True)}

    assert {module for module in importers if part(module) != "training"} <= WITH_FABRIC


def test_every_module_says_in_its_first_line_what_it_gives():
    sources = {module: (PACKAGE / module).read_text(encoding="utf-8") for module in MODULES}

    silent = [module for module, source in sources.items() if not ast.get_docstring(ast.parse(source))]
    assert silent == []

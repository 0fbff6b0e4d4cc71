"""From photos with tags to a network that segments them (ACR, CVPR 2023)."""

from importlib.metadata import version

__version__ = version("tag2mask")

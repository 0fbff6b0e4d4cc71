"""What tests of reports open and see in a browser."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from playwright.sync_api import Page


@dataclass(frozen=True)
class OpenedPage:
    """A report in a browser, and what went on there."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


OpenPage = Callable[..., AbstractContextManager[OpenedPage]]

"""Drawn runs, and a browser to open their reports in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drawn_run import DrawnRun, draw_run
from opened_page import OpenedPage, OpenPage
from playwright.sync_api import Browser, expect, sync_playwright

# Milliseconds; only a machine that is busy with other things needs as many.
_PATIENCE = 60_000


@pytest.fixture(scope="session")
def masked_run(tmp_path_factory: pytest.TempPathFactory) -> DrawnRun:
    """Every stage of baseline and ACR, measured with masks, beside a segmenter that learned from these."""
    return draw_run(tmp_path_factory.mktemp("masked"), with_masks=True)


@pytest.fixture(scope="session")
def unmasked_run(tmp_path_factory: pytest.TempPathFactory) -> DrawnRun:
    """The same without masks: nothing could be measured."""
    return draw_run(tmp_path_factory.mktemp("unmasked"), with_masks=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium that asks for nothing by itself."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is absent: pages cannot be opened")
    flags = ["background-networking", "component-update", "sync", "quic"]
    arguments = [*(f"--disable-{flag}" for flag in flags), "--no-first-run"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def open_page(browser: Browser) -> OpenPage:
    """Opens a report from disk; `java_script=False` as in a browser that runs none."""

    @contextmanager
    def open_in_browser(path: Path, *, java_script: bool = True) -> Iterator[OpenedPage]:
        context = browser.new_context(java_script_enabled=java_script, viewport={"width": 1280, "height": 900})
        context.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        opened = OpenedPage(context.new_page())
        opened.page.on("console", lambda message: opened.errors.append(message.text))
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("dialog", lambda dialog: (opened.errors.append(dialog.message), dialog.dismiss()))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(path.as_uri())
        yield opened
        context.close()

    return open_in_browser

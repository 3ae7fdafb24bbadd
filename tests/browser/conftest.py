"""A real browser that looks at a farm of the built wheel; skipped, with the reason, where no browser can be had."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import acceptance.conftest
import psutil
import pytest
from outside import PATIENCE_S, SAMPLE, Running, Shell, assert_gone, running

from browser.obtain import HLS_JS, SHAKA, candidates, missing
from browser.visiting import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType

MARK = "MILLRACE_TEST_BROWSER"
FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
H264 = 'video/mp4; codecs="avc1.64001f,mp4a.40.2"'

wheel = acceptance.conftest.wheel


def _start(chromium: "BrowserType", mark: str) -> "Browser":
    """The first browser that runs here and decodes what the ladder is made of."""
    found = candidates()
    reasons = [missing(), *([] if found else ["there is no Chromium on PATH either"])]
    for one in found:
        environ = {**os.environ, **one.environ, MARK: mark}
        try:
            browser = chromium.launch(executable_path=one.executable, args=FLAGS, env=environ)
        except Exception as error:  # noqa: BLE001  a browser that does not start is no defect of ours, whatever it says
            reasons.append(f"{one.executable} does not start: {_gist(error)}")
            continue
        page = browser.new_page()
        if page.evaluate("(kind) => MediaSource.isTypeSupported(kind)", H264):
            page.close()
            return browser
        browser.close()
        reasons.append(f"{one.executable} cannot decode {H264}")
    pytest.skip("cannot have a browser: " + "; ".join(filter(None, reasons)))


def _gist(error: Exception) -> str:
    """What the browser itself said, and how it ended, out of a page of Playwright's log."""
    lines = str(error).splitlines()
    return " ".join([lines[0], *(line.strip(" -") for line in lines[1:] if "][err]" in line or "did exit" in line)])


def _marked(mark: str) -> list[psutil.Process]:
    """Every process of that browser, also those that have left our family."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


# Its loop occupies the thread, in which other rings run loops of their own: so it ends with the last test of this folder.
@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """A browser without a window that decodes H.264 and AAC; no process of it is left afterwards."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip(f"cannot have a browser: {missing()}")
    mark = uuid.uuid4().hex
    with sync_playwright() as playwright:
        browser = _start(playwright.chromium, mark)
        family = _marked(mark)
        assert family
        yield browser
        browser.close()
    assert_gone([*family, *_marked(mark)])


@pytest.fixture(scope="package")
def farm(browser: "Browser", wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A farm with two workers. Only started where there is a browser."""
    shell = Shell(wheel, tmp_path_factory.mktemp("home"), {"MILLRACE_HEARTBEAT": "0.3"})
    with running(shell, "up", "--data", "farm", "--port", 0, "--workers", 2) as farm:
        yield farm


@pytest.fixture(scope="package")
def ladder(farm: Running) -> dict[str, Any]:
    """A finished job: what `web-hls` made of the sample, kept by the master."""
    done = farm.cli("jobs", "submit", SAMPLE, "--upload", "-p", "web-hls", "--wait", "-o", "json")
    assert done.code == 0, done.err
    return done.json()


@pytest.fixture
def visit(browser: "Browser", farm: Running) -> Iterator[Visit]:
    """A visitor without a session; the test fails where the browser reports an error that the test did not take away."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    visit = Visit(context.new_page(), farm)
    visit.hear()
    yield visit
    context.close()
    assert visit.troubles == []


@pytest.fixture
def hls_js() -> Path:
    return _script(HLS_JS)


@pytest.fixture
def shaka() -> Path:
    return _script(SHAKA)


def _script(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"cannot have {path.name}: {missing()}")
    return path

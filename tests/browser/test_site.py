"""The documentation site in a real browser, on a phone and on a desk, by day and by night."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from browser.chromium import Tab
from browser.looks import faults_of, faults_of_pictures, keep, windows
from pages import ROOT

PAGES = ("", "benchmarks", "guarantees", "architecture", "migrating", "autoscaling")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port; yields the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the site, just built."""
    folder = tmp_path_factory.mktemp("site")
    mkdocs = Path(sys.executable).with_name("mkdocs")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([mkdocs, "build", "--quiet", f"--site-dir={folder}"], cwd=ROOT, env=environment, check=True)
    with served(folder) as url:
        yield url


@windows(1400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page or "front")
async def test_a_page_can_be_read(tab: Tab, site: str, page: str, width: int, dark: bool) -> None:
    await tab.open(f"{site}/{page}", width=width, dark=dark)
    await tab.until("document.readyState === 'complete' && document.querySelector('.md-content h1') !== null")
    await keep(tab, f"site-{page or 'front'}-{width}{'-dark' if dark else ''}")
    assert await faults_of(tab, ".md-content") == []
    assert await faults_of_pictures(tab, ".md-content") == []


async def test_a_text_of_a_picture_that_is_small_or_faint_is_found(tab: Tab, tmp_path: Path) -> None:
    texts = "".join(
        f"<text y='{size}' font-size='{size}' fill='{fill}'>{name}</text>"
        for name, size, fill in (("well", 20, "#222"), ("small", 8, "#222"), ("faint", 20, "#ccc"))
    )
    picture = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 100 50'><rect fill='#fff'/>{texts}</svg>"
    (tmp_path / "picture.svg").write_text(picture)
    (tmp_path / "index.html").write_text("<main><img src='picture.svg' width='80'></main>")
    with served(tmp_path) as url:
        await tab.open(f"{url}/", width=400)
        await tab.until("document.images.length === 1")
        found = await faults_of_pictures(tab, "main")
    assert [fault.split()[-1] for fault in found] == ["small", "faint"]


@windows(1400)
async def test_the_marks_fit_the_window(tab: Tab, site: str, width: int, dark: bool) -> None:
    await tab.open(f"{site}/guarantees/", width=width, dark=dark)
    await tab.until("document.querySelectorAll('.marks table').length > 5")
    scrolled = "[...document.querySelectorAll('.marks *')].filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert await tab.evaluate(scrolled) == 0


async def test_the_first_page_says_on_a_desk_at_once_what_why_and_how(tab: Tab, site: str) -> None:
    await tab.open(f"{site}/", width=1400)
    await tab.until("document.querySelector('.facts') && [...document.images].every(image => image.complete)")
    assert await tab.evaluate("document.querySelector('.facts').getBoundingClientRect().bottom") <= 900

"""The report in a real browser: headless Chromium opens it from a file, offline."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("matplotlib", reason="needs the `plots` extra")

from rheostat.stages.report import write_report
from stages.report_fixture import BASE, LOSSLESS, LOSSY, profile, write_json, write_run

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
    # Every name resolves to nothing, so whatever the page wanted to load would fail loudly.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
)
HOST = """<!doctype html><meta charset="utf-8"><title>host</title>
<iframe width="{width}" height="900" srcdoc="{page}"></iframe><pre id="found"></pre>
<script>addEventListener("load", () => {{
  const inner = document.querySelector("iframe").contentWindow, page = inner.document;
  page.querySelectorAll("details").forEach((d) => {{ d.open = true; }});
  document.getElementById("found").textContent = JSON.stringify({{
    width: inner.innerWidth, scroll: page.documentElement.scrollWidth,
    title: page.title, headline: page.querySelector("h1").textContent,
    tables: page.querySelectorAll("table").length,
    images: [...page.images].map((i) => [i.naturalWidth, i.complete]),
    loaded: inner.performance.getEntriesByType("resource")
      .map((r) => r.name).filter((n) => !n.startsWith("data:")),
    paper: inner.getComputedStyle(page.body).backgroundColor,
  }});
}});</script>
"""
"""A page around the report: its frame has the width of a phone, and its script looks inside."""


@dataclass(frozen=True, kw_only=True)
class Browser:
    """Headless Chromium with a profile folder of its own."""

    binary: str
    folder: Path

    def open(self, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        own = f"--user-data-dir={self.folder / 'browser'}"
        command = [self.binary, *FLAGS, own, *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    def look(self, page: Path, width: int, *flags: str) -> dict[str, Any]:
        """Open the report in a frame of a width; return what the frame shows."""
        host = self.folder / f"host{width}.html"
        text = HOST.format(width=width, page=html.escape(page.read_text(encoding="utf-8")))
        host.write_text(text, encoding="utf-8")
        done = self.open(host, "--dump-dom", *flags)
        assert "CONSOLE" not in done.stderr, done.stderr
        found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
        assert found, "the page's script did not run"
        return json.loads(html.unescape(found[1]))


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    binary = next((path for name in NAMES if (path := shutil.which(name))), None)
    if binary is None and os.environ.get("RHEOSTAT_REQUIRE_CHROMIUM") == "1":
        pytest.fail("no Chromium, and RHEOSTAT_REQUIRE_CHROMIUM=1 asks for one")
    if binary is None:
        pytest.skip("no Chromium")
    return Browser(binary=binary, folder=tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_json(folder / "profile.json", profile())
    kinds = {"base": BASE, "lossless": LOSSLESS, "lossy": LOSSY}
    runs = [write_run(folder / name, kind) for name, kind in kinds.items()]
    write_report(runs, folder / "report.html")
    return folder / "report.html"


@pytest.mark.slow
@pytest.mark.parametrize("width", [380, 1200])
def test_the_page_fits_its_width_and_shows_all_its_pictures(
    browser: Browser, page: Path, width: int
) -> None:
    found = browser.look(page, width)
    assert found["width"] == width
    assert found["scroll"] <= width, "the page itself must not scroll sideways"
    assert found["title"].startswith("Rheostat report: lossless: 1.8")
    assert "faster than the base" in found["headline"]
    assert found["tables"] >= 8
    assert len(found["images"]) == 6
    assert all(size >= 1700 and complete for size, complete in found["images"])
    assert found["loaded"] == []


@pytest.mark.slow
def test_the_page_follows_the_colour_scheme(browser: Browser, page: Path) -> None:
    light = browser.look(page, 380)["paper"]
    dark = browser.look(page, 380, "--force-dark-mode")["paper"]
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")


@pytest.mark.slow
def test_the_page_opens_by_itself_and_paints(browser: Browser, page: Path) -> None:
    picture = browser.folder / "shot.png"
    browser.open(page, "--window-size=1200,1600", f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 30_000, "an empty page is a far smaller picture"

"""The page in a real browser: it renders, its script runs, and nothing is complained about."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embodmem.report import write_report

BROWSER = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
OPTIONS += ["--enable-logging=stderr", "--v=0"]


@pytest.fixture(scope="module")
def page(tmp_path_factory, memory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_report(memory, path, questions=["where is the mug?"])
    return path


def browse(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """Standard output, and what the page's console said."""
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize(("width", "scheme"), [(1200, 1), (1200, 0), (420, 1)], ids=["light", "dark", "narrow"])
def test_it_renders(page, tmp_path, width, scheme):
    shot = tmp_path / "shot.png"
    look = ("--blink-settings=preferredColorScheme=" + str(scheme), f"--window-size={width},1600")
    _, console = browse(page, tmp_path / "profile", *look, f"--screenshot={shot}")
    assert console == ""
    pixels = np.asarray(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"))
    assert pixels.shape == (1600, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200  # pictures and a map, no blank page
    ground = pixels[5, 5].mean()
    assert ground > 200 if scheme else ground < 60


def test_its_script_runs(page, tmp_path):
    html, console = browse(page, tmp_path / "profile", "--dump-dom")
    assert console == ""
    assert html.count('<button type="button">') > 10  # the script turned the headers into buttons


def test_a_console_error_would_be_noticed(tmp_path):
    """The check above can fail: a page with an error and a blocked request says so on its console."""
    bad = tmp_path / "bad.html"
    bad.write_text("<!DOCTYPE html><script>nothing_here()</script>", encoding="utf-8")
    _, console = browse(bad, tmp_path / "profile", "--dump-dom")
    assert "nothing_here" in console


def test_sorting(page, tmp_path):
    """A click on a header orders the rows, a second one turns them round."""
    text = page.read_text(encoding="utf-8")
    clicks = (
        "<script>const head = [...document.querySelectorAll('#objects th button')][1];"
        "const read = () => [...document.querySelectorAll('#objects tbody th')].map((x) => x.textContent).join('|');"
        "head.click(); const up = read(); head.click();"
        "document.title = up + ' / ' + read() + ' / ' + head.parentNode.getAttribute('aria-sort');</script>"
    )
    clicked = tmp_path / "clicked.html"
    clicked.write_text(text.replace("</body>", clicks + "</body>"), encoding="utf-8")
    html, _ = browse(clicked, tmp_path / "profile", "--dump-dom")
    assert "<title>&lt;b&gt;radio&lt;/b&gt;|mug / mug|&lt;b&gt;radio&lt;/b&gt; / descending</title>" in html

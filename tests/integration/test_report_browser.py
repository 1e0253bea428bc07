"""The report in a real browser without network: figures are seen, nothing overflows, it prints."""

from __future__ import annotations

import re

import pytest

from tests import browser
from tests.conftest import requires

pytestmark = requires("chromium")

FIGURES = """[...document.querySelectorAll("figure")].map(f => {
  const box = f.querySelector("svg").getBoundingClientRect();
  const out = [...f.querySelectorAll("svg text")].filter(t => {
    const r = t.getBoundingClientRect();
    return r.left < box.left - 3 || r.right > box.right + 3 ||
           r.top < box.top - 3 || r.bottom > box.bottom + 3;
  }).map(t => t.textContent);
  return {id: f.id, x: box.x, y: box.y + scrollY, width: box.width, height: box.height, out,
          marks: f.querySelectorAll("path, use, image").length};
})"""


@pytest.fixture(scope="module")
def report(study_report, tmp_path_factory):
    """A page in a browser, and how many figures were made."""
    folder = tmp_path_factory.mktemp("browser")
    built = study_report[1]
    file = folder / "report.html"
    file.write_text(built.html, "utf-8")
    with browser.chromium(folder / "profile") as shown:
        shown.size(1280)
        shown.open(file)
        yield shown, built.figures, file


def test_browser__asks_for_nothing_and_complains_of_nothing(report):
    shown, _, file = report
    asked = [
        e["params"]["request"]["url"]
        for e in shown.events
        if e["method"] == "Network.requestWillBeSent"
    ]
    assert file.as_uri() in asked
    assert all(url == file.as_uri() or url.startswith("data:") for url in asked)
    methods = {e["method"] for e in shown.events}
    assert not methods & {"Network.loadingFailed", "Log.entryAdded", "Runtime.exceptionThrown"}
    assert shown.tell("document.scripts.length") == 0
    assert shown.tell("document.characterSet + document.documentElement.lang") == "UTF-8en"


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_browser__every_figure_is_seen_and_the_page_does_not_overflow(report, width):
    shown, count, _ = report
    shown.size(width)
    found = shown.tell(FIGURES)
    assert len(found) == count == 20
    for figure in found:
        assert figure["width"] > 250 and figure["height"] > 150, figure
        assert figure["marks"] > 10 and figure["out"] == [], figure
    assert shown.tell("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser__pixels_in_every_figure(report, scheme, tmp_path):
    shown, _, _ = report
    shown.size(1280)
    shown.scheme(scheme)
    pixels = shown.picture(tmp_path / f"{scheme}.png")
    assert pixels.shape[1] == 1280 and pixels.shape[0] > 3000
    background = pixels[5, 5].mean()
    assert background > 230 if scheme == "light" else background < 40
    for figure in shown.tell(FIGURES):
        x, y, w, h = (round(figure[k]) for k in ("x", "y", "width", "height"))
        part = pixels[y : y + h, x : x + w].astype(float)
        assert part.std() > 5, figure
        coloured = part.max(axis=2) - part.min(axis=2) > 60  # marks; text and axes are grey
        assert coloured.sum() > 30, figure
    shown.scheme("light")


def test_browser__contents_lead_to_sections(report):
    shown, _, _ = report
    shown.size(1280)
    links = shown.tell('[...document.querySelectorAll("nav a")].map(a => a.getAttribute("href"))')
    assert len(links) > 10
    for link in links:
        assert shown.tell(f"document.querySelector({link!r}).getBoundingClientRect().height") > 30


def test_browser__prints(report, tmp_path):
    shown, _, _ = report
    shown.scheme("dark")
    data = shown.pdf()
    shown.scheme("light")
    assert data.startswith(b"%PDF")
    assert 5 <= len(re.findall(rb"/Type /Page\b", data)) <= 16


def test_browser__a_page_that_asks_the_network_is_found_out(tmp_path):
    file = tmp_path / "bad.html"
    file.write_text('<p>x<img src="https://example.invalid/x.png">', "utf-8")
    with browser.chromium(tmp_path / "profile") as shown:
        shown.open(file)
        methods = {e["method"] for e in shown.events}
        asked = str([e for e in shown.events if e["method"] == "Network.requestWillBeSent"])
    assert "Network.loadingFailed" in methods and "example.invalid/x.png" in asked

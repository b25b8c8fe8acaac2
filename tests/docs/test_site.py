"""The site: it is built without a warning and without the network, and its links lead somewhere."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from kit.documents.blocks import ROOT

import geventws

pytestmark = pytest.mark.timeout(180)  # the first test builds the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "trees")]
    words += [str(ROOT / "docs"), str(folder / "html")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page refers to, and what in it may be referred to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and "://" not in value:
                self.links.add(unquote(value))


def find_dead_links(site: Path) -> list[str]:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            there = path if not target else (path.parent / target.partition("?")[0]).resolve()
            if not there.exists() or (there in pages and anchor not in pages[there].anchors):
                dead.append(f"{path.name}: {link}")
    return dead


def test_no_link_of_the_site_is_dead(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > 20
    assert find_dead_links(site) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    links = '<a href="one.html#here">1</a><a href="#gone">2</a><a href="no.html">3</a>'
    (tmp_path / "one.html").write_text(f'<p id="here">{links}</p>')
    assert sorted(find_dead_links(tmp_path)) == ["one.html: #gone", "one.html: no.html"]


def test_each_public_name_stands_in_the_reference(site: Path) -> None:
    reference = Page(site / "reference.html")
    assert {f"geventws.{name}" for name in geventws.__all__} <= reference.anchors


def test_names_of_others_are_linked(site: Path) -> None:
    assert "https://docs.python.org/3/library/exceptions.html#TimeoutError" in (site / "reference.html").read_text()


def test_no_page_shows_an_error(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if "ERROR: " in page.read_text()] == []

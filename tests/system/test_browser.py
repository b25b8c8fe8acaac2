"""The demo page in a real browser: two tabs chat, one leaves, the echo box times a round trip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kit.programs.browser import Browser, Page
from kit.programs.demo import demo

pytestmark = pytest.mark.browser
CONNECTED = "document.getElementById('chat-state').dataset.state === 'open'"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with demo() as site:
        yield f"http://{site}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator:
    """Open pages that are closed after the test, and that must have logged no error."""
    pages: list[Page] = []

    def visit(url: str, name: str = "", **look) -> Page:
        page = browser.open(url, **look)
        pages.append(page)
        page.wait_for(CONNECTED)
        if name:
            rename(page, name)
        return page

    yield visit
    for page in pages:
        if page.session in browser.pages:
            assert page.errors == []
            page.close()


def rename(page: Page, name: str) -> None:
    page.evaluate("document.getElementById('name').select()")
    page.type("#name", name)
    page.evaluate("document.getElementById('say').focus()")  # leaving the field is the change
    page.wait_for(f"document.getElementById('members').innerText.includes('{name}')")


def said(page: Page, text: str) -> None:
    page.wait_for(f"[...document.querySelectorAll('.bubble')].some((e) => e.textContent === '{text}')")


def test_two_pages_chat_and_one_leaves(url: str, visit) -> None:
    ada = visit(url, "Ada")
    ben = visit(url, "Ben")
    ada.wait_for("document.getElementById('count').textContent === '2 here'")

    ada.type("#say", "hello Ben", enter=True)
    said(ben, "hello Ben")
    ben.type("#say", "hello Ada, grüße 👋", enter=True)
    said(ada, "hello Ada, grüße 👋")
    assert ada.evaluate("document.querySelectorAll('.said.mine').length") == 1
    assert ada.evaluate("document.getElementById('say').value") == ""

    ben.close()
    ada.wait_for("document.getElementById('log').innerText.includes('Ben left')")
    ada.wait_for("document.getElementById('count').textContent === 'only you'")


def test_typing_is_shown_to_the_other(url: str, visit) -> None:
    ada, ben = visit(url, "Ada"), visit(url, "Ben")
    ben.type("#say", "I am")
    ada.wait_for("document.getElementById('typing').textContent === 'Ben is typing'")


def test_a_newcomer_sees_what_was_said(url: str, visit) -> None:
    ada = visit(url, "Ada")
    ada.type("#say", "for later", enter=True)
    said(ada, "for later")
    said(visit(url), "for later")


def test_markup_in_a_message_stays_text(url: str, visit) -> None:
    ada, ben = visit(url), visit(url)
    ada.type("#say", "<b id=bad>bold</b>", enter=True)
    said(ben, "<b id=bad>bold</b>")
    assert ben.evaluate("document.getElementById('bad')") is None


@pytest.mark.parametrize("size", [32, 1024, 65536, 524288])
def test_the_echo_box_times_a_round_trip(url: str, visit, size: int) -> None:
    page = visit(url)
    page.click("#steady")
    page.click(f"input[value='{size}']")
    page.click("#once")
    trip = page.wait_for("parseFloat(document.getElementById('last').textContent)")
    assert 0 < trip < 5000
    assert page.evaluate("document.querySelectorAll('#spark .line').length") == 1


def test_a_burst_comes_back_whole(url: str, visit) -> None:
    page = visit(url)
    page.wait_for("!document.getElementById('burst').disabled")
    page.click("#burst")
    page.wait_for("document.getElementById('burst-result').textContent.startsWith('100 back')")


def test_the_page_comes_back_after_the_server_did(visit) -> None:
    with demo() as site:
        page = visit(f"http://{site}/", "Ada")
    page.wait_for("document.getElementById('chat-state').dataset.state !== 'open'")
    page.wait_for("document.getElementById('send').disabled")
    with demo(port=int(site.rpartition(":")[2])):
        page.wait_for(CONNECTED)
        page.wait_for("document.getElementById('members').innerText.includes('Ada')")
        page.wait_for("document.getElementById('echo-state').dataset.state === 'open'")
        page.errors.clear()  # refused connections, which the browser reports


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out(url: str, visit, width: int, dark: bool) -> None:
    page = visit(url, "A rather long name, Ada", width=width, height=800, dark=dark)
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")

"""names.py: hosts in ASCII by both rules of international names, addresses with zones, and names of certificates."""

from __future__ import annotations

import contextlib
import sys

import pytest

from geventws.http.names import certified_name, read_address, to_ascii, without_zone


@pytest.fixture
def without_idna(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the idna package away."""
    monkeypatch.setitem(sys.modules, "idna", None)


PLAIN = ["a", "a.example", "a.example.", "a_b.example", "-a-.example", "127.0.0.1", "xn--fa-hia.de", f"{63 * 'a'}.b"]


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_ascii_stays(name: str) -> None:
    assert to_ascii(name) == name
    assert to_ascii(name.upper()) == name


ALIKE = {
    "b\xfccher.example": "xn--bcher-kva.example",
    "B\xdcCHER.example": "xn--bcher-kva.example",
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "a_b.b\xfccher.example.": "a_b.xn--bcher-kva.example.",
    "\u4f8b\u3048\u3002\u30c6\u30b9\u30c8": "xn--r8jz45g.xn--zckzah",
    "\u05d0\u05d1.example": "xn--4dbc.example",
    "\uff21\uff22.example": "ab.example",
}


@pytest.mark.parametrize("name", ALIKE)
def test_names_on_which_both_rules_agree(name: str) -> None:
    assert to_ascii(name) == ALIKE[name]


@pytest.mark.parametrize("name", ALIKE)
def test_they_need_no_package(name: str, without_idna: None) -> None:
    assert to_ascii(name) == ALIKE[name]


DIFFERENT = {
    "fa\xdf.de": "xn--fa-hia.de",  # fass.de by the rule of 2003
    "FA\u1e9e.de": "xn--fa-hia.de",  # which knows no such capital letter
    "\u03b2\u03cc\u03bb\u03bf\u03c2.gr": "xn--nxasmm1c.gr",  # UTS #46, section 7: another sigma
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3.lk": "xn--10cl1a0b660p.lk",  # a joiner, which 2003 leaves out
    "\u13a0\u13a1.example": "xn--58dc.example",  # Cherokee got its small letters later
    "\ua5d4.example": "xn--jt8a.example",  # Vai came with Unicode 5.1
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_names_of_which_2003_makes_another_host(name: str) -> None:
    assert to_ascii(name) == DIFFERENT[name]


@pytest.mark.parametrize("name", DIFFERENT)
def test_they_are_refused_without_the_package(name: str, without_idna: None) -> None:
    with pytest.raises(ValueError, match=r"needs the idna package \(pip install geventws\[idna\]\)"):
        to_ascii(name)


SCRIPTS = [(0xA0, 0x600), (0x1100, 0x1400), (0x1E00, 0x2000), (0x2F860, 0x2F880)]


def answers(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what a name is with the package and without it, as far as it is not refused."""
    found = []
    for package in ({}, {"idna": None}):
        with monkeypatch.context() as patch, contextlib.suppress(ValueError):
            for missing in package:
                patch.setitem(sys.modules, missing, None)
            found.append(to_ascii(name))
    return found


@pytest.mark.parametrize(("first", "end"), SCRIPTS, ids=lambda number: f"{number:x}")
def test_without_the_package_no_name_becomes_another(first: int, end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for char in map(chr, range(first, end)) for name in (f"a{char}", f"{char}b", f"\u05d0{char}")]
    both = [found for name in names if len(found := answers(name, monkeypatch)) == 2]
    assert both and all(with_it == without_it for with_it, without_it in both)


WRONG = [
    "a..b", ".a", "", ".", "a b", "a<b>", "a/b", "a:b", "a%b", "a@b", "a\\b", "a\x00", f"{64 * 'a'}.b", f"a.{64 * 'b'}",
    "\u3002", "a\u3002\u3002b", "\u2100.example", "a\uff0fb", "\ud800", "\udcff", "\u0301a", "a." * 127 + "b",
    "\xe4" * 5000, "".join(map(chr, range(0x4E00, 0x9000, 0x100))),
]  # fmt: skip


@pytest.mark.parametrize("name", WRONG, ids=lambda name: ascii(name[:20]))
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError):
        to_ascii(name)


@pytest.mark.parametrize("name", [name for name in WRONG if name != "\u0301a"], ids=lambda name: ascii(name[:20]))
def test_it_is_none_without_the_package(name: str, without_idna: None) -> None:
    with pytest.raises(ValueError):
        to_ascii(name)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("::1", "::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("fe80::1%25eth0", "fe80::1%eth0"),
        ("FE80::1%25Eth0.7", "fe80::1%Eth0.7"),
        ("fe80::1%eth0", "fe80::1%eth0"),  # as people write it
        ("fe80::1%2525", "fe80::1%25"),
        ("fe80::1%253", "fe80::1%3"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text", ["", ":", "1", "127.0.0.1", "::g", "v1.a", "fe80::1%", "fe80::1%25", "::1%25a/b", "::1%25 a", "::1%25%25"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        read_address(text)


def test_what_others_see() -> None:
    assert [without_zone(host) for host in ("fe80::1%eth0", "::1", "a.example.")] == ["fe80::1", "::1", "a.example."]
    assert [certified_name(host) for host in ("fe80::1%eth0", "a.example.", "a")] == ["fe80::1", "a.example", "a"]

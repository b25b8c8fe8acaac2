"""Names and addresses of hosts in the form to send: international names in ASCII, IPv6 zones, the root's dot. No I/O.

    to_ascii            a name as in the DNS, in certificates and in Host headers
    read_address        an IPv6 address from between its brackets (RFC 3986 3.2.2, RFC 6874)
    without_zone        an address without what concerns only this machine
    certified_name      a name as in a certificate

There are two rules for writing an international name in ASCII. Registries and browsers use that of 2008 (RFC 5891, with
the mapping of UTS #46), which the `idna` package implements; Python implements that of 2003 (RFC 3490). If the package
is missing, a name is refused if the two rules may lead to different hosts.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from encodings.idna import ToASCII, nameprep
from ipaddress import IPv6Address

from ..text import quoted

MAX_NAME = 253
"""The most characters of a name (RFC 1035 2.3.4); a longer one is refused unread."""

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 3.1
_LABEL = re.compile(r"[A-Za-z0-9_~!$&'()*+,;=-]{1,63}")  # RFC 3986 3.2.2, without percent signs
_ZONE = re.compile(r"[A-Za-z0-9._~:@-]+")  # RFC 6874 2, and other characters in names of interfaces
_DIFFERENT = frozenset("\xdf\u03c2\u200c\u200d")  # UTS #46, section 7: 2003 maps these to something else, or to nothing
_IGNORED = frozenset("\u115f\u1160\u17b4\u17b5")  # 2003 keeps these, and UTS #46 leaves them out
_LETTERS = frozenset(["Ll", "Lo", "Lm", "Mn", "Mc", "Nd"])  # RFC 5892 2.1


def to_ascii(name: str) -> str:
    """Return a host's name in ASCII and lower case; a dot at its end stays.

    Raises:
        ValueError: it is not a name, or it needs the `idna` package.
    """
    if len(name) > MAX_NAME + 1:
        raise ValueError(f"the host {quoted(name)} is longer than {MAX_NAME} characters")
    if not name.isascii():
        name = ".".join(_convert(name))
    name = name.lower()
    if any(_LABEL.fullmatch(label) is None for label in name.removesuffix(".").split(".")):
        raise ValueError(f"the host {quoted(name)} is not a name")
    return name


def read_address(text: str) -> str:
    """Return an IPv6 address in lower case, with its zone decoded, after a percent sign.

    Raises:
        ValueError: it is not an address.
    """
    address, percent, zone = text.partition("%")
    IPv6Address(address)
    if not percent:
        return address.lower()
    zone = zone.removeprefix("25")  # the percent sign, encoded; it may be left out
    if _ZONE.fullmatch(zone) is None:
        raise ValueError(f"{quoted(zone)} is not the zone of an address")
    return f"{address.lower()}%{zone}"


def without_zone(host: str) -> str:
    """Return a host without the zone of its address, which has a meaning only on this machine (RFC 6874 1)."""
    return host.partition("%")[0]


def certified_name(host: str) -> str:
    """Return a host's name as in a certificate: without the root's dot (RFC 6066 3), and without a zone."""
    return without_zone(host).removesuffix(".")


def _convert(name: str) -> list[str]:
    """Return the labels of an international name in ASCII."""
    try:
        import idna  # only now: its tables take 10 ms and 1 MB
    except ImportError:
        return [_convert_as_both(label) for label in _DOTS.split(name)]
    try:
        mapped = idna.uts46_remap(name, std3_rules=False, transitional=False)
        return [label if label.isascii() else idna.alabel(label).decode() for label in mapped.split(".")]
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError(f"the host {quoted(name)} is not a name: {error}") from None


def _convert_as_both(label: str) -> str:
    """Return a label in ASCII if both rules agree on it.

    They agree if the Unicode of 2003 (3.2) and Python's map it to the same letters, marks and digits.
    """
    if label.isascii():
        return label
    try:
        mapped, sent = nameprep(label), ToASCII(label).decode()
    except UnicodeError:
        raise ValueError(f"the host's part {quoted(label)} is not a name") from None
    known = not any(map(stringprep.in_table_a1, label + mapped))
    alike = mapped == unicodedata.normalize("NFKC", label.casefold())
    letters = all(char == "-" or unicodedata.category(char) in _LETTERS for char in mapped)
    if not (known and alike and letters) or _DIFFERENT & {*label} or _IGNORED & {*mapped}:
        raise ValueError(f"the host's part {quoted(label)} needs the idna package (pip install geventws[idna])")
    return sent

"""The names and addresses of hosts, as they are sent: international names in ASCII, IPv6 zones, the root's dot. No I/O.

    to_ascii            a name as the DNS, a certificate and a Host header have it
    read_address        an IPv6 address from between its brackets (RFC 3986 3.2.2, RFC 6874)
    without_zone        an address as others may see it
    certified_name      a name as a certificate has it

Two rules turn an international name into ASCII. Registries and browsers go by that of 2008 (RFC 5891, as UTS #46 maps
names to it), which the `idna` package knows; Python knows that of 2003 (RFC 3490). A name that may be another host by
the one than by the other is refused where the package is missing.
"""

from __future__ import annotations

import re
import stringprep
import unicodedata
from encodings.idna import ToASCII, nameprep
from ipaddress import IPv6Address

from ..text import quoted

MAX_NAME = 253
"""Characters of a name (RFC 1035 2.3.4); more are not looked at."""

_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490 3.1
_LABEL = re.compile(r"[A-Za-z0-9_~!$&'()*+,;=-]{1,63}")  # RFC 3986 3.2.2, without percent signs
_ZONE = re.compile(r"[A-Za-z0-9._~:@-]+")  # RFC 6874 2, and what names of interfaces have besides
_DIFFERENT = frozenset("\xdf\u03c2\u200c\u200d")  # UTS #46, section 7: what 2003 maps to something else, or to nothing
_IGNORED = frozenset("\u115f\u1160\u17b4\u17b5")  # and what it keeps, and UTS #46 leaves out
_LETTERS = frozenset(["Ll", "Lo", "Lm", "Mn", "Mc", "Nd"])  # RFC 5892 2.1


def to_ascii(name: str) -> str:
    """Return a host's name in ASCII and lower case; a dot at its end stays.

    Raises:
        ValueError: it is no name, or one that needs the `idna` package.
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
    """Return an IPv6 address in lower case, its zone decoded and after a percent sign.

    Raises:
        ValueError: it is none.
    """
    address, percent, zone = text.partition("%")
    IPv6Address(address)
    if not percent:
        return address.lower()
    zone = zone.removeprefix("25")  # which is the percent sign itself, and may be left out
    if _ZONE.fullmatch(zone) is None:
        raise ValueError(f"{quoted(zone)} is not the zone of an address")
    return f"{address.lower()}%{zone}"


def without_zone(host: str) -> str:
    """Return a host without the zone of its address, which means something on this machine alone (RFC 6874 1)."""
    return host.partition("%")[0]


def certified_name(host: str) -> str:
    """Return the name that a certificate has for a host: never with the root's dot (RFC 6066 3), nor with a zone."""
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
    """Return a label in ASCII if there is no doubt about it.

    There is none where the Unicode of 2003 (3.2) and Python's map it alike, to letters, marks and digits.
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

"""Writes what came out into docs/interoperability.rst."""

from __future__ import annotations

import datetime
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from install import ROOT, describe_machine, read_versions
from table import OURS, PEERS

if TYPE_CHECKING:
    from run import Outcome

PAGE = ROOT / "docs" / "interoperability.rst"

HEAD = """\
================
Interoperability
================

How geventws works with other implementations: what ``make interop`` found on {date}, with {machine}.
The command writes this page.

Each pair exchanges 17 messages from 0 B to 700 KB, text and binary, with and without what compresses well. Each message
is echoed and compared before the next one is sent, and the connection ends with a close handshake. Every third message
is sent in three fragments, and every fourth one has a ping before it or amid its fragments, where the API of the side
that sends it can. geventws does both; what a peer does is in the table.

{versions}

geventws has three settings for ``compression``: the default; ``PerMessageDeflate(client_no_context_takeover=False)``,
where the client keeps its context from one message to the next; and the same with
``server_no_context_takeover=False``, too, where both do. In the cells, *deflate* means that the two agreed on
permessage-deflate (RFC 7692), *plain* that they did not.

"""

TITLES = {
    "server": ("geventws as a server", "client"),
    "client": ("geventws as a client", "server"),
}


def write_page(outcomes: list[Outcome]) -> None:
    """Write the page anew."""
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%d %B %Y").lstrip("0")
    versions = read_versions()
    rows = [[peer.name, versions[peer.name], peer.between or "neither"] for peer in PEERS]
    table = draw_table(["peer", "version", "sends besides"], rows)
    head = HEAD.format(date=date, machine=describe_machine(), versions=table)
    PAGE.write_text(head + "\n\n".join(describe(role, outcomes) for role in TITLES) + "\n")


def describe(role: str, outcomes: list[Outcome]) -> str:
    """The section of one role of ours."""
    title, other = TITLES[role]
    mine = [outcome for outcome in outcomes if outcome.role == role]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for outcome in mine:
        cells.setdefault((outcome.peer.name, outcome.setting), {})[outcome.ours] = describe_cell(outcome)
    rows = [[name, f"``{setting}``" if set(setting) & set(":=.") else setting, *row.values()]
            for (name, setting), row in cells.items()]  # fmt: skip
    table = draw_table([other, "its setting", *OURS], rows)
    return "\n".join([title, "=" * len(title), "", table, *failures(mine)])


def describe_cell(outcome: Outcome) -> str:
    if outcome.verdict != "ok":
        return "**fails**"
    return "ok, deflate" if "permessage-deflate" in outcome.agreed else "ok, plain"


def failures(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """What failed, and why."""
    for outcome in outcomes:
        if outcome.verdict != "ok":
            reason = outcome.reason or f"The reason is not known. It said: {outcome.verdict.replace('`', '')}"
            text = f"*{outcome.peer.name}* with ``{outcome.setting}``, ours: {outcome.ours}. {reason}"
            yield "\n" + textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def draw_table(head: list[str], rows: list[list[str]]) -> str:
    """A simple table of reStructuredText."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    line = "  ".join("=" * width for width in widths)
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in [head, *rows]]  # fmt: skip
    return "\n".join([line, drawn[0], line, *drawn[1:], line])

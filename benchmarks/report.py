"""Tables (reStructuredText) and single lines out of the results.

A figure is the median over the rounds. A ratio is the median of the rounds' own ratios: both servers of a
pair were measured within the same round.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import targets
from scenarios import SCENARIOS, Scenario

OURS = "geventws"


class Results:
    """The results, by scenario, peer and round."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.rows = {
            (row["scenario"], row["peer"], row["round"]): row for row in document["results"] if not row.get("failed")
        }
        self.rounds = sorted({key[2] for key in self.rows})
        self.peers = list(dict.fromkeys(row["peer"] for row in document["results"]))

    def values(self, scenario: str, peer: str, figure: str) -> list[float]:
        found = (self.rows.get((scenario, peer, number), {}).get(figure) for number in self.rounds)
        return [value for value in found if value is not None]

    def median(self, scenario: str, peer: str, figure: str) -> float | None:
        values = self.values(scenario, peer, figure)
        return statistics.median(values) if values else None

    def ratio(self, scenario: str, ours: str, theirs: str, figure: str = "cpu_us") -> float | None:
        """Our figure divided by theirs, pair by pair; None when a pair is missing or theirs is 0."""
        pairs = []
        for number in self.rounds:
            a = self.rows.get((scenario, ours, number), {}).get(figure)
            b = self.rows.get((scenario, theirs, number), {}).get(figure)
            if a is not None and b:
                pairs.append(a / b)
        return statistics.median(pairs) if pairs else None

    def growth(self, peer: str, few: str, many: str, figure: str = "cpu_us") -> float | None:
        """The peer's figure in one scenario as a multiple of that in another, round by round."""
        rows = [(self.rows.get((many, peer, n)), self.rows.get((few, peer, n))) for n in self.rounds]
        pairs = [a[figure] / b[figure] for a, b in rows if a and b]
        return statistics.median(pairs) if pairs else None

    def scenarios(self, kinds: Iterable[str]) -> list[Scenario]:
        """The scenarios of these kinds that have results, in the table's order."""
        present = {key[0] for key in self.rows}
        return [s for s in SCENARIOS.values() if s.name in present and s.kind in kinds]


def number(value: float | None) -> str:
    """Three significant digits, thousands with commas."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A simple table."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = "  ".join("=" * width for width in widths)

    def line(cells: list[str]) -> str:
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *rest])

    return "\n".join([rule, line(head), rule, *map(line, rows), rule, ""])


Cell = Callable[[str, str], str]


def matrix(title: str, chosen: list[Scenario], cell: Cell, peers: list[str]) -> str:
    """One row per scenario, one column per peer; nothing when there is nothing to show."""
    rows = [[scenario.title, *(cell(scenario.name, peer) for peer in peers)] for scenario in chosen]
    return f"{title}\n\n{table(['scenario', *peers], rows)}\n" if rows and peers else ""


def figure_cell(results: Results, *figures: str, scale: float = 1.0) -> Cell:
    def cell(scenario: str, peer: str) -> str:
        values = [results.median(scenario, peer, figure) for figure in figures]
        texts = [number(None if value is None else value * scale) for value in values]
        return "/".join(texts) if any(values) else "-"

    return cell


def warnings(results: Results) -> str:
    """Where the load was more than half as busy as the server, and what went wrong."""
    limited: dict[str, list[str]] = {}
    for (scenario, peer, _), row in results.rows.items():
        if row.get("load_was_limit") and peer not in limited.setdefault(scenario, []):
            limited[scenario].append(peer)
    lines = [f"* {SCENARIOS[scenario].title}: {', '.join(peers)}" for scenario, peers in limited.items() if peers]
    title = "The load was the limit (more than half as busy as the server):"
    text = "\n".join([title, "", *lines, "", ""]) if lines else ""
    bad = [row for row in results.document["results"] if row.get("failed") or row.get("errors")]
    wrong = dict.fromkeys(f"* {row['scenario']}, {row['peer']}: {row['error']}" for row in bad)
    return text + ("\n".join(["Errors:", "", *wrong, "", ""]) if wrong else "")


def about(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    text = (
        f"Measured on {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['when']}, with "
        f"``{document['command']}``. Versions: Python {machine['python']}, {versions}."
    )
    return textwrap.fill(text, 110, break_long_words=False, break_on_hyphens=False) + "\n\n"


def tables(document: dict[str, Any]) -> str:
    """Everything, as reStructuredText."""
    results = Results(document)
    timed, held = results.scenarios(("echo", "fanout", "handshakes")), results.scenarios(("memory",))
    squeezed = [scenario for scenario in timed if scenario.deflate]
    others = [peer for peer in results.peers if peer != OURS]
    parts = [
        about(document),
        matrix("Server CPU per message, microseconds:", timed, figure_cell(results, "cpu_us"), results.peers),
        matrix(
            f"CPU of {OURS} as a multiple of the peer's (below 1: {OURS} is cheaper):",
            timed,
            lambda s, p: number(results.ratio(s, OURS, p)),
            others if OURS in results.peers else [],
        ),
        matrix("Messages (or handshakes) per second:", timed, figure_cell(results, "per_second"), results.peers),
        matrix("Latency p50/p99, microseconds:", timed, figure_cell(results, "p50_us", "p99_us"), results.peers),
        matrix(
            "CPU in user mode per message, microseconds:",
            timed,
            figure_cell(results, "user_us"),
            results.peers,
        ),
        matrix(
            "How busy: server/load, per cent of a core:",
            timed,
            figure_cell(results, "server_busy", "load_busy", scale=100),
            results.peers,
        ),
        matrix(
            "Memory per idle connection, KB, RSS/PSS:",
            held,
            figure_cell(results, "rss_bytes", "pss_bytes", scale=1 / 1024),
            results.peers,
        ),
        matrix("Bytes of a compressed reply:", squeezed, figure_cell(results, "reply_bytes"), results.peers),
        kernel_table(document.get("kernels", {})),
        judged(results),
        warnings(results),
    ]
    return "".join(parts)


def kernel_table(kernels: dict[str, float]) -> str:
    rows = [[name, number(value)] for name, value in kernels.items()]
    title = "Masking and scanning, GB of payload per second:"
    return f"{title}\n\n{table(['kernel', 'GB/s'], rows)}\n" if rows else ""


def judged(results: Results) -> str:
    """The targets that these results can judge."""
    rows = [
        [what, number(value), number(limit), "yes" if met else "NO"]
        for what, value, limit, met in targets.judge(results)
    ]
    return f"Targets:\n\n{table(['target', 'measured', 'limit', 'met'], rows)}\n" if rows else ""


def line(round_number: int, scenario: Scenario, peer: str, figures: dict[str, Any]) -> str:
    """One measurement, as it is printed while the benchmark runs."""
    start = f"{round_number + 1} {scenario.name:<11} {peer:<17}"
    if figures.get("failed"):
        return f"{start} FAILED: {figures['error']}"
    if scenario.kind == "memory":
        return f"{start} {figures['rss_bytes'] / 1024:8.2f} KB RSS {figures['pss_bytes'] / 1024:8.2f} KB PSS"
    text = f"{start} {figures['cpu_us']:8.2f} us CPU ({figures['user_us']:.2f} user)"
    text += f" {figures['per_second']:10,.0f}/s  p50 {figures['p50_us']:,.0f} p99 {figures['p99_us']:,.0f} us"
    text += f"  busy {figures['server_busy']:.2f}/{figures['load_busy']:.2f}"
    text += "  load was the limit" if figures["load_was_limit"] else ""
    return text + (f"  {figures['errors']} ERRORS: {figures['error']}" if figures["errors"] else "")

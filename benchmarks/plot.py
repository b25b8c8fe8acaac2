"""The picture: one panel per scenario with every server's CPU per message, ours in colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import OURS, Results, number
from scenarios import Scenario

COLUMNS = 3
#: A bar this many times as long as ours (or as the shortest but the floor's) is cut off.
LONGEST = 6.0
COLOURS = {
    "geventws": "#d1495b",
    "geventws-server": "#e08a94",
    "geventws-python": "#f0c5ca",
    "geventws-isal": "#d98c5f",
    "floor": "#d9d9d9",
}
OTHERS = "#66828f"


UNITS = {"handshakes": "CPU µs per handshake", "fanout": "CPU µs per delivery"}


def figure_of(scenario: Scenario) -> tuple[str, float, str]:
    """Which figure a panel shows, its scale, and its unit."""
    if scenario.kind == "memory":
        return "pss_bytes", 1 / 1024, "KB per connection"
    return "cpu_us", 1.0, UNITS.get(scenario.kind, "CPU µs per message")


def panel(axes: Any, results: Results, scenario: Scenario) -> None:
    """Draw one scenario."""
    figure, scale, unit = figure_of(scenario)
    medians = {peer: results.median(scenario.name, peer, figure) for peer in results.peers}
    # Memory is a difference, which noise can make less than nothing.
    values = {peer: max(value * scale, 0.0) for peer, value in medians.items() if value is not None}
    reference = values.get(OURS) or min((v for peer, v in values.items() if peer != "floor"), default=1.0)
    limit = min(max(values.values(), default=1.0), max(reference, 0.001) * LONGEST)
    bars = axes.barh(
        list(values),
        [min(value, limit) for value in values.values()],
        0.8,
        color=[COLOURS.get(peer, OTHERS) for peer in values],
    )
    axes.bar_label(bars, [number(v) + (" →" if v > limit else "") for v in values.values()], fontsize=6.5, padding=2)
    axes.set_xlim(0, limit * 1.22)
    axes.invert_yaxis()
    axes.set_title(f"{scenario.title}   ({unit})", fontsize=8, loc="left")
    axes.tick_params(axis="y", labelsize=7, length=0)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def draw(document: dict[str, Any], path: Path) -> None:
    """Write the picture; nothing happens when matplotlib or results are missing."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no picture")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = Results(document)
    chosen = results.scenarios(("echo", "fanout", "handshakes", "memory"))
    if not chosen:
        return
    rows = -(-len(chosen) // COLUMNS)
    figure, grid = pyplot.subplots(
        rows,
        COLUMNS,
        figsize=(12, rows * (0.6 + 0.19 * len(results.peers))),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    for axes, scenario in zip(grid.flat, chosen, strict=False):
        panel(axes, results, scenario)
    machine = document["machine"]
    figure.suptitle(
        f"Shorter is better.   {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)

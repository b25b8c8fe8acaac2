"""Attack geventws over real sockets, and compare what each attack costs with what it may cost.

The program under attack runs in a process and on a core of its own; everything else on the other. A row that is over
its bound says OVER, and then the exit status is 1.

    make hostile
    make hostile ARGS='--list'
    make hostile ARGS='--rows flood-tiny,pour --hosts pywsgi,client'
    make hostile ARGS='--rows emoji-busy --tree ../before'
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

from . import dial, report
from .hosts import HERE, Host, Place, Victim
from .report import Result
from .table import ROWS, Row


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="", help="attacks, by the start of their names (all)")
    parser.add_argument("--hosts", default="", help="programs to attack (each row's own)")
    parser.add_argument("--core", type=int, default=0, help="the core of the program under attack (0)")
    parser.add_argument("--tree", type=Path, default=HERE.parent.parent, help="another built tree of geventws")
    parser.add_argument("--out", type=Path, help="where the table goes, too")
    parser.add_argument("--list", action="store_true", help="what there is, and leave")
    return parser.parse_args(words)


def choose(rows: str, hosts: str) -> list[tuple[Row, Host]]:
    """Return what is to be attacked, and how."""
    starts = tuple(name for name in rows.split(",") if name) or ("",)
    chosen = [row for row in ROWS if row.name.startswith(starts)]
    if not chosen:
        raise SystemExit(f"no row is called {rows}: see --list")
    wanted = [name for name in hosts.split(",") if name]
    return [(row, Host(name)) for row in chosen for name in row.hosts if not wanted or name in wanted]


def attack(row: Row, host: Host, place: Place) -> Result:
    """Run one attack on one program; what fails is a result."""
    began = time.monotonic()
    try:
        victim = Victim(host, place, **row.about)
    except (OSError, RuntimeError) as error:
        return Result(row, host.name, {}, f"not started: {error}", time.monotonic() - began)
    try:
        measure = row.attack(victim)
    except (OSError, RuntimeError) as error:
        return Result(row, host.name, {}, f"{type(error).__name__}: {error}", time.monotonic() - began)
    finally:
        victim.close()
    return Result(row, host.name, measure, "", time.monotonic() - began)


def prepare(core: int) -> None:
    """Leave the core to the program under attack, and raise the limit of descriptors."""
    cores = os.sched_getaffinity(0)
    if core not in cores or len(cores) < 2:
        raise SystemExit("the program under attack and its attackers need a core each: see --core")
    os.sched_setaffinity(0, cores - {core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    dial.make_certificate()


def main(words: list[str]) -> int:
    """Run what was asked for."""
    options = parse(words)
    plan = choose(options.rows, options.hosts)
    if options.list:
        for row in dict.fromkeys(row for row, _ in plan):
            print(f"{row.name:20} {row.what}\n{'':20} {', '.join(row.hosts)}")
        return 0
    prepare(options.core)
    place = Place(options.core, options.tree.resolve())
    results: list[Result] = []
    for row, host in plan:
        results.append(attack(row, host, place))
        print(report.line(results[-1]), flush=True)
    if options.out:
        options.out.write_text(report.table(results))
    over = [result for result in results if result.over]
    print(f"{len(results)} attacks, {len(over)} over their bounds")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

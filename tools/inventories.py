"""Write docs/inventories/*.inv: the names of other projects that these pages link to.

    python tools/inventories.py

The site is built without fetching anything, so each name that a page or a docstring links to stands here.
"""

from __future__ import annotations

import zlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "inventories"
HEAD = """\
# Sphinx inventory version 2
# Project: {}
# Version:
# The remainder of this file is compressed using zlib.
"""

PAGES = {
    "python": {
        "library/exceptions.html": {
            "exception": ["OSError", "RuntimeError", "TimeoutError", "TypeError", "UnicodeEncodeError", "ValueError"]
            + ["DeprecationWarning", "ResourceWarning", "SystemExit", "KeyboardInterrupt"]
        },
        "library/functions.html": {"class": ["bytearray", "dict", "list", "memoryview"], "function": ["dir", "help"]},
        "library/stdtypes.html": {"class": ["bytes", "str", "int", "float", "bool"]},
        "library/ssl.html": {"class": ["ssl.SSLContext"], "exception": ["ssl.SSLCertVerificationError"]},
        "library/collections.abc.html": {
            "class": ["collections.abc.Iterable", "collections.abc.Iterator", "collections.abc.Sequence"]
        },
        "library/os.html": {"class": ["os.PathLike"]},
        "library/time.html": {"function": ["time.monotonic"]},
        "library/constants.html": {"data": ["None", "True", "False"]},
        "library/typing.html": {"class": ["typing.Any"]},
    },
    "gevent": {
        "api/gevent.event.html": {"class": ["gevent.event.Event", "gevent.event.AsyncResult"]},
        "api/gevent.pywsgi.html": {"class": ["gevent.pywsgi.WSGIServer"]},
        "api/gevent.timeout.html": {"class": ["gevent.Timeout"]},
        "api/gevent.greenlet.html": {"class": ["gevent.Greenlet"]},
        "api/gevent.html": {"function": ["gevent.spawn", "gevent.sleep"]},
    },
}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for project, pages in PAGES.items():
        lines = [
            f"{name} py:{kind} 1 {page}#$ -\n"
            for page, kinds in pages.items()
            for kind, names in kinds.items()
            for name in names
        ]
        body = zlib.compress("".join(sorted(lines)).encode(), 9)
        (FOLDER / f"{project}.inv").write_bytes(HEAD.format(project).encode() + body)


if __name__ == "__main__":
    main()

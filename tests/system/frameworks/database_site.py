"""Serves what docs/databases.rst shows, as it stands there: `python -m database_site votes|flask_application|...`.

Beside it, /held tells how many database connections are held, and /hold does what the page warns of.
"""

from __future__ import annotations

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import pathlib
import re
import sys
import textwrap
from typing import Any

from gevent import pywsgi

from geventws import WebSocketWSGI

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "databases.rst"
DJANGO = """
from django.conf import settings
settings.configure(
    ROOT_URLCONF="__main__",
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "votes.db", "ATOMIC_REQUESTS": True}},
)
"""


def read_blocks() -> list[str]:
    """Return the page's code, block by block."""
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text(), re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def count_held() -> int:
    """Return how many database connections are in use."""
    names = globals()
    held: int = names["engine"].pool.checkedout()
    if "urlpatterns" in names:
        held += opened - closed
    return held


opened = closed = 0


def watch_django() -> None:
    """Count the connections that Django makes, and those that it closes."""
    from django.db.backends.sqlite3.base import DatabaseWrapper

    connect, close = DatabaseWrapper.get_new_connection, DatabaseWrapper._close

    def counted_connect(self: Any, parameters: Any) -> Any:
        global opened
        opened += 1
        return connect(self, parameters)

    def counted_close(self: Any) -> Any:
        global closed
        closed += self.connection is not None
        return close(self)

    DatabaseWrapper.get_new_connection, DatabaseWrapper._close = counted_connect, counted_close


@WebSocketWSGI
def hold(ws: Any) -> None:
    """Keep a session while waiting."""
    session = globals()["Session"]()
    try:
        for name in ws:
            ws.send(f"{name}: {globals()['vote'](session, name)}")
    finally:
        session.close()


def serve(application: Any) -> None:
    """Serve, and say where."""

    def dispatch(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/held":
            start_response("200 OK", [("Connection", "close")])
            return [str(count_held()).encode()]
        return (hold if environ["PATH_INFO"] == "/hold" else application)(environ, start_response)

    server = pywsgi.WSGIServer(("127.0.0.1", 0), dispatch, log=None)
    server.start()
    print(f"Listening at: http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    name = sys.argv[1]
    alchemy, flask_code, django_code = read_blocks()
    exec(alchemy, globals())
    if name == "flask_application":
        exec(flask_code, globals())
    elif name == "django_application":
        exec(DJANGO, globals())
        watch_django()
        exec(django_code, globals())
    serve(globals()[name])

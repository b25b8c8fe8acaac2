"""Applications that say whose certificate a client has shown, in each way in which a view may be made."""

from __future__ import annotations

from typing import Any

from geventws import WebSocketApplication, WebSocketMiddleware, WebSocketWSGI


def name_of(environ: dict[str, Any]) -> str:
    """Return the names in a client's certificate; "" where there is none, "plain" where there is no TLS."""
    if "geventws.peer_certificate" not in environ:
        return "plain"
    certificate = environ["geventws.peer_certificate"]()
    if certificate is None:
        return ""
    assert isinstance(environ["geventws.peer_certificate"](True), bytes)
    return " ".join(name for _kind, name in certificate["subjectAltName"])


@WebSocketWSGI(headers=lambda environ: [("X-Client", name_of(environ))])
def handler(ws: Any) -> None:
    """Tell it in a handler."""
    ws.send(name_of(ws.environ))


class Callbacks(WebSocketApplication):
    """Tell it in a callback."""

    def on_open(self, ws: Any) -> str:
        """Tell it."""
        return name_of(ws.environ)


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Tell it in a plain answer, and in a view behind the middleware."""
    if environ.get("wsgi.websocket") is not None:
        environ["wsgi.websocket"].send(name_of(environ))
        return []
    body = name_of(environ).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


ROUTES = {"/handler": handler, "/callbacks": Callbacks(), "/middleware": WebSocketMiddleware(page)}


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Dispatch on the path."""
    return ROUTES.get(environ["PATH_INFO"], page)(environ, start_response)

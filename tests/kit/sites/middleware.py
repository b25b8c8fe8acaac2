"""Applications for the tests of WebSocketMiddleware, and a client that gets a plain answer."""

from __future__ import annotations

from kit.clients import Answer

PAGE = [("Content-Type", "text/plain"), ("Content-Length", "4")]


def answer_page(environ, start_response):
    """Answer with a page, without looking at the socket."""
    start_response("403 Forbidden", PAGE)
    return [b"page"]


def application(use, *, status: str = "200 OK", body=(b"a body",)):
    """Return an application that calls `use(ws)` and then answers, as frameworks do."""

    def app(environ, start_response):
        use(environ["wsgi.websocket"])
        start_response(status, [("Content-Type", "text/plain")])
        return list(body)

    return app


def echo(ws) -> None:
    while (message := ws.receive()) is not None:
        ws.send(message)


def request(site, data: bytes) -> tuple[Answer, bytes]:
    """Return the answer to a request that gets no 101, and its body; the connection must end."""
    client = site.dial()
    client.send(data)
    answer = client.read_head()
    body = client.rest()
    if answer.get("transfer-encoding") == "chunked":
        body = b"".join(body.split(b"\r\n")[1::2])
    return answer, body

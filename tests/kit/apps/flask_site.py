"""A Flask application with WebSocket routes, as users of Flask-Sock write them."""

from __future__ import annotations

from threading import Thread
from typing import Any

import flask
from flask import Blueprint, Flask, got_request_exception, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user

from geventws.flask import Sock

sock = Sock()
rooms = Blueprint("rooms", __name__, url_prefix="/rooms")
raised: list[BaseException] = []
everybody: set[Any] = set()


class User(UserMixin):
    """Somebody who is known by the id alone."""

    def __init__(self, name: str) -> None:
        self.id = name


@sock.route("/echo")
def echo(ws: Any) -> None:
    while True:
        ws.send(ws.receive())


@sock.route("/plus/<int:number>", bp=rooms)
def plus(ws: Any, number: int) -> None:
    for message in ws:
        ws.send(str(int(message) + number))


@sock.route("/all")
def talk_to_all(ws: Any) -> None:
    everybody.add(ws)
    try:
        for message in ws:
            for one in tuple(everybody):
                one.send(message)
    finally:
        everybody.remove(ws)


@sock.route("/clock")
def clock(ws: Any) -> None:
    Thread(target=tick, args=(ws,)).start()
    ws.receive()


def tick(ws: Any) -> None:
    for number in range(3):
        ws.send(str(number))
    ws.close(4000, "time is up")


@sock.route("/who")
def who(ws: Any) -> None:
    ws.send(f"{current_user.get_id()} {session.get('visits')} {request.path} {flask.g.seen}")


@sock.route("/forget")
def forget(ws: Any) -> None:
    session["seen"] = True


@sock.route("/patient")
def patient(ws: Any) -> None:
    ws.send(repr(ws.receive(timeout=0)))


@sock.route("/fail")
def fail(ws: Any) -> None:
    raise LookupError("a fault of the route")


@sock.route("/pour")
def pour(ws: Any) -> None:
    while True:
        ws.send(b"x" * 100_000)


def make_app(**config: Any) -> Flask:
    """Return the application, with a configuration."""
    app = Flask(__name__)
    app.secret_key = "of the tests"
    app.config.update(config)
    manager = LoginManager(app)
    manager.user_loader(User)
    sock.init_app(app)
    app.register_blueprint(rooms)
    got_request_exception.connect(lambda _sender, exception: raised.append(exception), app, weak=False)

    @app.before_request
    def begin() -> None:
        flask.g.seen = "before"
        session["visits"] = session.get("visits", 0) + 1

    @app.after_request
    def end(response: Any) -> Any:
        response.headers["X-After"] = "1"
        return response

    @app.get("/login/<name>")
    def login(name: str) -> str:
        login_user(User(name))
        return "hello"

    return app


app = make_app()

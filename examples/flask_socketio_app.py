"""Chat rooms in Flask-SocketIO, whose WebSockets are geventws's.

    python examples/flask_socketio_app.py [PORT]
    gunicorn -k gevent --chdir examples flask_socketio_app:app

Open http://127.0.0.1:8000 twice. The page takes the JavaScript client from Socket.IO's own site.
"""

import sys

from flask import Flask, request
from flask_socketio import SocketIO, emit, join_room

from geventws.compat import engineio

engineio.install()

PAGE = """<!doctype html>
<title>Rooms</title>
<script src="https://cdn.socket.io/4.8.4/socket.io.min.js"></script>
<form><input name="text" placeholder="/join ROOM, or a message" size="50" autofocus></form>
<pre></pre>
<script>
const [form, log] = [document.querySelector("form"), document.querySelector("pre")];
const show = (line) => { log.textContent += line + "\\n"; };
const socket = io();
socket.on("said", (who, text) => show(`${who}: ${text}`));
socket.on("connect", () => socket.emit("join", "lobby", (count) => show(`in the lobby, ${count} present`)));
form.onsubmit = () => {
  const text = form.text.value;
  if (text.startsWith("/join ")) socket.emit("join", text.slice(6), (count) => show(`${count} present`));
  else socket.emit("say", text);
  form.reset();
  return false;
};
</script>
"""

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")
rooms = {}  # who is where: a room's name, by session


@app.get("/")
def page():
    return PAGE


@socketio.on("join")
def join(room):
    """Go to a room, and return how many are there: the client's acknowledgement."""
    if room_before := rooms.pop(request.sid, None):
        socketio.server.leave_room(request.sid, room_before)
    join_room(room)
    rooms[request.sid] = room
    return list(rooms.values()).count(room)


@socketio.on("say")
def say(text):
    """Pass text or bytes on to the room."""
    if room := rooms.get(request.sid):
        emit("said", (request.sid[:5], text), to=room)


@socketio.on("disconnect")
def leave(reason):
    rooms.pop(request.sid, None)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    print(f"http://127.0.0.1:{port}", flush=True)
    socketio.run(app, port=port)

"""Chromium: the browsers' API, without fragments and pings of its own; it always offers permessage-deflate."""

from __future__ import annotations

import json
import os
import pathlib
import sys

import common

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from kit.programs.browser import Browser  # noqa: E402

TALK = """
(url, rows) => new Promise((tell) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const messages = rows.map((row) => "text" in row ? row.text : bytes(row.binary));
  const same = (sent, echo) => typeof sent === "string" ? sent === echo
    : sent.length === echo.byteLength && new Uint8Array(echo).every((byte, index) => byte === sent[index]);
  const socket = new WebSocket(url);
  let number = 0;
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(messages[0]);
  socket.onmessage = ({data}) => {
    if (!same(messages[number], data)) return tell(`message ${number + 1} came back different`);
    number += 1;
    number < messages.length ? socket.send(messages[number]) : socket.close(1000);
  };
  socket.onclose = ({code, reason}) =>
    tell(number === messages.length && code === 1000 ? "ok" : `message ${number + 1}: closed with ${code} ${reason}`);
})
"""


def talk(url, _setting):
    rows = pathlib.Path(os.environ["INTEROP_MESSAGES"]).read_text()
    with Browser() as browser:
        # What a route answers to a browser is a page of the same origin, as the default asks.
        page = browser.open(url.replace("ws://", "http://"))
        verdict = page.evaluate(f"({TALK})({json.dumps(url)}, {rows})")
    if verdict != "ok":
        raise SystemExit(verdict)


common.run(talk, *sys.argv[1:])

"""geventws.js by itself, in Node with a WebSocket that does as it is told: when it comes back, and what it keeps."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kit.programs.rooms import DRIVER, NODE_MODULES, STATIC
from kit.sources import PROJECT

FAKE = DRIVER.with_name("rooms_fake.mjs")

def run(script: str) -> Any:
    """Run a script, and return what it shows."""
    head = f'import * as fake from "{FAKE}"; import {{ connect, RoomsError }} from "{STATIC / "geventws.js"}";'
    names = "const { advance, attempt, last, settle, show, sockets, timers, Socket } = fake;"
    command = ["node", "--input-type=module", "-e", head + names + script]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def test_the_delays_have_full_jitter_and_a_bound_that_doubles() -> None:
    script = """
        Math.random = () => %s;
        connect("ws://a.example/", { WebSocket: Socket, openTimeout: 1e9 });
        for (let turn = 0; turn < 9; turn++) {
          last().lose();
          await advance(60_000);
        }
        show(sockets.slice(1).map((socket, index) => socket.at - index * 60_000));
    """
    bounds = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    for share in (0, 0.25, 0.999):
        assert run(script % share) == pytest.approx([share * bound for bound in bounds])


def test_the_delays_begin_anew_once_a_connection_has_lived() -> None:
    lived = """
        Math.random = () => 0.5;
        connect("ws://a.example/", { WebSocket: Socket, openTimeout: 1e9 });
        for (let turn = 0; turn < 4; turn++) { last().lose(); await advance(60_000); }
        last().onopen();
        await advance(%d);
        const lost = Date.now();
        last().lose();
        await advance(60_000);
        show(last().at - lost);
    """
    assert run(lived % 10_000) == 500 and run(lived % 9_999) == 8000


def test_a_connection_that_does_not_open_is_given_up() -> None:
    assert run("""
        Math.random = () => 0;
        connect("ws://a.example/", { WebSocket: Socket, openTimeout: 3000 });
        await advance(2999);
        const before = sockets[0].closed;
        await advance(1);
        sockets[0].onmessage?.({ data: "what comes late counts for nothing" });
        show([before, sockets[0].closed, sockets.length, sockets[1].at]);
    """) == [False, True, 2, 3000]


def test_a_silent_connection_is_asked_and_given_up() -> None:
    assert run("""
        Math.random = () => 0;
        const states = [];
        const onState = (state, error) => states.push([state, error?.code ?? null, Date.now()]);
        const rooms = connect("ws://a.example/", { WebSocket: Socket, onState });
        last().onopen();
        await advance(30_000);
        last().say({ type: "pong", id: 1 });
        await advance(39_999);
        const alive = sockets.length;
        await advance(1);
        show([sockets[0].sent, alive, sockets.length, sockets[0].closed, states, rooms.state]);
    """) == [
        [{"type": "ping", "id": 1}, {"type": "ping", "id": 2}], 1, 2, True,
        [["open", None, 0], ["connecting", "lost", 70_000]], "connecting",
    ]  # fmt: skip


def test_a_connection_that_says_something_is_not_asked() -> None:
    assert run("""
        connect("ws://a.example/", { WebSocket: Socket });
        last().onopen();
        for (let turn = 0; turn < 20; turn++) {
          await advance(10_000);
          last().say({ type: "later" });
        }
        show([sockets.length, last().sent]);
    """) == [1, []]


def test_what_is_asked_without_a_connection_waits_and_what_was_sent_is_lost() -> None:
    assert run("""
        Math.random = () => 0;
        const rooms = connect("ws://a.example/", { WebSocket: Socket, maxWaiting: 2 });
        const one = attempt(rooms.publish("a", "1"));
        const two = attempt(rooms.presence("a"));
        const three = await attempt(rooms.publish("a", "3"));
        last().onopen();
        const sent = sockets[0].sent;
        last().say({ type: "published", id: 1, topic: "a" });
        last().lose(1012, "restart");
        const four = attempt(rooms.publish("a", "4"));
        await advance(0);
        last().onopen();
        last().say({ type: "error", id: 3, code: "forbidden", message: "no" });
        show([sent, three, await one, await two, last().sent, await four]);
    """) == [
        [{"type": "publish", "id": 1, "topic": "a", "data": "1"}, {"type": "presence", "id": 2, "topic": "a"}],
        ["RoomsError", "limit"], ["ok", None], ["RoomsError", "lost"],
        [{"type": "publish", "id": 3, "topic": "a", "data": "4"}], ["RoomsError", "forbidden"],
    ]  # fmt: skip


def test_subscriptions_go_on_from_their_positions() -> None:
    assert run("""
        Math.random = () => 0;
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const gaps = [];
        const onGap = (topic) => gaps.push(topic);
        const heard = [];
        const subscribe = (topic, options) => attempt(rooms.subscribe(topic, (m) => heard.push(m.data), options));
        subscribe("kept", { history: true, onGap });
        subscribe("plain", { history: true, onGap });
        subscribe("early", { since: "e:7", onGap });
        last().onopen();
        last().say({ type: "message", topic: "kept", position: "e:1", data: "1" });
        last().say({ type: "subscribed", id: 1, topic: "kept", position: "e:1" });
        last().say({ type: "message", topic: "kept", position: "e:2", data: "2" });
        last().say({ type: "subscribed", id: 2, topic: "plain" });
        last().say({ type: "message", topic: "early", position: "e:8", data: "8" });
        last().lose();
        await advance(0);
        last().onopen();
        last().say({ type: "gap", topic: "kept", position: "f:0" });
        last().say({ type: "subscribed", id: 4, topic: "kept", position: "f:0" });
        last().say({ type: "subscribed", id: 5, topic: "plain" });
        last().lose();
        await advance(0);
        last().onopen();
        show([sockets.map((socket) => socket.sent.map((one) => one.since ?? null)), heard, gaps]);
    """) == [
        [["", "", "e:7"], ["e:2", None, "e:8"], ["f:0", None, "e:8"]], ["1", "2", "8"], ["kept", "plain"],
    ]  # fmt: skip


def test_nothing_of_a_subscription_that_has_ended_is_heard() -> None:
    """Messages that the server sent before it knew belong to the old subscription, not to the new one."""
    assert run("""
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const heard = [];
        const subscribe = (name) => attempt(rooms.subscribe("a", (message) => heard.push([name, message.data])));
        const first = subscribe("first");
        const twice = await subscribe("twice");
        last().onopen();
        last().say({ type: "subscribed", id: 1, topic: "a", position: "e:0" });
        await first;
        const left = attempt(rooms.unsubscribe("a"));
        const second = subscribe("second");
        last().say({ type: "message", topic: "a", position: "e:1", data: "late" });
        last().say({ type: "unsubscribed", id: 2, topic: "a" });
        last().say({ type: "message", topic: "a", position: "e:2", data: "new" });
        last().say({ type: "subscribed", id: 3, topic: "a", position: "e:2" });
        await second;
        const third = attempt(rooms.unsubscribe("a"));
        last().say({ type: "error", id: 4, code: "failed", message: "" });
        subscribe("third");
        last().say({ type: "message", topic: "a", position: "e:3", data: "newer" });
        const pending = subscribe("fourth");
        show([heard, twice, await left, await third, await pending]);
    """) == [
        [["second", "new"], ["third", "newer"]], ["RoomsError", "subscribed"], ["ok", None], ["ok", None],
        ["RoomsError", "subscribed"],
    ]  # fmt: skip


def test_members_after_a_new_connection_are_compared_with_those_before() -> None:
    assert run("""
        Math.random = () => 0;
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const events = [];
        const onJoin = ({ member, info }) => events.push(["join", member, info]);
        const onLeave = ({ member, info }) => events.push(["leave", member, info]);
        const wanted = rooms.subscribe("a", () => {}, { presence: true, onJoin, onLeave });
        last().onopen();
        const members = (...pairs) => pairs.map(([member, info]) => ({ member, info }));
        const first = members(["ana", null], ["ben", 1], ["cleo", {}]);
        const second = members(["ben", 2], ["cleo", {}], ["eve", null]);
        last().say({ type: "subscribed", id: 1, topic: "a", members: first });
        const room = await wanted;
        const before = [...room.members];
        last().say({ type: "join", topic: "a", member: "dan", info: null });
        last().say({ type: "leave", topic: "a", member: "ana" });
        last().lose();
        await advance(0);
        last().onopen();
        last().say({ type: "subscribed", id: 2, topic: "a", members: second });
        show([before, events, [...room.members.keys()], last().sent]);
    """) == [
        [["ana", None], ["ben", 1], ["cleo", {}]],
        [["join", "dan", None], ["leave", "ana", None], ["leave", "dan", None], ["join", "ben", 2],
         ["join", "eve", None]],
        ["ben", "cleo", "eve"],
        [{"type": "subscribe", "topic": "a", "presence": True, "id": 2}],
    ]  # fmt: skip


def test_a_subscription_that_is_refused_ends() -> None:
    assert run("""
        Math.random = () => 0;
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const ended = [];
        const onEnd = (error) => ended.push(error.code);
        const one = attempt(rooms.subscribe("a", () => {}, { onEnd }));
        rooms.subscribe("b", () => {}, { onEnd });
        last().onopen();
        last().say({ type: "error", id: 1, code: "forbidden", message: "no" });
        last().say({ type: "subscribed", id: 2, topic: "b" });
        last().lose();
        await advance(0);
        last().onopen();
        last().say({ type: "error", id: 3, code: "failed", message: "no" });
        last().lose();
        await advance(0);
        last().onopen();
        show([await one, ended, last().sent]);
    """) == [["RoomsError", "forbidden"], ["failed"], []]


CODES = {1000: 0, 1001: 0, 1006: 0, 1009: 0, 1012: 0, 1013: 0, 4399: 0, 4500: 0, 1003: 1, 4400: 1, 4403: 1, 4499: 1}


@pytest.mark.parametrize(("code", "final"), CODES.items())
def test_some_codes_are_final(code: int, final: int) -> None:
    state, count, ended, answer, timers = run("""
        const [code, final] = [CODE, FINAL];
        Math.random = () => 0;
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const ended = [];
        rooms.subscribe("a", () => {}, { onEnd: (error) => ended.push(error.code) });
        last().onopen();
        last().say({ type: "subscribed", id: 1, topic: "a" });
        await settle();
        last().lose(code, "so");
        await advance(0);
        const answer = final ? await attempt(rooms.publish("a", "")) : null;
        show([rooms.state, sockets.length, ended, answer, timers.size]);
    """.replace("CODE", str(code)).replace("FINAL", str(final)))
    assert (state, count, ended) == (("closed", 1, ["closed"]) if final else ("connecting", 2, []))
    assert answer == (["RoomsError", "closed"] if final else None) and timers == (0 if final else 1)


def test_closing_ends_what_waits_and_leaves_no_timer() -> None:
    assert run("""
        const states = [];
        const onState = (...state) => states.push(state.length);
        const rooms = connect("ws://a.example/", { WebSocket: Socket, onState });
        const one = attempt(rooms.publish("a", ""));
        const two = attempt(rooms.subscribe("a", () => {}));
        last().onopen();
        rooms.close();
        rooms.close();
        const three = await attempt(rooms.subscribe("b", () => {}));
        show([await one, await two, three, last().closed, timers.size, rooms.state, sockets.length, states.length]);
    """) == [["RoomsError", "closed"]] * 3 + [True, 0, "closed", 1, 2]


def test_what_a_callback_raises_is_thrown_later_and_holds_up_nothing() -> None:
    assert run("""
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const heard = [];
        rooms.subscribe("a", ({ data }) => { heard.push(data); throw new Error("mine"); });
        last().onopen();
        last().say({ type: "message", topic: "a", data: "1" });
        last().say({ type: "message", topic: "a", data: "2" });
        let thrown = 0;
        for (const [, callback] of timers.values()) {
          try { callback(); } catch (error) { thrown += error.message === "mine"; }
        }
        show([heard, thrown]);
    """) == [["1", "2"], 2]


def test_urls_and_classes() -> None:
    assert run("""
        const told = [];
        for (const url of ["https://a.example/rooms?x=1", "http://a.example", "wss://a.example/", "/rooms", "no url"]) {
          try { connect(url, { WebSocket: Socket }); told.push(last().url); } catch (error) { told.push(error.name); }
        }
        globalThis.location = { href: "https://b.example/page/" };
        connect("../rooms", { WebSocket: Socket });
        try { connect("wss://a.example/", { WebSocket: undefined }); } catch (error) { told.push(error.name); }
        show([...told, last().url, last().protocol]);
    """) == ["wss://a.example/rooms?x=1", "ws://a.example/", "wss://a.example/", "TypeError", "TypeError", "TypeError",
             "wss://b.example/rooms", "geventws.rooms.v1"]  # fmt: skip


def test_binary_data_comes_and_goes() -> None:
    assert run("""
        const rooms = connect("ws://a.example/", { WebSocket: Socket });
        const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 251);
        let heard;
        rooms.subscribe("a", ({ data }) => { heard = data; });
        last().onopen();
        for (const data of [bytes, bytes.buffer, new DataView(bytes.buffer, 1, 3), new Uint16Array([1, 258])]) {
          rooms.publish("a", data);
        }
        const sent = last().sent.slice(1).map((one) => one.base64);
        last().say({ type: "message", topic: "a", base64: sent[0] });
        const same = heard instanceof Uint8Array && String(heard) === String(bytes);
        show([same, sent[1] === sent[0], sent[2], sent[3]]);
    """) == [True, True, "AQID", "AQACAQ=="]


TYPED = """
import { connect, RoomsError, type Message, type Subscription } from "geventws";

const rooms = connect("/rooms", { onState: (state, error) => console.log(state, error?.code), WebSocket: Object });
const show = (message: Message): number => message.data.length;
const room: Subscription = await rooms.subscribe("a", show, { history: true, onGap: (topic) => topic.trim() });
const position: string | null = room.position;
const names: string[] = [...room.members.keys(), ...(await rooms.presence("a")).map((one) => one.member)];
await rooms.publish("a", new Uint8Array(2));
try { await rooms.publish("a", "text"); } catch (error) { if (error instanceof RoomsError) console.log(error.code); }
await room.unsubscribe();
rooms.close();
console.log(position, names, rooms.state === "closed");
"""
WRONG = {
    'rooms.publish("a", 1);': "TS2345",
    'rooms.subscribe("a");': "TS2554",
    'connect("/rooms", { pingIntervall: 1 });': "TS2561",
    'room.position = "";': "TS2540",
    'rooms.state === "waiting";': "TS2367",
}


def test_the_types_are_right(tmp_path: Path) -> None:
    (tmp_path / "right.ts").write_text(TYPED)
    lines = TYPED.splitlines()
    (tmp_path / "wrong.ts").write_text("\n".join([*lines, *WRONG]))
    options = {
        "strict": True, "noEmit": True, "target": "es2022", "module": "esnext", "moduleResolution": "bundler",
        "types": [], "lib": ["es2022", "dom"], "paths": {"geventws": [str(STATIC / "geventws")]},
    }  # fmt: skip
    files = ["right.ts", "wrong.ts"]
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}))
    command = ["node", str(NODE_MODULES / "typescript" / "bin" / "tsc"), "-p", str(tmp_path)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=50).stdout
    errors = [line for line in found.splitlines() if "error" in line]
    assert len(errors) == len(WRONG), found
    for number, (error, code) in enumerate(zip(errors, WRONG.values(), strict=True), len(lines) + 1):
        assert f"wrong.ts({number}," in error and f"error {code}:" in error


def test_the_types_name_what_the_script_exports() -> None:
    script, types = ((STATIC / f"geventws.{suffix}").read_text() for suffix in ("js", "d.ts"))
    for name in ("connect", "RoomsError"):
        assert f"export function {name}(" in script or f"export class {name} " in script
        assert f"export function {name}(" in types or f"export class {name} " in types
    assert script.count("\nexport ") == 2
    assert (PROJECT / "pyproject.toml").read_text().count("static/*") == 1

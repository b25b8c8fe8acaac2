"""Session: what the server answers, what it sends, in which order, and what a client costs."""

from __future__ import annotations

import json
import logging
from typing import Any

import gevent
import pytest
from gevent.event import Event
from kit import frames
from kit.sites.doors import Door, Peer, brief

from geventws import PubSub
from geventws.engine.loop import turns


@pytest.fixture
def door(serve: Any) -> Door:
    return Door(serve)


def test_a_message_reaches_the_others_and_its_sender(door: Door) -> None:
    door.open()
    one, other = door.join("room"), door.join("room")
    assert one.ask("publish", topic="room", data="grüße 😀") == {"type": "published", "topic": "room"}
    assert other.ask("publish", topic="room", base64="AP8=")["type"] == "published"
    assert door.pubsub.publish("room", b"\x00") == 2 == door.pubsub.publish("room", "from the server")
    expected = [("message", "room", "grüße 😀"), ("message", "room", "AP8="), ("message", "room", "AA=="),
                ("message", "room", "from the server")]  # fmt: skip
    for peer in (one, other):
        seen = [brief(event) for event in peer.seen]
        assert seen + peer.hear(4 - len(seen)) == expected


def test_positions_go_up_and_subscribing_tells_the_last(door: Door) -> None:
    door.open()
    peer = door.connect()
    first = peer.ask("subscribe", topic="room")["position"]
    door.pubsub.publish("room", "a")
    message = peer.read()
    assert message["position"] != first
    assert peer.ask("subscribe", topic="room")["position"] == message["position"]
    assert "position" not in peer.ask("subscribe", topic="plain")
    door.pubsub.publish("plain", "b")
    assert peer.read() == {"type": "message", "topic": "plain", "data": "b"}


def test_a_client_that_comes_back_gets_what_it_missed(door: Door) -> None:
    door.open()
    peer = door.join("room")
    door.pubsub.publish("room", "0")
    position = peer.read()["position"]
    peer.raw.close()
    for number in range(1, 51):
        door.pubsub.publish("room", str(number))
    back = door.connect()
    answer = back.ask("subscribe", topic="room", since=position)
    assert [event["data"] for event in back.seen] == [str(number) for number in range(1, 51)]
    assert answer["position"] == back.seen[-1]["position"]
    assert back.ask("subscribe", topic="room", since=answer["position"]) == answer and len(back.seen) == 50


def test_a_client_that_comes_back_too_late_is_told_of_the_gap(door: Door) -> None:
    door.open()
    peer = door.connect()
    position = peer.ask("subscribe", topic="room")["position"]
    peer.ask("unsubscribe", topic="room")
    for number in range(150):
        door.pubsub.publish("room", str(number))
    peer.ask("subscribe", topic="room", since=position)
    assert brief(peer.seen[0]) == ("gap", "room")
    assert [event["data"] for event in peer.seen[1:]] == [str(number) for number in range(50, 150)]


@pytest.mark.parametrize("since", ["nonsense", "other:7", "x" * 5_000, ":", "a:-1", "a:99999999999999999999"])
def test_a_position_that_means_nothing_here_is_a_gap(door: Door, since: str) -> None:
    door.open()
    door.pubsub.publish("room", "a")
    peer = door.join("room", since=since)
    assert [brief(event) for event in peer.seen] == [("gap", "room"), ("message", "room", "a")]


def test_all_that_is_kept(door: Door) -> None:
    door.open()
    peer = door.connect()
    assert peer.ask("subscribe", topic="room", since="")["type"] == "subscribed" and peer.seen == []
    for number in range(120):
        door.pubsub.publish("room", str(number))
    assert peer.hear(120)[-1] == ("message", "room", "119")
    peer.ask("subscribe", topic="room", since="")
    assert [event["data"] for event in peer.seen] == [str(number) for number in range(20, 120)], "and no gap"


def test_a_topic_without_history_has_a_gap_for_who_comes_back(door: Door) -> None:
    door.open()
    peer = door.connect()
    assert peer.ask("subscribe", topic="plain", since="e:1") == {"type": "subscribed", "topic": "plain"}
    assert peer.seen == [{"type": "gap", "topic": "plain"}]
    assert peer.ask("subscribe", topic="plain", since="") == {"type": "subscribed", "topic": "plain"}
    assert len(peer.seen) == 1


def test_what_is_published_while_a_client_catches_up_comes_once_and_in_order(door: Door) -> None:
    """The history is larger than what may wait for a subscriber, and is sent as the client takes it."""
    door.pubsub = PubSub(history={"room*": (40, 300)}, max_queue_bytes=1)
    door.open()
    for number in range(40):
        door.pubsub.publish("room", f"{number} " + "x" * 100_000)
    peer = door.connect(receive_buffer=4096)
    peer.tell("subscribe", topic="room", since="")
    found = []
    while len(found) < 80:
        message = peer.read()
        if message["type"] == "message":
            found.append(int(message["data"].split(" ")[0]))
            if len(found) <= 40:
                door.pubsub.publish("room", str(39 + len(found)) + " ")
        assert message["type"] in ("message", "subscribed")
    assert found == list(range(80))


def test_unsubscribing(door: Door) -> None:
    door.open()
    peer = door.join("room")
    assert peer.ask("unsubscribe", topic="room") == {"type": "unsubscribed", "topic": "room"}
    assert door.pubsub.publish("room", "lost") == 0
    assert peer.ask("unsubscribe", topic="room")["type"] == "unsubscribed" and peer.seen == []
    assert ("unsubscribe", "room") not in door.asked


# What is allowed


def test_nothing_is_allowed_by_default(serve: Any) -> None:
    site = serve(PubSub().endpoint())
    peer = Peer(site.connect(sec_websocket_protocol="geventws.rooms.v1"))
    for kind, more in {"subscribe": {}, "publish": {"data": ""}, "presence": {}}.items():
        answer = peer.ask(kind, topic="room", **more)
        expected = {"type": "error", "code": "forbidden", "message": f"{kind} to 'room' is not allowed"}
        assert answer == expected
    assert peer.ask("ping") == {"type": "pong"}


def test_each_action_is_allowed_by_itself(door: Door) -> None:
    door.authorize = lambda environ, action, topic: (action, topic) == ("publish", "a") and environ["PATH_INFO"] == "/"
    door.open()
    peer = door.connect()
    assert peer.ask("publish", topic="a", data="")["type"] == "published"
    assert [peer.ask("publish", topic="b", data="")["code"], peer.ask("subscribe", topic="a")["code"],
            peer.ask("presence", topic="a")["code"]] == ["forbidden"] * 3  # fmt: skip
    assert door.asked == [("publish", "a"), ("publish", "b"), ("subscribe", "a"), ("presence", "a")]
    assert door.pubsub.count("a") == 0


def test_a_subscription_ends_with_one_that_is_refused(door: Door) -> None:
    door.open()
    peer = door.join("room")
    door.authorize = lambda environ, action, topic: False
    assert peer.ask("subscribe", topic="room")["code"] == "forbidden"
    assert door.pubsub.count("room") == 0


def test_authorize_may_block_and_holds_up_nobody(door: Door) -> None:
    door.open()
    one, other = door.join("room"), door.join("room")
    asked, answered = Event(), Event()

    def authorize(environ: Any, action: str, topic: str) -> object:
        if topic == "slow":
            asked.set()
            answered.wait()
        return True

    door.authorize = authorize
    one.tell("subscribe", topic="slow")
    one.tell("ping")
    asked.wait()
    for number in range(10):
        assert other.ask("publish", topic="room", data=str(number))["type"] == "published"
    assert one.hear(10) == [("message", "room", str(number)) for number in range(10)], "live, meanwhile"
    answered.set()
    assert [one.read()["type"], one.read()["type"]] == ["subscribed", "pong"]


@pytest.mark.parametrize("error", [KeyError("who"), gevent.Timeout(1)], ids=lambda error: type(error).__name__)
def test_authorize_that_raises_is_an_error_and_a_line(door: Door, error: BaseException, log: Any) -> None:
    door.open()
    peer = door.join("room")

    def authorize(environ: Any, action: str, topic: str) -> object:
        raise error

    door.authorize = authorize
    answer = peer.ask("publish", topic="room", data="")
    assert answer == {"type": "error", "code": "failed", "message": "the server has failed"}
    (record,) = log()
    assert record.levelno == logging.ERROR and record.exc_info[1] is error
    assert record.getMessage().endswith(": authorize of PubSub.endpoint failed")
    door.authorize = lambda environ, action, topic: True
    assert peer.ask("publish", topic="room", data="")["type"] == "published", "the connection goes on"


def test_who_leaves_while_authorize_blocks_is_no_error(door: Door, log: Any) -> None:
    door.open()
    peer = door.connect()
    asked, answered = Event(), Event()
    door.authorize = lambda environ, action, topic: asked.set() or answered.wait()
    peer.tell("subscribe", topic="room")
    asked.wait()
    peer.raw.close()
    answered.set()
    door.site.settle()
    assert log() == [] and door.pubsub.count("room") == 0


# Who is there


def test_members_see_each_other(door: Door) -> None:
    door.member = lambda environ: (environ["QUERY_STRING"], {"of": "the server"})
    door.open()
    ana = door.connect("ana")
    shown = {"member": "ana", "info": {"of": "the server"}}
    assert ana.ask("subscribe", topic="plain", presence=True, member="the queen", info=1)["members"] == [shown]
    ben, guest = door.connect("ben"), door.join("plain")
    assert [one["member"] for one in ben.ask("subscribe", topic="plain", presence=True)["members"]] == ["ana", "ben"]
    assert ana.read() == {"type": "join", "topic": "plain", "member": "ben", "info": {"of": "the server"}}
    assert ben.ask("unsubscribe", topic="plain")["type"] == "unsubscribed"
    assert ana.ask("presence", topic="plain")["members"][0] == shown
    assert door.pubsub.untrack(door.pubsub.subscribers("plain")[0], "plain")
    assert [ana.hear(), guest.ask("ping"), guest.seen, ben.seen] == [
        [("leave", "plain", "ana")], {"type": "pong"}, [], [],
    ]  # fmt: skip


def test_the_position_is_that_of_what_came_while_the_members_were_asked_for(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a bus, `presence` waits for Redis at first: whoever goes on from here must not get a message again."""
    asked, presence = Event(), door.pubsub.presence

    def ask_redis(topic: str) -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            door.pubsub.publish(topic, "meanwhile")
            gevent.sleep(0.01)
        return presence(topic)

    monkeypatch.setattr(door.pubsub, "presence", ask_redis)
    door.open()
    peer = door.connect()
    answer = peer.ask("subscribe", topic="room", presence=True)
    assert [event["data"] for event in peer.seen] == ["meanwhile"]
    assert answer["position"] == peer.seen[0]["position"]


def test_who_has_no_name_sees_the_others_and_is_not_shown(door: Door) -> None:
    door.open()
    guest = door.connect()
    assert guest.ask("subscribe", topic="plain", presence=True)["members"] == []
    door.join("plain", "ana", presence=True)
    door.join("plain", "ben")
    assert guest.hear() == [("join", "plain", "ana")]
    assert guest.ask("presence", topic="plain")["members"] == [{"member": "ana", "info": None}] and guest.seen == []


def test_who_comes_and_goes_and_comes_back_has_not_left(door: Door) -> None:
    door.pubsub = PubSub(presence_grace=1)
    door.open()
    ana, ben = door.join("plain", "ana", presence=True), door.connect("ben")
    for _ in range(20):
        ben.ask("subscribe", topic="plain", presence=True)
        ben.ask("unsubscribe", topic="plain")
    ben.raw.close()
    door.join("plain", "ben", presence=True)
    assert ana.hear() == [("join", "plain", "ben")] and ana.ask("ping") == {"type": "pong"} and ana.seen == []
    door.site.close()
    door.wait_until(lambda: not door.pubsub.presence("plain"))


def test_who_is_gone_leaves(door: Door) -> None:
    door.open()
    ana, ben = door.join("plain", "ana", presence=True), door.join("plain", "ben", presence=True)
    assert ana.hear() == [("join", "plain", "ben")]
    ben.raw.close()
    assert ana.hear() == [("leave", "plain", "ben")]


def test_presence_has_to_be_allowed(door: Door) -> None:
    door.authorize = lambda environ, action, topic: action != "presence"
    door.open()
    peer = door.connect("ana")
    assert peer.ask("subscribe", topic="plain", presence=True)["code"] == "forbidden"
    assert door.pubsub.count("plain") == 0 and door.pubsub.presence("plain") == {}
    assert "members" not in peer.ask("subscribe", topic="plain") and door.pubsub.presence("plain") == {}


@pytest.mark.parametrize("name", [7, "", "x" * 300, ("ana", {1, 2}), ("ana", 1, 2), ("ana", "x" * 5000), KeyError("x")])
def test_a_member_that_cannot_be_is_an_error_and_a_line(door: Door, name: Any, log: Any) -> None:
    def member(environ: Any) -> Any:
        if isinstance(name, Exception):
            raise name
        return name

    door.member = member
    door.open()
    peer = door.connect()
    assert peer.ask("subscribe", topic="plain", presence=True)["code"] == "failed"
    assert [record.getMessage().split(": ")[1] for record in log()] == ["member of PubSub.endpoint failed"]
    assert door.pubsub.count("plain") == 0 and peer.ask("subscribe", topic="plain")["type"] == "subscribed"


# What is wrong


def test_what_a_request_lacks_is_told_and_the_connection_goes_on(door: Door) -> None:
    door.open()
    peer = door.connect()
    assert peer.ask("later", x=1) == {"type": "error", "code": "unknown_type", "message": "there is no such request"}
    assert peer.ask("subscribe")["message"] == "topic is missing"
    assert peer.ask("publish", topic="room", data=1)["code"] == "bad_request"
    assert peer.ask("ping", topic=1, more={"x": [1]}) == {"type": "pong"}
    assert door.asked == []


def test_limits(door: Door) -> None:
    door.pubsub = PubSub(max_topics=3, max_topic_length=5)
    door.open()
    peer = door.connect()
    for topic in "abc":
        assert peer.ask("subscribe", topic=topic)["type"] == "subscribed"
    answer = peer.ask("subscribe", topic="d")
    assert answer["code"] == "limit" and "max_topics" in answer["message"]
    assert peer.ask("subscribe", topic="a")["type"] == "subscribed", "which it has already"
    for kind in ("subscribe", "publish", "presence"):
        answer = peer.ask(kind, topic="sixsix", data="")
        assert answer["code"] == "limit" and "max_topic_length" in answer["message"]
    assert ("publish", "sixsix") not in door.asked


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"type": "ping"}', '{"type": "ping", "id": 0}', "[" * 60_000])
def test_who_does_not_speak_the_protocol_is_closed(door: Door, text: str) -> None:
    door.open()
    peer, other = door.join("room"), door.join("room")
    peer.raw.send(frames.text(text))
    peer.raw.expect_close(4400, None)
    assert other.ask("ping") == {"type": "pong"}


def test_a_binary_message_is_closed(door: Door) -> None:
    door.open()
    peer = door.connect()
    peer.raw.send(frames.binary(b'{"type": "ping", "id": 1}'))
    peer.raw.expect_close(1003, "a message of this protocol is text")


def test_a_message_that_is_too_large_is_closed(door: Door) -> None:
    door.open()
    peer = door.connect()
    peer.tell("publish", topic="room", data="x" * 65_000)
    assert peer.read()["type"] == "published"
    peer.tell("publish", topic="room", data="x" * 66_000)
    peer.raw.expect_close(1009, None)


def test_one_who_does_not_read_is_closed_and_delays_nobody(door: Door) -> None:
    door.open()
    slow, fast = door.connect(receive_buffer=4096), door.join("room")
    slow.ask("subscribe", topic="room")
    count = 0
    while door.pubsub.count("room") == 2:
        assert fast.ask("publish", topic="room", data="x" * 60_000)["type"] == "published"
        count += 1
    while count > len(fast.seen):
        fast.seen.append(fast.read())
    assert {brief(event) for event in fast.seen} == {("message", "room", "x" * 60_000)}


def test_a_flood_of_requests_leaves_the_loop_its_turns(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN", 0.0005)  # some 20 requests; without turns there are 17 round trips
    door.open()
    flood, other = door.connect(), door.connect()
    count = 5_000
    requests = b"".join(frames.text(json.dumps({"type": "subscribe", "id": number, "topic": str(number % 100)}))
                        for number in range(1, count + 1))  # fmt: skip
    sender = gevent.spawn(flood.raw.send, requests)
    answered = []
    reader = gevent.spawn(lambda: [answered.append(flood.read()) for _ in range(count)])
    trips = 0
    while len(answered) < count:
        assert other.ask("ping") == {"type": "pong"}
        trips += 1
    gevent.joinall([sender, reader], raise_error=True)
    assert trips > 40, f"{trips} round trips during the flood"
    assert [one["id"] for one in answered] == list(range(1, count + 1))

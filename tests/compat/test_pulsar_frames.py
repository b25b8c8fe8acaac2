"""The parsers of geventws.compat.pulsar and pulsar04: what pulsar's own tests check, in literal bytes."""

from __future__ import annotations

import pytest
from kit.frames import MASK_KEY
from kit.handshakes import ACCEPT, KEY

from geventws.compat import pulsar, pulsar04
from geventws.compat.pulsar import CLOSE_CODES, FrameParser, ProtocolError, frame_parser, parse_close
from geventws.compat.pulsar04 import Frame, WebSocketProtocolError

HELLO = b"\x81\x05Hello"
MASKED_HELLO = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
LARGE = bytes(range(256)) * 256  # 64 KiB

both_cores = pytest.mark.parametrize("pyparser", [False, True])


# The newer: pulsar.utils.websocket


@pytest.mark.parametrize("version", [None, 13, "13"])
def test_version(version):
    assert frame_parser(version).version == pulsar.get_version(version) == 13
    assert pulsar.SUPPORTED_VERSIONS == (13,)


@pytest.mark.parametrize("version", [8, "8", "xxx", 809])
def test_version_that_is_not_spoken(version):
    with pytest.raises(ProtocolError, match="not supported"):
        frame_parser(version)


@pytest.mark.parametrize(("kind", "decoded", "encoded"), [(0, 4, 0), (1, 0, 4), (2, 0, 0), (3, 4, 4)])
def test_kinds(kind, decoded, encoded):
    parser = frame_parser(kind=kind, extensions=["x"], protocols=["y"])
    assert (parser.kind, parser.decode_mask_length, parser.encode_mask_length) == (kind, decoded, encoded)
    assert (parser.max_payload, parser.extensions, parser.protocols) == (1 << 63, ["x"], ["y"])
    peer = frame_parser(kind={0: 1, 1: 0}.get(kind, kind))
    for message in ("Hello", "", b"\x00\xff", LARGE):
        frame = peer.decode(parser.encode(message))
        assert (frame.body, frame.final, frame.is_message) == (message, True, isinstance(message, str))
        assert len(frame.masking_key) == encoded and frame.payload_length == len(message)
        assert peer.decode() is None


def test_there_is_no_fifth_kind():
    with pytest.raises(ValueError, match="0, 1, 2 or 3"):
        frame_parser(kind=4)


def test_frames_of_the_rfc():
    server, client = frame_parser(), frame_parser(kind=1)
    assert server.encode("Hello") == HELLO
    assert server.encode("Hel", final=False) == b"\x01\x03Hel"
    assert server.continuation("lo") == b"\x80\x02lo" and server.continuation(b"l", final=False) == b"\x00\x01l"
    assert client.encode("Hello", masking_key=MASK_KEY) == MASKED_HELLO
    assert client.encode("Hello", masking_key="ciao")[2:6] == b"ciao"
    assert server.encode(bytes(256))[:4] == b"\x82\x7e\x01\x00"
    assert server.encode(LARGE)[:10] == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
    assert server.encode(None) == b"\x82\x00" and server.encode("", rsv1=1, rsv2=1, rsv3=1) == b"\xf1\x00"
    frame = server.decode(MASKED_HELLO)
    assert (frame.opcode, frame.final, frame.body, frame.masking_key) == (1, True, "Hello", MASK_KEY)


def test_control_frames():
    server, client = frame_parser(), frame_parser(kind=1)
    assert server.ping("Hello") == b"\x89\x05Hello" and server.pong() == b"\x8a\x00"
    assert server.close(1001) == b"\x88\x0c\x03\xe9going away" and server.close() == b"\x88\x04\x03\xe8OK"
    assert server.close(4000) == b"\x88\x02\x0f\xa0" and CLOSE_CODES[1000] == "OK"
    frame = client.decode(server.close(1001))
    assert frame.is_close and parse_close(frame.body) == (1001, "going away")
    frame = client.decode(server.ping(b"a") + server.pong(b"b"))
    assert frame.is_ping and frame.body == b"a"
    frame = client.decode()
    assert frame.is_pong and frame.body == b"b"


@pytest.mark.parametrize("name", ["ping", "pong"])
def test_control_frames_have_125_bytes(name):
    assert len(getattr(frame_parser(), name)(bytes(125))) == 127
    with pytest.raises(ProtocolError, match="125"):
        getattr(frame_parser(), name)(bytes(126))


def test_what_is_no_frame():
    with pytest.raises(ProtocolError, match="reserved"):
        frame_parser().encode("x", opcode=3)
    with pytest.raises(ProtocolError, match="four bytes"):
        frame_parser(kind=1).encode("x", masking_key=b"abc")
    with pytest.raises(ValueError, match="1006"):
        frame_parser().close(1006)


@both_cores
@pytest.mark.parametrize(
    "data",
    [
        HELLO,  # not masked
        b"\x08\x80" + MASK_KEY,  # a fragmented control frame
        b"\x89\xfe\x01\x00" + MASK_KEY,  # one of 256 bytes
        b"\xc1\x80" + MASK_KEY,  # a reserved bit
        b"\x83\x80" + MASK_KEY,  # a reserved opcode
        b"\x81\xfe\x00\x01" + MASK_KEY,  # a length that is not minimal
        b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00" + MASK_KEY,  # a frame of 1 GiB
        b"\x81\x81\x00\x00\x00\x00\xff",  # not UTF-8
    ],
)
def test_breaches(data, pyparser):
    with pytest.raises(ProtocolError):
        frame_parser(pyparser=pyparser).decode(data)


def test_a_server_does_not_mask():
    with pytest.raises(ProtocolError, match="masked"):
        frame_parser(kind=1).decode(MASKED_HELLO)


def test_reserved_bits_for_extensions():
    assert frame_parser(kind=2, extensions=["mine"]).decode(b"\xf1\x01x").body == "x"


@both_cores
@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_partial_parsing(size, pyparser):
    data = frame_parser(kind=1).encode(LARGE[:3000]) + MASKED_HELLO + MASKED_HELLO
    parser = frame_parser(pyparser=pyparser)
    bodies = []
    for at in range(0, len(data), size):
        frame = parser.decode(data[at : at + size])
        while frame is not None:
            bodies.append(frame.body)
            frame = parser.decode()
    assert bodies == [LARGE[:3000], "Hello", "Hello"]


def test_a_fragment_may_end_within_a_character():
    parser = FrameParser(kind=2)
    first, second = parser.decode(b"\x01\x02a\xe2"), parser.decode(b"\x80\x02\x82\xac")
    assert isinstance(first.body, str) and not first.final
    assert (first.body.encode("utf-8", "surrogateescape") + second.body).decode() == "a\u20ac"


@pytest.mark.parametrize(
    ("size", "limit", "count"), [(65536, 6500, 11), (100, 50, 2), (100, 100, 1), (0, 10, 1), (5, 1, 3)]
)
def test_multi_encode(size, limit, count):
    parser = frame_parser(kind=2)
    message = LARGE[:size]
    parts = [parser.decode(data) for data in parser.multi_encode(message, max_payload=limit)]
    assert b"".join(part.body for part in parts) == message
    assert [part.final for part in parts] == [False] * (count - 1) + [True]
    assert [part.opcode for part in parts] == [2] + [0] * (count - 1)


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xed", b"\x07\xd0", b"\x03\xe8\xff"])
def test_parse_close(payload):
    assert parse_close(b"") == (1005, "") and parse_close(b"\x0f\xa0why") == (4000, "why")
    with pytest.raises(ProtocolError):
        parse_close(payload)


def test_websocket_key():
    assert len(pulsar.websocket_key()) == 24 and pulsar.websocket_key() != pulsar.websocket_key()
    for face in (pulsar.WebSocket("/", pulsar.WS()), pulsar04.WebSocket(pulsar04.WS())):
        assert face.challenge_response(KEY) == ACCEPT


# The older: pulsar.apps.ws of 0.4


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": 809},
        {"opcode": 56},
        {},
        {"message": "bla", "masking_key": "foo"},
        {"message": "bla", "masking_key": "fooox"},
        {"message": bytes(126), "opcode": 9},
    ],
    ids=str,
)
def test_bad_frames_04(arguments):
    with pytest.raises(WebSocketProtocolError):
        Frame(**arguments)


def test_data_frames_04():
    frame = Frame("Hello", final=True)
    assert (frame.opcode, frame.payload_length, frame.masked, frame.final, frame.fin) == (1, 5, False, True, 1)
    assert frame.msg == HELLO and frame.is_data and not frame.is_close and frame.version == 13
    assert Frame("Hel").msg == b"\x01\x03Hel" and Frame.continuation("lo", final=True).msg == b"\x80\x02lo"
    assert Frame("", rsv1=1, rsv3=1).msg == b"\x51\x00" and Frame("x", version=8).version == 8
    assert Frame(bytes(256), opcode=2, final=True).msg[:4] == b"\x82\x7e\x01\x00"
    assert Frame(LARGE, final=True).msg[:10] == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


def test_masking_04():
    frame = Frame("Hello", masking_key=MASK_KEY, final=True)
    assert frame.masked and frame.msg == MASKED_HELLO == frame.build_frame("Hello")
    assert frame.mask(b"Hello") == bytearray(b"\x7f\x9f\x4d\x51\x58") and frame.unmask(frame.mask(b"abc")) == b"abc"


def test_control_frames_04():
    ping = Frame.ping("Hello")
    assert ping.opcode == 9 and ping.msg == b"\x89\x05Hello" and ping.on_received().msg == b"\x8a\x05Hello"
    assert Frame.pong().msg == b"\x8a\x00" and Frame.pong().on_received() is None
    assert Frame.close().msg == b"\x88\x00" and Frame.close("bye").msg == b"\x88\x05\x03\xe8bye"
    assert Frame.close(b"\x0f\xa0").is_close
    with pytest.raises(ValueError, match="single byte"):
        Frame.close(b"x")


def test_parser_04():
    parser = pulsar04.FrameParser()
    assert parser.execute(b"") is None
    with pytest.raises(WebSocketProtocolError):
        pulsar04.FrameParser().execute(HELLO)
    frame = parser.execute(Frame("Hello", masking_key="ciao", final=True).msg)
    assert (frame.body, frame.payload_length, frame.masking_key, frame.final) == ("Hello", 5, b"ciao", True)
    large = Frame(LARGE, final=True, masking_key="ciao").msg
    assert [parser.execute(part) for part in (large[:1], large[1:5], large[5:50])] == [None] * 3
    assert parser.execute(large[50:]).body == LARGE


def test_bytes_behind_a_frame_04():
    parser = pulsar04.FrameParser(kind=1)
    assert parser.execute(HELLO + b"\x81\x01a" + b"\x82").body == "Hello"
    assert parser.execute(b"").body == "a" and parser.execute(b"") is None and parser.execute(b"\x01b").body == b"b"
    frame, rest = parser.decode(HELLO + b"\x81")
    assert frame.body == "Hello" and rest == bytearray(b"\x81")
    assert parser.decode(rest) == (None, bytearray()) and parser.decode(b"\x01c")[0].body == "c"


def test_encode_04():
    assert pulsar04.FrameParser().encode("Hello") == HELLO == pulsar04.FrameParser().encode(Frame("Hello", final=True))
    masked = pulsar04.FrameParser(kind=1).encode("Hello")
    assert len(masked) == len(MASKED_HELLO) and pulsar04.FrameParser().execute(masked).body == "Hello"
    assert pulsar04.FrameParser(kind=2).execute(HELLO).body == "Hello"

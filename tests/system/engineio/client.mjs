// Talks to app.py with socket.io-client:  node client.mjs MODULES URL upgrade|websocket SCENARIO ...
// MODULES is where socket.io-client is installed. Writes an object with "ok", or with what failed, for each scenario.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [modules, url, way, ...names] = process.argv.slice(2);
const { io } = createRequire(`${modules}/`)("socket.io-client");
const transports = { upgrade: ["polling", "websocket"], websocket: ["websocket"] }[way];
const MEGABYTE = 1 << 20;
const sockets = [];

const next = (emitter, event) => new Promise((resolve) => emitter.once(event, (...values) => resolve(values)));
const goneFor = (socket, id) => new Promise((resolve) => socket.on("gone", (...told) => told[0] === id && resolve(told)));

function open(options = {}) {
  const socket = io(url, { transports, forceNew: true, reconnection: false, ...options });
  sockets.push(socket);
  return socket;
}

async function connected(options) {
  const socket = open(options);
  const failure = next(socket, "connect_error").then(([error]) => { throw error; });
  await Promise.race([next(socket, "connect"), failure]);
  return socket;
}

async function upgraded(options) {
  const socket = await connected(options);
  const { engine } = socket.io;
  if (engine.transport.name !== "websocket") await next(engine, "upgrade");
  return socket;
}

const scenarios = {
  async "becomes a WebSocket"() {
    const transports = [];
    const socket = open();
    socket.io.once("open", () => transports.push(socket.io.engine.transport.name));
    socket.io.engine.on("upgrade", (transport) => transports.push(transport.name));
    await next(socket, "connect");
    if (way === "upgrade" && transports.length === 1) await next(socket.io.engine, "upgrade");
    assert.deepEqual(transports, way === "upgrade" ? ["polling", "websocket"] : ["websocket"]);
    assert.equal(await socket.emitWithAck("transport"), "websocket");
    assert.match(socket.io.engine.transport.ws.extensions, /permessage-deflate/);
  },

  async "loses nothing while it upgrades"() {
    const socket = await connected();
    const numbers = Array.from({ length: 10 }, (_, i) => i); // python-engineio takes 16 packets in a POST, no more
    const sums = await Promise.all(numbers.map((i) => socket.emitWithAck("add", i, 1)));
    assert.deepEqual(sums, numbers.map((i) => i + 1));
  },

  async "acknowledges on both sides"() {
    const socket = await upgraded();
    assert.equal(await socket.emitWithAck("add", 20, 22), 42);
    socket.on("question", (question, answer) => answer(question.toUpperCase()));
    assert.equal(await socket.emitWithAck("ask me", "well?"), "you said WELL?");
  },

  async "takes text and binary"() {
    const socket = await upgraded();
    const deep = { deep: [Buffer.from([0, 255, 1]), null, 1.5] };
    const values = ["\u20ac \u{1F600}", deep, Buffer.alloc(0), "x".repeat(70_000)];
    const event = next(socket, "mirrored");
    const acknowledged = new Promise((resolve) => socket.emit("mirror", ...values, (...back) => resolve(back)));
    assert.deepEqual(await acknowledged, values);
    assert.deepEqual(await event, values);
  },

  async "takes 4 MB"() {
    const socket = await upgraded();
    const binary = Buffer.alloc(4 * MEGABYTE, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
    assert.ok(binary.equals(await socket.emitWithAck("make", binary.length)));
    assert.ok(binary.equals(await socket.emitWithAck("mirror", binary)));
    const text = "\u00e9 and more ".repeat(MEGABYTE / 3);
    assert.equal(await socket.emitWithAck("mirror", text), text);
  },

  async "ends with what is too large"() {
    const socket = await upgraded();
    const end = next(socket, "disconnect");
    socket.emit("mirror", Buffer.alloc(6 * MEGABYTE));
    const [reason, details] = await end;
    assert.equal(reason, "transport close");
    assert.equal(details.context.code, 1009);
  },

  async "has rooms"() {
    const [one, two, three] = await Promise.all([upgraded(), upgraded(), upgraded()]);
    const heard = [[], [], []];
    [one, two, three].forEach((socket, i) => socket.on("said", (text) => heard[i].push(text)));
    const room = `room ${Math.random()}`;
    const settle = () => Promise.all([one, two, three].map((socket) => socket.emitWithAck("add", 1, 1)));
    one.emit("join", room);
    two.emit("join", room);
    await settle();
    three.emit("say", room, "first");
    await settle().then(settle);
    two.emit("leave", room);
    await settle();
    one.emit("say", room, "second");
    await settle().then(settle);
    assert.deepEqual(heard, [["first", "second"], ["first"], []]);
  },

  async "leaves, and others are told"() {
    const [one, two] = await Promise.all([upgraded(), upgraded()]);
    const { id } = one;
    const told = goneFor(two, id);
    one.disconnect();
    assert.deepEqual(await told, [id, "client disconnect"]);
  },

  async "is lost, and others are told"() {
    const [one, two] = await Promise.all([upgraded(), upgraded()]);
    const { id } = one;
    const told = goneFor(two, id);
    one.io.engine.transport.ws.terminate();
    assert.deepEqual(await told, [id, "transport close"]);
  },

  async "is thrown out"() {
    const socket = await upgraded();
    socket.emit("throw me out");
    assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
  },

  async "answers pings"() {
    const socket = await upgraded();
    await next(socket.io, "ping");
    await next(socket.io, "ping");
    assert.equal(await socket.emitWithAck("add", 1, 1), 2);
  },

  async "comes from a page that may connect"() {
    const socket = await upgraded({ extraHeaders: { Origin: "https://shop.example" } });
    assert.equal(await socket.emitWithAck("transport"), "websocket");
  },

  async "comes from a page that may not"() {
    const [error] = await next(open({ extraHeaders: { Origin: "https://evil.example" } }), "connect_error");
    const answer = error.context?.status ?? error.description?.message;
    assert.match(String(answer), /400/);
  },
};

// What is not for app.py: the programs of docs/flask-socketio.rst, and examples/flask_socketio_app.py
const others = {
  async adds() {
    const socket = await upgraded();
    assert.equal(await socket.emitWithAck("add", 20, 22), 42);
  },

  async chats() {
    const [one, two] = await Promise.all([upgraded(), upgraded()]);
    const room = `room ${Math.random()}`;
    assert.equal(await one.emitWithAck("join", "lobby"), 1);
    assert.equal(await one.emitWithAck("join", room), 1);
    assert.equal(await two.emitWithAck("join", room), 2);
    const said = next(one, "said");
    two.emit("say", Buffer.alloc(100_000, 7));
    assert.deepEqual((await said)[1], Buffer.alloc(100_000, 7));
  },
};

async function run(scenario) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("not done in time")), 15000); });
  try {
    await Promise.race([scenario(), late]);
    return "ok";
  } catch (error) {
    return error.stack;
  } finally {
    clearTimeout(timer);
    sockets.splice(0).forEach((socket) => socket.disconnect());
  }
}

const results = {};
for (const name of names) results[name] = await run({ ...scenarios, ...others }[name]);
console.log(JSON.stringify(results));

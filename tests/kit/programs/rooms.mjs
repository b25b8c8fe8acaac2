/*
 * What rooms.py drives: clients of geventws.js, in a browser or in Node.
 *
 *     makeDrive(module, report)    drive(client, name, ...arguments) does it; report(client, ...event) tells what happens
 *
 * In Node: node rooms.mjs <geventws.js> <folder of ws>, with one JSON array [number, client, name, ...arguments] a line
 * on stdin; answers [number, "ok" or "error", value], and ["event", client, ...event], go to stdout.
 */

function makeDriver({ connect, RoomsError }, report, WebSocket) {
  let rooms;
  const say = (data) => {
    if (typeof data !== "string") return { base64: btoa(String.fromCharCode(...data)) };
    return data.length < 1000 ? data : `${data.slice(0, 10)}...${data.length}`;
  };
  const hear = (data) => (typeof data === "string" ? data : Uint8Array.from(atob(data.base64), (c) => c.charCodeAt(0)));
  const operations = {
    connect(url, options) {
      const onState = (state, error) => report("state", state, error?.code ?? null);
      rooms = connect(url, { ...(WebSocket && { WebSocket }), onState, ...options });
    },
    subscribe(topic, options) {
      const subscribed = rooms.subscribe(topic, (message) => {
        report("message", message.topic, say(message.data), message.position);
      }, {
        ...options,
        onGap: (topic) => report("gap", topic),
        onJoin: ({ topic, member, info }) => report("join", topic, member, info),
        onLeave: ({ topic, member }) => report("leave", topic, member),
        onEnd: (error) => report("refused", topic, error.code),
      });
      subscribed.then(
        (subscription) => report("subscribed", topic, [...subscription.members.keys()]),
        (error) => report("refused", topic, error.code),
      );
    },
    unsubscribe: (topic) => rooms.unsubscribe(topic),
    publish: (topic, data) => rooms.publish(topic, hear(data)),
    presence: async (topic) => Object.fromEntries((await rooms.presence(topic)).map((one) => [one.member, one.info])),
    close: () => rooms.close(),
  };
  return async (name, ...values) => {
    try {
      return ["ok", (await operations[name](...values)) ?? null];
    } catch (error) {
      return ["error", error instanceof RoomsError ? error.code : String(error.stack)];
    }
  };
}

export function makeDrive(module, report, WebSocket) {
  const drivers = new Map();
  return (client, ...call) => {
    if (!drivers.has(client)) {
      drivers.set(client, makeDriver(module, (...event) => report(client, ...event), WebSocket));
    }
    return drivers.get(client)(...call);
  };
}

if (globalThis.process?.argv[1] === new URL(import.meta.url).pathname) {
  const { createInterface } = await import("node:readline");
  const { createRequire } = await import("node:module");
  const [, , script, modules] = process.argv;
  const write = (...line) => process.stdout.write(`${JSON.stringify(line)}\n`);
  const WebSocket = createRequire(`${modules}/`)("ws");
  const drive = makeDrive(await import(script), (...event) => write("event", ...event), WebSocket);
  for await (const line of createInterface({ input: process.stdin })) {
    const [number, ...call] = JSON.parse(line);
    drive(...call).then((answer) => write(number, ...answer));
  }
  process.exit(0);
}

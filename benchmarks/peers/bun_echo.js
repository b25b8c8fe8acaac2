// uWebSockets as Bun runs it.
const { BENCH_CERTIFICATE, BENCH_KEY, BENCH_DEFLATE, BENCH_FANOUT } = process.env;
const deflate = BENCH_DEFLATE === "1";
const fanout = BENCH_FANOUT === "1";
const largest = 4 << 20;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  tls: BENCH_CERTIFICATE ? { cert: Bun.file(BENCH_CERTIFICATE), key: Bun.file(BENCH_KEY) } : undefined,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("WebSocket only", { status: 400 });
  },
  websocket: {
    maxPayloadLength: largest,
    backpressureLimit: 4 * largest,
    perMessageDeflate: deflate,
    open(ws) {
      if (fanout) ws.subscribe("room");
    },
    message(ws, message) {
      if (fanout) server.publish("room", message, deflate);
      else ws.send(message, deflate);
    },
  },
});

console.log(`PORT ${server.port}`);

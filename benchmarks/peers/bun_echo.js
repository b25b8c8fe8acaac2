// uWebSockets as Bun runs it.
const { BENCH_CERTIFICATE, BENCH_KEY, BENCH_DEFLATE } = process.env;
const deflate = BENCH_DEFLATE === "1";
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
    message(ws, message) {
      ws.send(message, deflate);
    },
  },
});

console.log(`PORT ${server.port}`);

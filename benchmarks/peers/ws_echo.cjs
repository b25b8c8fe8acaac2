// ws on Node, with its optional native part, bufferutil.
const fs = require("fs");
const path = require("path");
const { BENCH_CERTIFICATE, BENCH_KEY, BENCH_DEFLATE, BENCH_MODULES } = process.env;
const { WebSocketServer } = require(path.join(BENCH_MODULES, "ws"));
const web = BENCH_CERTIFICATE
  ? require("https").createServer({ cert: fs.readFileSync(BENCH_CERTIFICATE), key: fs.readFileSync(BENCH_KEY) })
  : require("http").createServer();

const server = new WebSocketServer({ server: web, maxPayload: 4 << 20, perMessageDeflate: BENCH_DEFLATE === "1" });

server.on("connection", (ws) => {
  ws.on("error", () => {});
  ws.on("message", (message, isBinary) => ws.send(message, { binary: isBinary }));
});

web.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => console.log(`PORT ${web.address().port}`));

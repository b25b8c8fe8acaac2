// Bun: pings between; its API sends whole messages.
const { wantsPing } = require("./common.cjs");

const deflate = process.argv[2] === "perMessageDeflate: true";
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => (server.upgrade(request, { data: { number: 0 } }) ? undefined : new Response("no")),
  websocket: {
    perMessageDeflate: deflate,
    message(socket, message) {
      if (wantsPing(socket.data.number)) socket.ping("between");
      socket.send(message, deflate);
      socket.data.number += 1;
    },
  },
});
console.log(server.port);

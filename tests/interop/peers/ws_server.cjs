// ws: fragments, and pings between.
const { WebSocketServer } = require("ws");
const { cut, isCut, wantsPing } = require("./common.cjs");

const options = { default: {}, "perMessageDeflate: true": { perMessageDeflate: true } };
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options[process.argv[2]] });

server.on("connection", (socket) => {
  let number = 0;
  socket.on("message", (message, binary) => {
    if (wantsPing(number)) socket.ping("between");
    if (isCut(number)) {
      const parts = cut(message);
      parts.forEach((part, index) => socket.send(part, { binary, fin: index === parts.length - 1 }));
    } else socket.send(message, { binary });
    number += 1;
  });
});
server.on("listening", () => console.log(server.address().port));

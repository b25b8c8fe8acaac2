// ws: fragments, and pings between.
const { WebSocket } = require("ws");
const { cut, isCut, talk, wantsPing } = require("./common.cjs");

const [url, setting] = process.argv.slice(2);
const noContext = { serverNoContextTakeover: true, clientNoContextTakeover: true };
const options = {
  default: {},
  "no compression": { perMessageDeflate: false },
  "no context": { perMessageDeflate: noContext },
};

function send(socket, number, message) {
  const binary = typeof message !== "string";
  if (wantsPing(number)) socket.ping("between");
  if (!isCut(number)) return socket.send(message, { binary });
  const parts = cut(message);
  parts.forEach((part, index) => socket.send(part, { binary, fin: index === parts.length - 1 }));
}

talk(new WebSocket(url, options[setting]), send);

// Bun: the browsers' API and pings, without fragments of its own.
const { talk, wantsPing } = require("./common.cjs");

const [url, setting] = process.argv.slice(2);
const options = { default: {}, "perMessageDeflate: false": { perMessageDeflate: false } };

talk(new WebSocket(url, options[setting]), (socket, number, message) => {
  if (wantsPing(number)) socket.ping("between");
  socket.send(message);
});

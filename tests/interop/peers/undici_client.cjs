// undici: the browsers' API, without fragments and pings of its own; it always offers permessage-deflate.
const { WebSocket } = require("undici");
const { talk } = require("./common.cjs");

talk(new WebSocket(process.argv[2]), (socket, number, message) => socket.send(message));

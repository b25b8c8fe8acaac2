// What every peer in JavaScript shares: common.py tells the contract.
const fs = require("fs");

const messages = JSON.parse(fs.readFileSync(process.env.INTEROP_MESSAGES)).map((row) =>
  "text" in row ? row.text : Buffer.from(row.binary, "base64"));

const wantsPing = (number) => number % 4 === 1;
const isCut = (number) => number % 3 === 2;

function cut(message) {
  const bytes = Buffer.from(message);
  const third = Math.floor(bytes.length / 3);
  return [bytes.subarray(0, third), bytes.subarray(third, 2 * third), bytes.subarray(2 * third)];
}

// What is different about an echo, or null.
function difference(number, echo) {
  const sent = messages[number];
  const found = typeof echo === "string" ? echo : Buffer.from(echo);
  if (typeof found !== typeof sent) return `message ${number + 1}: a ${typeof sent} came back as a ${typeof found}`;
  const same = typeof sent === "string" ? found === sent : sent.equals(found);
  return same ? null : `message ${number + 1}: ${sent.length} came back as ${found.length} that differ`;
}

function tell(verdict) {
  process.stdout.write(verdict + "\n", () => process.exit(0));
}

// Echo through all messages over what has the browsers' API; send(socket, number, message) sends one.
function talk(socket, send) {
  let number = 0;
  socket.binaryType = "arraybuffer";
  const next = () => send(socket, number, messages[number]);
  socket.onopen = next;
  socket.onmessage = ({ data }) => {
    const wrong = difference(number, data);
    number += 1;
    if (wrong) tell(wrong);
    else if (number < messages.length) next();
    else socket.close(1000);
  };
  socket.onerror = ({ message }) => console.error("error", message);
  socket.onclose = ({ code, reason }) =>
    tell(number === messages.length && code === 1000 ? "ok" : `message ${number + 1}: closed with ${code} ${reason}`);
}

module.exports = { cut, isCut, messages, talk, wantsPing };

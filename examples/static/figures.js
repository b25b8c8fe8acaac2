// What the server says of itself each second: its connections, and what they cost.

import { Link } from "./link.js";

const $ = (id) => document.getElementById(id);
const link = new Link("/figures");
let before = null; // the message before, and when it came

function size(bytes) {
  if (bytes === null) return "–";
  return bytes < 1e6 ? `${Math.round(bytes / 1000)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

link.addEventListener("message", ({ detail }) => {
  const now = performance.now();
  const { connections, messages, memory } = JSON.parse(detail);
  $("connections").textContent = connections.toLocaleString("en");
  $("memory").textContent = size(memory);
  if (before !== null && messages >= before.messages) {
    const rate = ((messages - before.messages) * 1000) / (now - before.now);
    $("rate").textContent = Math.round(rate).toLocaleString("en");
  }
  before = { messages, now };
});
link.addEventListener("state", ({ detail }) => {
  if (detail === "open") return;
  before = null;
  for (const id of ["connections", "rate", "memory"]) $(id).textContent = "–";
});

// The echo box: messages with a number at their head go out, and come back with a time.

import { Link, showState } from "./link.js";
import { draw } from "./spark.js";

const $ = (id) => document.getElementById(id);
const STEADY = 500; // ms between two messages of "Keep going"
const KEPT = 80; // round trips in the line and the figures
const BURST = 100;

const link = new Link("/echo");
const sent = new Map(); // number -> { at, size, landed }
let trips = [];
let number = 0;
let echoes = 0;

const size = () => Number(document.querySelector("input[name=size]:checked").value);
const milliseconds = (value) => (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0));

function shoot(landed = show) {
  const text = `${++number} `.padEnd(size(), "geventws ");
  sent.set(number, { at: performance.now(), size: text.length, landed });
  if (!link.send(text)) sent.delete(number);
}

link.addEventListener("message", ({ detail: text }) => {
  const now = performance.now();
  const key = parseInt(text, 10);
  const shot = sent.get(key);
  if (shot?.size !== text.length) return; // not ours, or not whole
  sent.delete(key);
  $("echoes").textContent = (++echoes).toLocaleString("en");
  shot.landed(now, now - shot.at);
});

function show(now, trip) {
  trips = [...trips, trip].slice(-KEPT);
  const sorted = [...trips].sort((a, b) => a - b);
  const at = (part) => milliseconds(sorted[Math.floor((sorted.length - 1) * part)]);
  $("last").textContent = milliseconds(trip);
  for (const [id, part] of [["fastest", 0], ["median", 0.5], ["p95", 0.95]]) $(id).textContent = `${at(part)} ms`;
  draw($("spark"), $("scale"), trips, KEPT);
}

function forget() {
  trips = [];
  for (const id of ["last", "fastest", "median", "p95"]) $(id).textContent = "–";
  draw($("spark"), $("scale"), trips, KEPT);
}

function burst() {
  if (link.state !== "open") return;
  let missing = BURST;
  const begun = performance.now();
  $("burst").disabled = true;
  const landed = (now) => {
    if (--missing) return;
    const took = now - begun;
    const rate = Math.round((BURST / took) * 1000).toLocaleString("en");
    $("burst-result").textContent = `${BURST} back in ${milliseconds(took)} ms, ${rate} a second`;
    $("burst").disabled = false;
  };
  for (let i = 0; i < BURST; i++) shoot(landed);
}

// The first message warms the connection up; the one after it is timed.
link.addEventListener("open", () => shoot(() => shoot()));
link.addEventListener("state", ({ detail }) => {
  sent.clear();
  for (const id of ["once", "burst"]) $(id).disabled = detail !== "open";
});
showState(link, $("echo-state"));

$("once").addEventListener("click", () => shoot());
$("burst").addEventListener("click", burst);
for (const choice of document.querySelectorAll("input[name=size]")) choice.addEventListener("change", forget);

setInterval(() => {
  const idle = sent.size === 0; // one at a time: a slow line is timed, not flooded
  if ($("steady").checked && idle && !document.hidden) shoot();
}, STEADY);
forget();

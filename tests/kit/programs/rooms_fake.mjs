/* A clock that a test advances, and WebSockets that do as they are told: see test_script.py. */

let now = 0;
export const timers = new Map();  // by number: when, and what
Date.now = () => now;
let numbers = 0;
globalThis.setTimeout = (callback, delay) => (timers.set(++numbers, [now + delay, callback]), numbers);
globalThis.setInterval = (callback, delay) => {
  const number = ++numbers;
  const again = () => (timers.set(number, [now + delay, () => (again(), callback())]), number);
  return again();
};
globalThis.clearTimeout = globalThis.clearInterval = (number) => timers.delete(number);
export const advance = async (milliseconds) => {
  const until = now + milliseconds;
  for (;;) {
    const due = [...timers].filter(([, [when]]) => when <= until).sort((a, b) => a[1][0] - b[1][0])[0];
    if (!due) break;
    timers.delete(due[0]);
    now = due[1][0];
    due[1][1]();
    await settle();
  }
  now = until;
};
export const settle = async () => { for (let turn = 0; turn < 10; turn++) await null; };
export const sockets = [];
export class Socket {
  constructor(url, protocol) {
    Object.assign(this, { url, protocol, sent: [], closed: false, at: now });
    sockets.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.closed = true; }
  say(message) { this.onmessage?.({ data: JSON.stringify(message) }); }
  lose(code = 1006, reason = "") { this.onclose?.({ code, reason }); }
}
export const last = () => sockets[sockets.length - 1];
export const attempt = (promise) => promise.then((value) => ["ok", value ?? null], (error) => [error.name, error.code]);
export const show = (value) => console.log(JSON.stringify(value));

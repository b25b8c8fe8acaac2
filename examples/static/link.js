// A WebSocket that comes back. Events: "open", "message" (detail: the text) and "state".
//
// state is "connecting", "open" or "waiting"; while waiting, `retryAt` is when the next try begins.
// The waits double up to a bound, each by a random part, so that a server which restarts is not
// met by every tab at the same moment.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const STABLE_AFTER = 2_000; // an open connection this old counts as a success

export class Link extends EventTarget {
  constructor(path) {
    super();
    this.url = new URL(path, location.href.replace(/^http/, "ws")).href;
    this.failures = 0;
    this.state = "connecting";
    addEventListener("online", () => this.retry());
    addEventListener("pageshow", (event) => event.persisted && this.retry());
    queueMicrotask(() => this.connect());
  }

  send(text) {
    if (this.state !== "open") return false;
    this.socket.send(text);
    return true;
  }

  // Try now instead of at the end of the wait.
  retry() {
    if (this.state === "waiting") this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.show("connecting");
    socket.onopen = () => this.opened();
    socket.onmessage = ({ data }) => this.tell("message", data);
    socket.onclose = () => this.closed();
  }

  opened() {
    this.timer = setTimeout(() => (this.failures = 0), STABLE_AFTER);
    this.show("open");
    this.tell("open");
  }

  closed() {
    clearTimeout(this.timer);
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.failures++);
    const wait = longest * (0.5 + Math.random() / 2);
    this.retryAt = performance.now() + wait;
    this.timer = setTimeout(() => this.connect(), wait);
    this.show("waiting");
  }

  show(state) {
    this.state = state;
    this.tell("state", state);
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// Keep an element saying how a link is: a dot, a word, and while waiting a button to try at once.
export function showState(link, element) {
  const words = { connecting: "connecting", open: "connected" };
  const label = document.createElement("span");
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try now";
  again.addEventListener("click", () => link.retry());
  element.replaceChildren(label, again);

  let ticking;
  function render() {
    clearTimeout(ticking);
    element.dataset.state = link.state;
    again.hidden = link.state !== "waiting";
    if (link.state !== "waiting") {
      label.textContent = words[link.state];
      return;
    }
    const seconds = Math.max(1, Math.ceil((link.retryAt - performance.now()) / 1000));
    label.textContent = `offline, next try in ${seconds} s`;
    ticking = setTimeout(render, 500);
  }
  link.addEventListener("state", render);
  render();
}

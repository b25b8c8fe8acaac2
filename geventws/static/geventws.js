/*
 * geventws.js: rooms in the browser and in Node. A client of geventws.rooms.v1, the protocol of PubSub.endpoint.
 *
 *     import { connect } from "/static/geventws.js";
 *
 *     const rooms = connect("/rooms");
 *     const room = await rooms.subscribe("room:7", (message) => console.log(message.data));
 *     await rooms.publish("room:7", "hello");
 *
 *   Rooms           one connection after another, and the requests sent over them
 *   Subscription    a topic: the functions that get its messages, and the position of the last one
 *   Backoff         the delays before the next connection
 *
 * Types: geventws.d.ts. The rules of the protocol: docs/rooms-protocol.rst.
 */

const SUBPROTOCOL = "geventws.rooms.v1";
const UNSUPPORTED_DATA = 1003; // a close code after which the client does not reconnect
const REFUSED = [4400, 4499]; // the first and the last of further such codes, of the protocol and of applications

const DEFAULTS = {
  WebSocket: globalThis.WebSocket,
  initialDelay: 1000,
  maxDelay: 60_000,
  resetAfter: 10_000,
  openTimeout: 10_000,
  pingInterval: 30_000,
  pingTimeout: 10_000,
  maxWaiting: 256,
  onState: nothing,
};

export class RoomsError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "RoomsError";
    this.code = code;
  }
}

export function connect(url, options = {}) {
  return new Rooms(url, options);
}

/** Delays with full jitter: each is drawn evenly from zero to a bound, which doubles with each failure. */
class Backoff {
  constructor(initial, maximum) {
    this.initial = initial;
    this.maximum = maximum;
    this.bound = initial;
  }

  next() {
    const delay = Math.random() * this.bound;
    this.bound = Math.min(this.bound * 2, this.maximum);
    return delay;
  }

  reset() {
    this.bound = this.initial;
  }
}

class Subscription {
  #rooms;

  constructor(rooms, topic, onMessage, options) {
    this.#rooms = rooms;
    this.topic = topic;
    this.position = options.since ?? null;
    this.members = new Map();
    this._confirmed = false; // whether the server has ever confirmed it
    this._settle = null; // the functions that settle the promise of `subscribe`, while it is pending
    this._onMessage = onMessage;
    this._options = options;
  }

  unsubscribe() {
    return this.#rooms.unsubscribe(this.topic);
  }

  /** Return the request that subscribes, for the first time or again. */
  _request() {
    const { history, presence } = this._options;
    const request = { type: "subscribe", topic: this.topic };
    if (this.position !== null) request.since = this.position;
    else if (history && !this._confirmed) request.since = "";
    if (presence) request.presence = true;
    return request;
  }

  /** Take the server's confirmation, the first one or a later one. */
  _confirm(answer) {
    const again = this._confirmed;
    this._confirmed = true;
    this.position = answer.position ?? null;
    if (again && this.position === null) this._call("onGap", this.topic);
    if (answer.members) this._setMembers(answer.members, again);
  }

  _setMembers(members, again) {
    const now = new Map(members.map(({ member, info }) => [member, info]));
    const before = this.members;
    this.members = now;
    if (!again) return;
    for (const [member, info] of before) {
      if (!now.has(member)) this._call("onLeave", { topic: this.topic, member, info });
    }
    for (const [member, info] of now) {
      const known = before.has(member) && JSON.stringify(before.get(member)) === JSON.stringify(info);
      if (!known) this._call("onJoin", { topic: this.topic, member, info });
    }
  }

  /** Take an event of this topic. */
  _take(event) {
    const { type, topic, member, info } = event;
    if (event.position !== undefined) this.position = event.position;
    if (type === "message") {
      callOut(this._onMessage, { topic, data: readData(event), position: event.position ?? null });
    } else if (type === "gap") {
      this._call("onGap", topic);
    } else if (type === "join") {
      this.members.set(member, info);
      this._call("onJoin", { topic, member, info });
    } else if (type === "leave") {
      const last = this.members.get(member);
      this.members.delete(member);
      this._call("onLeave", { topic, member, info: last });
    }
  }

  _call(name, argument) {
    if (this._options[name]) callOut(this._options[name], argument);
  }
}

class Rooms {
  #url;
  #options;
  #backoff;
  #state = "connecting";
  #socket = null;
  #openedAt = 0;
  #heardAt = 0; // when the last message arrived
  #timers = { next: 0, open: 0, ping: 0, pong: 0 }; // all of them end with the connection
  #lastId = 0;
  #requests = new Map(); // by id: the requests without an answer, in order
  #subscriptions = new Map(); // by topic
  #leaving = new Map(); // by topic: the id of the pending unsubscribe request; until its answer, events are ignored

  constructor(url, options) {
    this.#options = { ...DEFAULTS, ...options };
    if (!this.#options.WebSocket) throw new TypeError("there is no WebSocket here: give one as options.WebSocket");
    const address = new URL(url, globalThis.location?.href);
    address.protocol = { "http:": "ws:", "https:": "wss:" }[address.protocol] ?? address.protocol;
    this.#url = address.href;
    this.#backoff = new Backoff(this.#options.initialDelay, this.#options.maxDelay);
    this.#open();
  }

  get state() {
    return this.#state;
  }

  subscribe(topic, onMessage, options = {}) {
    if (this.#subscriptions.has(topic)) {
      return Promise.reject(new RoomsError("subscribed", `there is a subscription to ${topic} already`));
    }
    if (this.#state === "closed") return Promise.reject(closedError());
    const subscription = new Subscription(this, topic, onMessage, options);
    this.#subscriptions.set(topic, subscription);
    return new Promise((resolve, reject) => {
      subscription._settle = { resolve: () => resolve(subscription), reject };
      if (this.#state === "open") this.#subscribe(subscription);
    });
  }

  unsubscribe(topic) {
    const subscription = this.#subscriptions.get(topic);
    this.#subscriptions.delete(topic);
    subscription?._settle?.reject(new RoomsError("unsubscribed", `${topic} was unsubscribed meanwhile`));
    if (!subscription || this.#state !== "open") return Promise.resolve();
    const left = this.#ask({ type: "unsubscribe", topic }, true);
    return left.then(nothing, nothing); // a lost connection has ended the subscription, too
  }

  publish(topic, data) {
    const body = typeof data === "string" ? { data } : { base64: toBase64(data) };
    return this.#ask({ type: "publish", topic, ...body }).then(nothing);
  }

  presence(topic) {
    return this.#ask({ type: "presence", topic }).then((answer) => answer.members);
  }

  close() {
    this.#end(null);
  }

  /* Requests */

  /** Send a request, now or when there is a connection; the promise resolves with its answer. */
  #ask(request, leaves = false) {
    if (this.#state === "closed") return Promise.reject(closedError());
    if (this.#requests.size >= this.#options.maxWaiting) {
      return Promise.reject(new RoomsError("limit", `${this.#requests.size} requests wait already (maxWaiting)`));
    }
    return new Promise((resolve, reject) => {
      const id = this.#add(request, resolve, reject);
      if (leaves) this.#leaving.set(request.topic, id);
      if (this.#state === "open") this.#send(id);
    });
  }

  #add(request, resolve, reject) {
    const id = ++this.#lastId;
    this.#requests.set(id, { text: JSON.stringify({ ...request, id }), sent: false, topic: request.topic, resolve, reject });
    return id;
  }

  #send(id) {
    const request = this.#requests.get(id);
    request.sent = true;
    this.#socket.send(request.text);
  }

  #subscribe(subscription) {
    const settle = (name, value) => {
      const waiting = subscription._settle;
      subscription._settle = null;
      if (waiting) waiting[name](value);
      return waiting;
    };
    const resolve = (answer) => {
      if (this.#subscriptions.get(subscription.topic) !== subscription) return;
      subscription._confirm(answer);
      settle("resolve");
    };
    const reject = (error) => {
      if (error.code === "lost" || this.#subscriptions.get(subscription.topic) !== subscription) return;
      this.#subscriptions.delete(subscription.topic);
      if (!settle("reject", error)) subscription._call("onEnd", error);
    };
    this.#send(this.#add(subscription._request(), resolve, reject));
  }

  /* The connection */

  #setState(state, error) {
    this.#state = state;
    callOut(this.#options.onState, state, error);
  }

  #open() {
    const socket = new this.#options.WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    socket.onerror = nothing; // a close event follows
    this.#timers.open = setTimeout(() => this.#abandon("it took too long to open"), this.#options.openTimeout);
  }

  #opened() {
    clearTimeout(this.#timers.open);
    this.#openedAt = this.#heardAt = Date.now();
    this.#timers.ping = setInterval(() => this.#ping(), this.#options.pingInterval);
    this.#state = "open";
    for (const subscription of this.#subscriptions.values()) this.#subscribe(subscription);
    for (const [id, request] of this.#requests) if (!request.sent) this.#send(id);
    this.#setState("open");
  }

  #receive(text) {
    this.#heardAt = Date.now();
    clearTimeout(this.#timers.pong);
    const message = JSON.parse(text);
    const request = this.#requests.get(message.id);
    if (request) {
      this.#requests.delete(message.id);
      if (this.#leaving.get(request.topic) === message.id) this.#leaving.delete(request.topic);
      if (message.type === "error") request.reject(new RoomsError(message.code, message.message));
      else request.resolve(message);
    } else if (message.topic !== undefined && !this.#leaving.has(message.topic)) {
      this.#subscriptions.get(message.topic)?._take(message);
    }
  }

  /** Ping a silent server, and abandon the connection if it does not answer. */
  #ping() {
    if (Date.now() - this.#heardAt < this.#options.pingInterval / 2) return;
    clearTimeout(this.#timers.pong);
    this.#timers.pong = setTimeout(() => this.#abandon("there was no answer to a ping"), this.#options.pingTimeout);
    this.#ask({ type: "ping" }).catch(nothing);
  }

  /** Treat the connection as lost, and ignore its further events. */
  #abandon(why) {
    this.#detach();
    this.#lost(1006, why);
  }

  #detach() {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #clear() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#leaving.clear();
  }

  #lost(code, reason) {
    this.#clear();
    const error = new RoomsError("lost", `the connection was lost: ${code}${reason && ` (${reason})`}`);
    if (code === UNSUPPORTED_DATA || (code >= REFUSED[0] && code <= REFUSED[1])) {
      this.#end(new RoomsError("closed", `the server has closed the connection: ${code}${reason && ` (${reason})`}`));
      return;
    }
    if (this.#state === "open" && Date.now() - this.#openedAt >= this.#options.resetAfter) this.#backoff.reset();
    this.#timers.next = setTimeout(() => this.#open(), this.#backoff.next());
    this.#state = "connecting";
    this.#reject(error, (request) => request.sent);
    this.#setState("connecting", error);
  }

  /** End everything for good: because of an error, or with null, by `close`. */
  #end(error) {
    if (this.#state === "closed") return;
    this.#clear();
    this.#detach();
    this.#state = "closed";
    const reason = error ?? closedError();
    this.#reject(reason, () => true);
    for (const subscription of this.#subscriptions.values()) {
      if (subscription._settle) subscription._settle.reject(reason);
      else if (error) subscription._call("onEnd", error);
    }
    this.#subscriptions.clear();
    this.#setState("closed", error ?? undefined);
  }

  #reject(error, which) {
    for (const [id, request] of [...this.#requests]) {
      if (!which(request)) continue;
      this.#requests.delete(id);
      request.reject(error);
    }
  }
}

function nothing() {}

function closedError() {
  return new RoomsError("closed", "the client is closed");
}

/** Call a function of the page. What it throws is reported as an uncaught error, and does not stop the caller. */
function callOut(callback, ...values) {
  try {
    callback(...values);
  } catch (error) {
    setTimeout(() => {
      throw error;
    });
  }
}

function readData({ data, base64 }) {
  return base64 === undefined ? data : Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function toBase64(data) {
  const bytes = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return btoa(text);
}

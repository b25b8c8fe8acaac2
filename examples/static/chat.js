// The room: what others publish becomes elements; what is typed is published. A message is JSON: whose it is, and what.
// geventws.js brings back what was missed when the connection was lost, and says who is there.

import { connect } from "./geventws.js";
import { showState } from "./link.js";

const $ = (id) => document.getElementById(id);
const [log, say, name, send] = [$("log"), $("say"), $("name"), $("send")];
const GROUP_WITHIN = 120_000; // ms between two messages of one member that share a heading
const TYPING_EVERY = 1_500;
const TYPING_LASTS = 3_000;

const typists = new Map(); // tab -> its name, and the timer that ends it
const shown = new Map(); // tab -> the name of a member
let lastSaid = null;

// What this tab is to others. Kept for the tab, not for the browser: two tabs are two people.
const me = sessionStorage.getItem("tab") ?? crypto.randomUUID().slice(0, 18);
sessionStorage.setItem("tab", me);

// --- names and colours ------------------------------------------------------------------

const ADJECTIVES = ["Amber", "Brisk", "Calm", "Dapper", "Eager", "Fern", "Gentle", "Hazel", "Ivory", "Jolly", "Keen", "Lunar"];
const ANIMALS = ["Otter", "Heron", "Lynx", "Marten", "Finch", "Badger", "Ibex", "Plover", "Seal", "Tapir", "Vole", "Wren"];
const pick = (list) => list[Math.floor(Math.random() * list.length)];

name.value = sessionStorage.getItem("name") ?? `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;

function hue(text) {
  let hash = 7;
  for (const letter of text) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  return (hash % 24) * 15;
}

function dress(avatar, who) {
  avatar.className = "avatar";
  avatar.textContent = who.split(/\s+/).slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase();
  avatar.style.setProperty("--hue", hue(who));
  avatar.setAttribute("aria-hidden", "true");
  return avatar;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// --- the log ----------------------------------------------------------------------------

const atBottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;

function toBottom() {
  log.scrollTop = log.scrollHeight;
  $("newer").hidden = true;
}

function append(item, always = false) {
  const follow = always || atBottom();
  log.append(item);
  $("empty").hidden = true;
  if (follow) toBottom();
  else $("newer").hidden = false;
}

function note(text) {
  append(element("li", "note", text));
  lastSaid = null;
}

function showSaid(said) {
  const grouped = lastSaid?.tab === said.tab && lastSaid.name === said.name && said.time - lastSaid.time < GROUP_WITHIN;
  const item = element("li", said.tab === me ? "said mine" : "said");
  if (grouped) item.classList.add("grouped");
  const when = new Date(said.time);
  const time = element("time", "", when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = when.toISOString();
  const heading = element("p", "who", said.name);
  heading.append(" ", time);
  item.append(dress(element("span"), said.name), heading, element("p", "bubble", said.text));
  lastSaid = said;
  append(item, said.tab === me);
}

// --- who is here ------------------------------------------------------------------------

function showMembers() {
  $("count").textContent = shown.size === 1 ? "only you" : `${shown.size} here`;
  const members = [...shown].sort(([one], [other]) => (other === me) - (one === me)); // we come first
  $("members").replaceChildren(...members.map(([tab, who]) => {
    const chip = element("li", "member");
    chip.append(dress(element("span"), who), element("span", "", who));
    if (tab === me) chip.append(element("span", "you", "you"));
    return chip;
  }));
}

const nameOf = (info) => (typeof info?.name === "string" ? info.name : "somebody");

function joined({ member, info }) {
  const before = shown.get(member);
  const now = nameOf(info);
  shown.set(member, now);
  if (before === undefined) note(`${now} joined`);
  else if (before !== now) note(`${before} is now ${now}`);
  showMembers();
}

function left({ member, info }) {
  note(`${shown.get(member) ?? nameOf(info)} left`);
  shown.delete(member);
  stopTyping(member);
  showMembers();
}

function showTypists() {
  const names = [...typists.values()].map(({ who }) => who);
  const verb = names.length === 1 ? "is" : "are";
  $("typing").textContent = names.length ? `${names.slice(0, 3).join(", ")} ${verb} typing` : "";
}

function stopTyping(tab) {
  clearTimeout(typists.get(tab)?.timer);
  typists.delete(tab);
  showTypists();
}

// --- what others publish ----------------------------------------------------------------

// What a message says, if it is one of this page's. Anybody may publish anything.
function read(data) {
  try {
    const { tab, name: who, text, time } = JSON.parse(data);
    const texts = [tab, who].every((value) => typeof value === "string" && value);
    return texts ? { tab, name: who.slice(0, 24), text: String(text ?? "").slice(0, 1000), time: Number(time) || 0 } : null;
  } catch {
    return null;
  }
}

function heard({ data }) {
  const said = read(data);
  if (!said?.text) return;
  stopTyping(said.tab);
  showSaid(said);
}

function typing({ data }) {
  const typist = read(data);
  if (!typist || typist.tab === me) return;
  clearTimeout(typists.get(typist.tab)?.timer);
  typists.set(typist.tab, { who: typist.name, timer: setTimeout(() => stopTyping(typist.tab), TYPING_LASTS) });
  showTypists();
}

// --- the connection ---------------------------------------------------------------------

// For showState: what it shows of a link. geventws.js tries again by itself.
class Shown extends EventTarget {
  state = "connecting";

  show(state) {
    this.state = state;
    send.disabled = state !== "open";
    if (state !== "open") $("count").textContent = "";
    else if (shown.size) showMembers();
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

const state = new Shown();
let rooms;

// Go in, under the name that is in its field; anew, if we are in already.
async function enter(since) {
  rooms?.close();
  const query = new URLSearchParams({ tab: me, name: name.value });
  rooms = connect(`/rooms?${query}`, { initialDelay: 500, maxDelay: 15_000, onState: (now) => now === "closed" || state.show(now) });
  const entered = rooms;
  rooms.subscribe("typing", typing).catch(() => {});
  const events = { presence: true, onJoin: joined, onLeave: left, onGap: () => note("some messages are missing here") };
  try {
    room = await rooms.subscribe("room", heard, since ? { ...events, since } : { ...events, history: true });
  } catch {
    return; // another name was given meanwhile
  }
  if (entered !== rooms) return;
  shown.clear();
  for (const [member, info] of room.members) shown.set(member, nameOf(info));
  showMembers();
}

let room = null;
showState(state, $("chat-state"));

// --- what is typed ----------------------------------------------------------------------

let typedAt = -TYPING_EVERY;

const publish = (topic, fields = {}) => rooms.publish(topic, JSON.stringify({ tab: me, name: name.value, ...fields }));

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = say.value.trim();
  say.focus();
  if (!text || state.state !== "open") return; // not connected: the text stays
  publish("room", { text, time: Date.now() }).catch(() => note("the last message may be lost"));
  say.value = "";
  typedAt = -TYPING_EVERY;
});

say.addEventListener("input", () => {
  if (!say.value || performance.now() - typedAt < TYPING_EVERY) return;
  typedAt = performance.now();
  if (state.state === "open") publish("typing").catch(() => {});
});

name.addEventListener("input", () => dress($("my-avatar"), name.value));
name.addEventListener("change", () => {
  name.value = name.value.trim() || sessionStorage.getItem("name") || pick(ANIMALS);
  dress($("my-avatar"), name.value);
  sessionStorage.setItem("name", name.value);
  enter(room?.position);
});
name.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // the form is for messages
  say.focus();
});

let followed = true;
$("newer").addEventListener("click", toBottom);
log.addEventListener("scroll", () => {
  followed = atBottom();
  if (followed) $("newer").hidden = true;
});
new ResizeObserver(() => followed && toBottom()).observe(log); // a keyboard opens, a phone turns
sessionStorage.setItem("name", name.value);
dress($("my-avatar"), name.value);
enter();

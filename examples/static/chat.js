// The room: what the server tells becomes elements; what is typed becomes messages.

import { Link, showState } from "./link.js";

const $ = (id) => document.getElementById(id);
const [log, say, name, send] = [$("log"), $("say"), $("name"), $("send")];
const GROUP_WITHIN = 120_000; // ms between two messages of one member that share a heading
const TYPING_EVERY = 1_500;
const TYPING_LASTS = 3_000;

const link = new Link("/chat");
const typists = new Map(); // member id -> the timer that ends it
const mine = new Set(); // every id this tab has had: a new one for each connection
let me = null;
let lastSaid = null;

// --- names and colours ------------------------------------------------------------------

const ADJECTIVES = ["Amber", "Brisk", "Calm", "Dapper", "Eager", "Fern", "Gentle", "Hazel", "Ivory", "Jolly", "Keen", "Lunar"];
const ANIMALS = ["Otter", "Heron", "Lynx", "Marten", "Finch", "Badger", "Ibex", "Plover", "Seal", "Tapir", "Vole", "Wren"];
const pick = (list) => list[Math.floor(Math.random() * list.length)];

// Kept for the tab, not for the browser: two tabs are two people.
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
  const grouped = lastSaid?.id === said.id && lastSaid.name === said.name && said.time - lastSaid.time < GROUP_WITHIN;
  const item = element("li", mine.has(said.id) ? "said mine" : "said");
  if (grouped) item.classList.add("grouped");
  const when = new Date(said.time);
  const time = element("time", "", when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = when.toISOString();
  const heading = element("p", "who", said.name);
  heading.append(" ", time);
  item.append(dress(element("span"), said.name), heading, element("p", "bubble", said.text));
  lastSaid = said;
  append(item, mine.has(said.id));
}

// --- who is here ------------------------------------------------------------------------

function showMembers(members) {
  $("count").textContent = members.length === 1 ? "only you" : `${members.length} here`;
  $("members").replaceChildren(...members.map((member) => {
    const chip = element("li", "member");
    chip.append(dress(element("span"), member.name), element("span", "", member.name));
    if (member.id === me.id) chip.append(element("span", "you", "you"));
    return chip;
  }));
}

function showTypists() {
  const names = [...typists.values()].map(({ who }) => who);
  const verb = names.length === 1 ? "is" : "are";
  $("typing").textContent = names.length ? `${names.slice(0, 3).join(", ")} ${verb} typing` : "";
}

function stopTyping(id) {
  clearTimeout(typists.get(id)?.timer);
  typists.delete(id);
  showTypists();
}

// --- what the server tells --------------------------------------------------------------

const told = {
  welcome({ you, members, history }) {
    me = you;
    mine.add(you.id);
    log.replaceChildren();
    typists.clear();
    showTypists();
    lastSaid = null;
    $("empty").hidden = false;
    history.forEach(showSaid);
    showMembers(members);
    toBottom();
  },
  joined({ name: who, members }) {
    note(`${who} joined`);
    showMembers(members);
  },
  left({ id, name: who, members }) {
    note(`${who} left`);
    stopTyping(id);
    showMembers(members);
  },
  renamed({ before, name: who, members }) {
    note(`${before} is now ${who}`);
    showMembers(members);
  },
  said(said) {
    stopTyping(said.id);
    showSaid(said);
  },
  typing({ id, name: who }) {
    clearTimeout(typists.get(id)?.timer);
    typists.set(id, { who, timer: setTimeout(() => stopTyping(id), TYPING_LASTS) });
    showTypists();
  },
};

link.addEventListener("open", () => tell("hello", { name: name.value }));
link.addEventListener("message", ({ detail }) => {
  const event = JSON.parse(detail);
  told[event.type]?.(event);
});
link.addEventListener("state", ({ detail }) => {
  send.disabled = detail !== "open";
  if (detail !== "open") $("count").textContent = "";
});
showState(link, $("chat-state"));

// --- what is typed ----------------------------------------------------------------------

let typedAt = -TYPING_EVERY;

const tell = (type, fields = {}) => link.send(JSON.stringify({ type, ...fields }));

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = say.value.trim();
  say.focus();
  if (!text || !tell("say", { text })) return; // not connected: the text stays
  say.value = "";
  typedAt = -TYPING_EVERY;
});

say.addEventListener("input", () => {
  if (!say.value || performance.now() - typedAt < TYPING_EVERY) return;
  typedAt = performance.now();
  tell("typing");
});

name.addEventListener("input", () => dress($("my-avatar"), name.value));
name.addEventListener("change", () => {
  name.value = name.value.trim() || me?.name || pick(ANIMALS);
  dress($("my-avatar"), name.value);
  sessionStorage.setItem("name", name.value);
  tell("rename", { name: name.value });
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

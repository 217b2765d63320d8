"use strict";
const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children; a text is only ever a text.
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== null).map((child) => child instanceof Node ? child : String(child)));
  return made;
}

// A table; a column is [name, what it shows of a row, class].
function table(columns, rows) {
  return el("table", {},
    el("thead", {}, el("tr", {}, columns.map(([name]) => el("th", {}, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, columns.map(([name, shown, kind]) =>
      el("td", {"data-name": name, class: kind}, el("div", {}, shown(row))))))));
}

// A line of numbers over time, from 0 to their highest.
function spark(numbers, label) {
  const drawn = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "polyline");
  const most = Math.max(...numbers, 1e-9);
  line.setAttribute("points", numbers.map((number, at) => `${at},${(19 - 18 * number / most).toFixed(2)}`).join(" "));
  for (const [name, value] of [["class", "spark"], ["viewBox", `0 0 ${Math.max(numbers.length - 1, 1)} 20`],
    ["preserveAspectRatio", "none"], ["role", "img"], ["aria-label", label]]) drawn.setAttribute(name, value);
  drawn.append(line);
  return drawn;
}

// A text, or its beginning: a message may be as long as it likes, and the whole is shown where the mouse rests.
function cut(text, most = 200) {
  return text.length > most ? el("span", {title: text}, `${text.slice(0, most)}…`) : text;
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return "0 s";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}

function time(epoch) {
  return `${new Date(epoch * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

async function fetched(path) {
  const answer = await fetch(path, {cache: "no-store"});
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.json();
}

function show(...content) {
  document.querySelector("main").replaceChildren(...content.flat().filter(Boolean));
}

// Draw what `fetching` returns, now and every so often, though not while nobody looks. Returns what draws at once.
// The latest fetch counts: an earlier one that is slow may be of something else.
function live(fetching, every) {
  let shown = [], latest = 0;
  async function draw() {
    const turn = ++latest;
    const main = document.querySelector("main");
    try {
      const show = await fetching();
      if (turn !== latest) return;
      show();
      shown = [...main.childNodes];
    } catch (error) {
      if (turn !== latest) return;
      main.replaceChildren(el("p", {class: "bad", role: "alert"}, `no answer: ${error.message}; trying again`), ...shown);
    }
  }
  async function tick() {
    if (!document.hidden) await draw();
    setTimeout(tick, every);
  }
  tick();
  return draw;
}

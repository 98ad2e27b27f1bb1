// SPDX-License-Identifier: Apache-2.0
// The page for people: everything it shows is from the service's own API (docs/hook.md). Nothing that arrives is ever
// taken for HTML.
"use strict";

const main = document.getElementById("main");
const summary = document.getElementById("summary");
const login = document.getElementById("login");
let token = sessionStorage.getItem("token") || "";
let shown = 0; // which showing is the latest: an answer to an older one is thrown away

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function when(ms) {
  return ms ? element("time", { datetime: new Date(ms).toISOString() }, new Date(ms).toLocaleString()) : "";
}

function short(digest) {
  return element("code", { title: digest }, digest.replace("sha256:", "").slice(0, 12));
}

async function ask(path, method) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { method: method || "GET", headers });
  if (answer.status === 401) {
    login.hidden = false;
    main.replaceChildren();
    document.getElementById("refused").textContent = token ? "That token is not valid." : "";
    throw new Error("a token is needed");
  }
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.error || answer.statusText);
  login.hidden = true;
  return json;
}

// columns: [[name, cell of a row, is it a number]]
function table(caption, columns, rows) {
  const head = element("tr", {}, ...columns.map(([name]) => element("th", { scope: "col" }, name)));
  const body = rows.map((row) =>
    element("tr", {}, ...columns.map(([name, cell, isNumber]) =>
      element("td", { "data-name": name, ...(isNumber ? { class: "number" } : {}) }, cell(row)))));
  return element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
}

// Bars, oldest first; the values are also in the table beside it.
function plot(title, values, text) {
  const ns = "http://www.w3.org/2000/svg";
  const make = (name, attributes, content) => {
    const made = document.createElementNS(ns, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (content) made.textContent = content;
    return made;
  };
  const most = Math.max(...values, 1e-9), width = 600, height = 140, step = width / values.length;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height + 20}`, role: "img", "aria-label": title });
  values.forEach((value, i) => {
    const tall = (value / most) * (height - 16);
    const bar = make("rect", { class: "bar", x: i * step + step * 0.1, y: height - tall, width: step * 0.8,
                               height: Math.max(tall, 1) });
    bar.append(make("title", {}, text(value)));
    svg.append(bar);
  });
  svg.append(make("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }));
  svg.append(make("text", { x: 0, y: 12 }, text(most)));
  svg.append(make("text", { x: 0, y: height + 14 }, "older"));
  svg.append(make("text", { x: width, y: height + 14, "text-anchor": "end" }, "newer"));
  return element("figure", {}, element("figcaption", {}, title), svg);
}

const name = (row) => `${row.host}/${row.repository}`;
const repositoryLink = (text) => element("a", { href: `#/repository/${encodeURIComponent(text)}` }, text);
const state = (row) => element("span", { class: `state ${row.state}` }, row.state);

// How far a running build is, a bar for each layer and blob that is under way; total 0: nobody knows.
function bars(build) {
  const made = element("span", { class: "bars", "data-build": build.id });
  fillBars(made, build.tasks || []);
  return made;
}

function fillBars(place, tasks) {
  place.replaceChildren(...tasks.map((task) => {
    const text = task.total ? `${size(task.done)} of ${size(task.total)}` : size(task.done);
    return element("label", {}, `${task.label}: ${text} `, element("progress",
      task.total ? { max: task.total, value: Math.min(task.done, task.total) } : {}));
  }));
}

function buildTable(caption, builds) {
  return table(caption, [
    ["Build", (b) => element("a", { href: `#/build/${b.id}` }, `#${b.id}`)],
    ["State", (b) => element("span", {}, state(b), b.state === "running"
      ? element("span", {}, element("span", { class: "muted progress", "data-build": b.id }, ` ${b.progress || ""}`), bars(b))
      : b.reason && b.state !== "done" ? element("span", { class: "muted" }, ` ${b.reason}`) : null)],
    ["Image", (b) => element("span", {}, repositoryLink(name(b)), b.tags.length ? `:${b.tags.join(", ")}` : "", " ",
      short(b.digest))],
    ["Platform", (b) => b.platform],
    ["Since", (b) => when(b.finished || b.started || b.created)],
  ], builds);
}

async function showBuilds() {
  const [running, queued, { builds }, { pending }] = await Promise.all(
    ["/v1/builds?state=running&limit=1000", "/v1/builds?state=queued&limit=200", "/v1/builds?limit=200", "/v1/pending"]
      .map((path) => ask(path)));
  const waiting = [...running.builds, ...queued.builds]; // which may be older than the latest
  const over = builds.filter((b) => b.state !== "queued" && b.state !== "running");
  return [
    element("h2", {}, "Queue"),
    waiting.length ? buildTable("Running and waiting builds", waiting) : element("p", {}, "Nothing waits."),
    pending.length ? table("Events not yet decided about", [
      ["Image", (e) => `${e.repository}${e.tag ? `:${e.tag}` : ""}`],
      ["From", (e) => e.requestedBy],
      ["Why not", (e) => e.reason || "in a moment"],
    ], pending) : null,
    element("h2", {}, "Builds that are over"),
    over.length ? buildTable("Newest first", over) : element("p", {}, "None yet: push an image that a rule marks."),
  ];
}

async function showBuild(id) {
  const build = await ask(`/v1/builds/${encodeURIComponent(id)}`);
  const facts = [
    ["State", state(build)], ["Why", build.reason], ["Image", repositoryLink(name(build))],
    ["Tags", build.tags.join(", ")], ["Digest", element("code", {}, build.digest)], ["Platform", build.platform],
    ["To", build.target], ["Rule", build.rule], ["Asked for by", build.requestedBy], ["Queued", when(build.created)],
    ["Started", when(build.started)], ["Over", when(build.finished)], ["Attempts", build.attempts],
    ["Next attempt", build.state === "queued" ? when(build.notBefore) : ""],
    ["Image size", build.imageSize ? size(build.imageSize) : ""],
    ["Snapshot size", build.result ? size(build.result.snapshotSize) : ""],
    ["Sent", build.result ? size(build.result.bytesSent) : ""],
  ].filter(([, value]) => value);
  const act = (text, action) => {
    const button = element("button", { type: "button" }, text);
    button.addEventListener("click", async () => {
      button.disabled = true;
      await ask(`/v1/builds/${build.id}/${action}`, "POST").catch((error) => alert(error.message));
      show();
    });
    return button;
  };
  return [
    element("h2", {}, `Build #${build.id}`),
    element("dl", {}, ...facts.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)])),
    build.state === "running" ? bars(build) : null,
    build.may.includes("cancel") ? act("Cancel", "cancel") : null,
    build.may.includes("retry") ? act("Try again", "retry") : null,
    element("h2", {}, "Log"),
    element("pre", { id: "log", tabindex: "0", "aria-label": "Log of the build", "data-build": build.id }, build.log || "(empty)"),
  ];
}

function snapshotTable(caption, snapshots) {
  return table(caption, [
    ["Image", (s) => element("span", {}, repositoryLink(s.repository), s.tags ? `:${s.tags.replaceAll(" ", ", ")}` : "", " ",
      short(s.digest))],
    ["Platform", (s) => s.platform],
    ["Image size", (s) => size(s.imageSize), true],
    ["Snapshot size", (s) => size(s.snapshotSize), true],
    ["Sent", (s) => size(s.sentSize), true],
    ["Took", (s) => `${s.seconds.toFixed(1)} s`, true],
    ["Published", (s) => when(s.published)],
  ], snapshots);
}

async function showSnapshots() {
  const [{ snapshots }, all] = await Promise.all([ask("/v1/snapshots?limit=500"), ask("/v1/status")]);
  return [
    element("h2", {}, "Snapshots"),
    element("p", {}, `${all.snapshots} published; ${size(all.snapshotSize)} in all, of which `
      + `${size(all.sentSize)} had to be sent: the rest was there already.`),
    snapshotTable(snapshots.length < all.snapshots ? `The newest ${snapshots.length}` : "Newest first", snapshots),
  ];
}

async function showRepositories() {
  const { repositories } = await ask("/v1/repositories?limit=500");
  return [
    element("h2", {}, "Repositories"),
    table("Those with builds, the latest first", [
      ["Repository", (r) => repositoryLink(r.repository)],
      ["Builds", (r) => r.builds, true],
      ["Done", (r) => r.done, true],
      ["Failed", (r) => r.failed, true],
    ], repositories),
  ];
}

async function showRepository(text) {
  const query = `repository=${encodeURIComponent(text)}`;
  const [{ snapshots }, { builds }] = await Promise.all(
    [ask(`/v1/snapshots?${query}&limit=60`), ask(`/v1/builds?${query}&limit=60`)]);
  const oldestFirst = [...snapshots].reverse();
  return [
    element("h2", {}, text),
    oldestFirst.length ? plot("Seconds a build took", oldestFirst.map((s) => s.seconds), (v) => `${v.toFixed(1)} s`) : null,
    oldestFirst.length ? plot("Bytes sent for a snapshot", oldestFirst.map((s) => s.sentSize), size) : null,
    oldestFirst.length ? plot("Snapshot size", oldestFirst.map((s) => s.snapshotSize), size) : null,
    snapshotTable("Snapshots, newest first", snapshots),
    buildTable("Builds, newest first", builds),
  ];
}

const views = [
  [/^#\/build\/(\d+)$/, showBuild],
  [/^#\/snapshots$/, showSnapshots],
  [/^#\/repositories$/, showRepositories],
  [/^#\/repository\/(.+)$/, (text) => showRepository(decodeURIComponent(text))],
  [/^/, showBuilds],
];

async function show(moveFocus) {
  const mine = ++shown;
  const where = location.hash || "#/";
  for (const link of document.querySelectorAll("nav a"))
    link.getAttribute("href") === where ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  try {
    const status = await ask("/v1/status");
    summary.textContent = `${status.running} running, ${status.queued + status.pending} waiting, `
      + `${status.snapshots} snapshots${status.diskIsFull ? "; the disk is nearly full" : ""}`;
    const [pattern, view] = views.find(([p]) => p.test(where));
    const parts = await view(...where.match(pattern).slice(1));
    if (mine !== shown) return;
    main.replaceChildren(...parts.filter((part) => part !== null));
    if (moveFocus) main.focus();
  } catch (error) {
    summary.textContent = error.message;
  }
}

// ---- what happens meanwhile ----

let due = null;
function showSoon() {
  if (!due) due = setTimeout(() => { due = null; show(); }, 300);
}

function take(type, data) {
  const log = document.getElementById("log");
  if (type === "build" || type === "missed") showSoon();
  if (type === "tasks")
    for (const place of document.querySelectorAll(`.bars[data-build="${Number(data.id)}"]`)) fillBars(place, data.tasks);
  if (type !== "progress") return;
  for (const cell of document.querySelectorAll(`.progress[data-build="${Number(data.id)}"]`)) cell.textContent = ` ${data.line}`;
  if (log && log.dataset.build === String(data.id)) {
    log.append(`${data.line}\n`);
    log.scrollTop = log.scrollHeight;
  }
}

async function watch() {
  for (let wait = 1000; ; wait = Math.min(wait * 2, 30000)) {
    try {
      const answer = await fetch("/v1/events", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
      if (!answer.ok) throw new Error(answer.statusText);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        wait = 1000;
        text += value;
        for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
          const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => line.split(/: (.*)/s)));
          if (fields.event) take(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (error) {
      summary.textContent = `No news from the service (${error.message}); trying again.`;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (login.hidden) showSoon();
  }
}

login.addEventListener("submit", (event) => {
  event.preventDefault();
  token = document.getElementById("token").value;
  sessionStorage.setItem("token", token);
  show(true);
});
window.addEventListener("hashchange", () => show(true));
show();
watch();

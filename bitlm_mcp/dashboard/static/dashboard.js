// The page: polls the server's snapshot, and writes what changed into the tables, the tiles and the two charts.
// Texts of the server reach the document through textContent alone, so no name or error in it can become markup.

import { Chart } from "./chart.js";
import { showSettings } from "./settings.js";

const POLL_MS = 1000;
const SLOW_POLL_MS = 5000;
const TIMEOUT_MS = 10_000;
const MAX_POINTS = 2000;
const MAX_JOBS_SHOWN = 20;
const NONE = "–";

const page = (id) => document.getElementById(id);
const state = { etag: null, status: null, chosen: null, failures: 0, wake: () => {} };
const curve = { boot: null, modelId: null, step: -1, loss: null, points: [] };
const charts = {
  bits: new Chart(page("bits-chart"), { title: "Loss in bits per byte over steps" }),
  kcs: new Chart(page("kcs-chart"), { title: "K, C and S over steps", range: [0, 1] }),
};

// Numbers as people read them

const count = (value) => (value === null ? NONE : value.toLocaleString("en"));
const decimal = (value) => (value === null ? NONE : value.toFixed(3));

function bytes(value) {
  if (value === null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const unit = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), units.length - 1);
  return `${(value / 1024 ** unit).toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds === null) return NONE;
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function moment(iso) {
  const date = new Date(iso);
  if (!iso || Number.isNaN(date.getTime())) return iso || NONE;
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// Tables. A cell is a text, or {text, title, tone, note, progress, action}; only what differs is written, so that a
// selection in the page survives the refresh.

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function child(parent, name, className) {
  const found = parent.querySelector(`:scope > .${className}`);
  if (found) return found;
  const made = document.createElement(name);
  made.className = className;
  parent.append(made);
  return made;
}

function drop(parent, className) {
  parent.querySelector(`:scope > .${className}`)?.remove();
}

function fillCell(cell, value) {
  const filled = typeof value === "string" ? { text: value } : value;
  const { text, title = "", tone = "", note = "", progress = null, action = null } = filled;
  const main = child(cell, "span", "value");
  write(main, text);
  main.title = title;
  main.dataset.tone = tone;
  if (progress === null) drop(cell, "bar");
  else fillBar(child(cell, "progress", "bar"), progress, text);
  if (note) write(child(cell, "small", "note"), note);
  else drop(cell, "note");
  if (action) fillButton(child(cell, "button", "action"), action);
  else drop(cell, "action");
}

/** One press at a time; the row may come to show another job, so what it does is set anew each time. */
function fillButton(button, { label, about, run }) {
  write(button, label);
  button.type = "button";
  button.setAttribute("aria-label", about);
  button.onclick = () => {
    button.disabled = true;
    run().finally(() => (button.disabled = false));
  };
}

function fillBar(bar, progress, label) {
  bar.max = 1;
  bar.value = progress;
  bar.setAttribute("aria-label", label);
}

function makeRow(table) {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    const cell = document.createElement(i ? "td" : "th");
    cell.setAttribute("role", i ? "cell" : "rowheader");
    if (!i) cell.scope = "row";
    cell.className = head.className;
    cell.dataset.label = head.textContent; // shown beside the value where the table is folded into cards
    row.append(cell);
  });
  table.tBodies[0].append(row);
  return row;
}

function fillTable(id, rows) {
  const table = page(id);
  const body = table.tBodies[0];
  table.hidden = !rows.length;
  page(`${id}-empty`).hidden = rows.length > 0;
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  rows.forEach((values, i) => {
    const row = body.rows[i] ?? makeRow(table);
    values.forEach((value, k) => fillCell(row.cells[k], value));
  });
}

const long = (text) => ({ text, tone: "long" });
const digest = (sha256) => (sha256 ? { text: sha256.slice(0, 12), title: sha256, tone: "code" } : NONE);

// Sections

function showModels(models) {
  const row = (model) => [
    long(model.model_id),
    { text: model.state, tone: model.state },
    model.architecture,
    count(model.num_parameters),
    bytes(model.memory_estimate_bytes),
    count(model.step),
    decimal(model.loss),
    decimal(model.bits_per_byte),
    decimal(model.bits_per_byte_mixed),
  ];
  fillTable("models", models.map(row));
}

function showJobs(jobs) {
  const rank = { running: 0, queued: 1 };
  const order = (a, b) => (rank[a.status] ?? 2) - (rank[b.status] ?? 2) || b.created - a.created;
  const sorted = [...jobs].sort(order);
  const row = (job) => [
    { text: job.kind, note: job.job_id },
    long(job.model_id),
    { text: job.status, tone: job.status, note: job.error ?? "", action: cancelling(job) },
    { text: `${Math.floor(job.progress * 100)} %`, progress: job.progress },
    job.steps_done ? `${count(job.steps_done)}${job.steps_total ? ` of ${count(job.steps_total)}` : ""}` : NONE,
    job.bytes_per_second === null ? NONE : `${bytes(job.bytes_per_second)}/s`,
    duration(job.eta_s),
  ];
  fillTable("jobs", sorted.slice(0, MAX_JOBS_SHOWN).map(row));
  const more = sorted.length - MAX_JOBS_SHOWN;
  page("jobs-more").hidden = more <= 0;
  write(page("jobs-more"), `${count(more)} older jobs are not shown.`);
  showJobLine(sorted[0]);
}

function cancelling(job) {
  if (state.status.read_only || !["running", "queued"].includes(job.status)) return null;
  const path = `api/jobs/${encodeURIComponent(job.job_id)}/cancel`;
  const run = async () => {
    try {
      await ask(path, { "Content-Type": "application/json" }, "POST");
    } catch (error) {
      write(page("job-line"), `${job.kind} of ${job.model_id} was not cancelled: ${error.message}.`);
    }
  };
  return { label: "Cancel", about: `Cancel ${job.kind} of ${job.model_id}`, run };
}

// A screen reader speaks this line whenever it changes, so it only changes at quarters.
function showJobLine(job) {
  const line = page("job-line");
  if (!job) return write(line, "");
  const quarter = Math.floor(job.progress * 4) * 25;
  const share = job.status === "running" && quarter ? `, ${quarter} % done` : "";
  const waiting = state.status.jobs.filter(({ status }) => status === "queued").length;
  const others = waiting && job.status === "running" ? `; ${waiting} waiting` : "";
  return write(line, `${job.kind} of ${job.model_id}: ${job.status}${share}${others}.`);
}

function showStores({ datasets, checkpoints }) {
  const dataset = (set) => [
    long(set.dataset_id),
    bytes(set.num_bytes),
    bytes(set.train_bytes),
    bytes(set.holdout_bytes),
    digest(set.sha256),
    long(set.source),
  ];
  const checkpoint = (saved) => [
    long(saved.name),
    long(saved.model_id || NONE),
    saved.damaged ? NONE : count(saved.step),
    saved.damaged ? NONE : bytes(saved.num_bytes),
    moment(saved.saved_at),
    digest(saved.sha256),
    saved.damaged ? { text: "damaged", tone: "failed", note: "save it again under this name" } : "readable",
  ];
  fillTable("datasets", datasets.map(dataset));
  const newest = [...checkpoints].sort((a, b) => (a.saved_at < b.saved_at ? 1 : -1));
  fillTable("checkpoints", newest.map(checkpoint));
}

// The selected model

function choose(models) {
  const ids = models.map(({ model_id: id }) => id);
  const choice = page("choice");
  if ([...choice.options].map(({ value }) => value).join("\n") !== ids.join("\n")) {
    choice.replaceChildren(...ids.map((id) => new Option(id, id)));
  }
  if (!ids.includes(state.chosen)) {
    state.chosen = (models.find(({ state: doing }) => doing === "training") ?? models[0])?.model_id ?? null;
  }
  if (state.chosen !== null) choice.value = state.chosen;
}

function showSelected(models) {
  choose(models);
  const model = models.find(({ model_id: id }) => id === state.chosen);
  page("selected").hidden = !model;
  if (!model) return;
  showSettings(model.model_id, state.status.read_only);
  const facts = [
    ["Step", count(model.step)],
    ["Bits per byte", decimal(model.bits_per_byte)],
    ["With context mixing", decimal(model.bits_per_byte_mixed)],
    ["K", decimal(model.k)],
    ["C", decimal(model.c)],
    ["S", decimal(model.s)],
  ];
  // Only models that were held against unseen data, or that halt or have patches, have these.
  if ("bits_per_byte_held_out" in model) facts.push(["Held out", decimal(model.bits_per_byte_held_out)]);
  if ("composite" in model) facts.push(["Composite", decimal(model.composite)]);
  if ("attention_entropy" in model) facts.push(["Attention entropy (nats)", decimal(model.attention_entropy)]);
  if ("mean_layers" in model) facts.push(["Layers per position", decimal(model.mean_layers)]);
  if ("patch_mean" in model) facts.push(["Bytes per patch", `${decimal(model.patch_mean)} ± ${decimal(model.patch_spread)}`]);
  // Of trainings that show windows in several ways.
  for (const way of ["raw", "compressed", "direct"]) {
    const loss = model[`loss_${way}`];
    if (loss !== undefined) facts.push([`Loss, ${way} (nats)`, `${decimal(loss)}, ${decimal(model[`accuracy_${way}`])} right`]);
  }
  const tiles = page("tiles");
  while (tiles.children.length > facts.length) tiles.lastElementChild.remove();
  facts.forEach(([name, value], i) => {
    const tile = tiles.children[i] ?? tiles.appendChild(document.createElement("div"));
    write(child(tile, "dt", "name"), name);
    write(child(tile, "dd", "value"), value);
  });
  showAlerts(model.alerts);
}

function showAlerts(alerts) {
  const list = page("alerts");
  list.hidden = !alerts.length;
  page("alerts-empty").hidden = alerts.length > 0;
  while (list.children.length > alerts.length) list.lastElementChild.remove();
  [...alerts].reverse().forEach((text, i) => {
    write(list.children[i] ?? list.appendChild(document.createElement("li")), text);
  });
}

function showCurve() {
  const { points } = curve;
  const column = (rows, name) => rows.map((point) => point[name] ?? null);
  const bits = [{ name: "network", values: column(points, "bits_per_byte") }];
  const more = { "with context mixing": "bits_per_byte_mixed", "held out": "bits_per_byte_held_out" };
  for (const [name, key] of Object.entries(more)) {
    const values = column(points, key);
    if (values.some((value) => value !== null)) bits.push({ name, values });
  }
  // Most steps measure no K, C, S: those are no gaps, only rare points.
  const measured = points.filter(({ k, c, s }) => k !== null || c !== null || s !== null);
  page("history-empty").hidden = points.length > 0;
  page("bits-figure").hidden = !points.length;
  page("kcs-figure").hidden = !measured.length;
  charts.bits.update(column(points, "step"), bits);
  const kcs = ["k", "c", "s"].map((name) => ({ name: name.toUpperCase(), values: column(measured, name) }));
  charts.kcs.update(column(measured, "step"), kcs);
}

/** Half of the points at a time, so that this is rare; of two neighbours, the one with K, C, S stays. */
function thin(points) {
  if (points.length <= MAX_POINTS) return points;
  const kept = [];
  for (let i = points.length - 1; i >= 0; i -= 2) {
    const other = points[i - 1];
    const better = i < points.length - 1 && points[i].k === null && other && other.k !== null;
    kept.push(better ? other : points[i]);
  }
  if (kept.at(-1) !== points[0]) kept.push(points[0]); // the curve keeps its beginning
  return kept.reverse();
}

// Talking to the server

/** No usable answer; the message is for the state line. */
class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The response, if it is one that we can use (200 or 304). Throws ServerError. */
async function ask(path, headers = {}, method = "GET") {
  let response;
  try {
    response = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ServerError("the server does not answer");
  }
  if (response.ok || response.status === 304) return response;
  if (response.status === 401) throw new ServerError("the server asks for its token, reload this page", 401);
  throw new ServerError(`the server answers with ${response.status}`, response.status);
}

async function body(response) {
  try {
    return await response.json();
  } catch {
    throw new ServerError("the answer was cut off");
  }
}

async function refreshStatus() {
  const response = await ask("api/status", state.etag ? { "If-None-Match": state.etag } : {});
  if (response.status === 304) return;
  const status = await body(response);
  state.status = status;
  write(page("version"), count(status.version));
  showModels(status.models);
  showJobs(status.jobs);
  showStores(status);
  showSelected(status.models);
  state.etag = response.headers.get("etag"); // only now: a refresh that failed half-way is tried again
}

async function refreshCurve() {
  const model = state.status.models.find(({ model_id: id }) => id === state.chosen);
  if (!model) return;
  if (curve.boot !== state.status.boot || curve.modelId !== model.model_id) forget(model);
  if (model.step === curve.step && model.loss === curve.loss) return;
  if (!(await extendCurve(model))) {
    forget(model);
    await extendCurve(model);
  }
  showCurve();
}

function forget(model) {
  Object.assign(curve, { boot: state.status.boot, modelId: model.model_id, step: -1, loss: null, points: [] });
}

/** Adds the new points. False where the last one we hold is not the server's: the model was replaced meanwhile. */
async function extendCurve({ model_id: modelId, step, loss }) {
  const last = curve.points.at(-1);
  const since = last ? Math.max(last.step - 1, 0) : 0;
  const path = `api/models/${encodeURIComponent(modelId)}/history?since_step=${since}&limit=${MAX_POINTS}`;
  const { points } = await body(await ask(path));
  if (last && (points[0]?.step !== last.step || points[0].loss !== last.loss)) return false;
  // Another choice, or another answer, may have come while we waited; then these points are not ours to add.
  if (modelId === curve.modelId && curve.points.at(-1) === last) {
    Object.assign(curve, { step, loss, points: thin([...curve.points, ...points.slice(last ? 1 : 0)]) });
  }
  return true;
}

async function refresh() {
  try {
    await refreshStatus();
    await refreshCurve().catch(forgive);
    state.failures = 0;
    showConnection("live", "live");
  } catch (error) {
    state.failures += 1;
    state.etag = null;
    if (!(error instanceof ServerError)) console.error(error);
    const reason = error instanceof ServerError ? error.message : "this page has a fault, reload it";
    showConnection("reconnecting", `reconnecting: ${reason}`);
  }
}

// A model may go away between the two requests; the next status tells.
function forgive(error) {
  if (error.status !== 404) throw error;
}

function showConnection(name, text) {
  const line = page("connection");
  line.dataset.state = name;
  write(line, text);
}

function delay() {
  return document.hidden ? SLOW_POLL_MS : Math.min(POLL_MS * (state.failures + 1), SLOW_POLL_MS);
}

async function run() {
  for (;;) {
    await refresh();
    await new Promise((resume) => {
      state.wake = resume;
      setTimeout(resume, delay());
    });
  }
}

document.addEventListener("visibilitychange", () => document.hidden || state.wake());
window.addEventListener("online", () => state.wake());
page("choice").addEventListener("change", (event) => {
  state.chosen = event.target.value;
  showSelected(state.status.models);
  state.wake();
});

run();

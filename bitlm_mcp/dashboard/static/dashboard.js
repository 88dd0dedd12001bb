// The page: what the server's events tell goes into tables, figures and curves, and what a person asks for goes to the tools.
//
//     Live (events) ─→ state ─→ tables, TrainingView, forms      Acts, settings, upload ─→ server ─→ tools

import { Acts } from "./acts.js";
import { drawArchitecture } from "./architecture.js";
import { DiffusionView } from "./diffusion.js";
import { make, write } from "./dom.js";
import { bytes, count, decimal, duration, moment, NONE } from "./format.js";
import { Live } from "./live.js";
import { ask, call, ServerError, token } from "./server.js";
import { Settings } from "./settings.js";
import { long, Table } from "./tables.js";
import { TrainingView } from "./training.js";
import { makeUpload } from "./upload.js";

const MAX_POINTS = 10_000;
const POINTS_AT_ONCE = 5000;
const MAX_JOBS_SHOWN = 10;
const FINAL = ["completed", "failed", "cancelled", "interrupted"];

const page = (id) => document.getElementById(id);
const view = { state: null, chosen: null, wanted: null, session: null, settings: null, mayAct: false, drawn: false };
const curve = { modelId: null, points: [], config: null };
const training = new TrainingView(page("training"));
const acts = new Acts(page("tabs"), page("panels"), choose);
const filling = new DiffusionView(page("filling"));
const numbers = (...names) => names.map((name) => [name, "number"]);
const tables = {
  models: new Table("models", [
    ...["Model", "State", "Architecture"],
    ...numbers("Parameters", "Memory (estimate)", "Step", "Loss (nats)", "Bits per byte", "Mixed bits per byte"),
  ]),
  jobs: new Table("jobs", ["Job", "Model", "Status", "Progress", ...numbers("Steps", "Speed", "Time left")]),
  datasets: new Table("datasets", ["Dataset", ...numbers("Size", "To train", "Held out"), "SHA-256", "Source"]),
  checkpoints: new Table("checkpoints", ["Checkpoint", "Model", ...numbers("Step", "Size"), "Saved", "SHA-256", "State"]),
  calls: new Table("calls", ["When", "Tool", "Outcome", ...numbers("Took"), "By"]),
  servers: new Table("servers", ["Server", "Host", "Since", "Writes"]),
};

// What there is

const digest = (sha256) => (sha256 ? { text: sha256.slice(0, 12), title: sha256, tone: "code" } : NONE);
const acting = (label, about, run) => (view.mayAct ? [{ label, about, run }] : []);
const opening = (label, about, tool, values) => acting(label, about, async () => acts.open(tool, values));

function showModels(models) {
  const row = (model) => [
    long(model.model_id),
    { text: model.state, tone: model.state, note: model.holder ? `by ${model.holder}` : "" },
    model.quantized ? `${model.architecture}, ${model.quantized}` : model.architecture,
    count(model.num_parameters),
    bytes(model.memory_estimate_bytes),
    count(model.step),
    decimal(model.loss),
    decimal(model.bits_per_byte),
    decimal(model.bits_per_byte_mixed),
  ];
  tables.models.fill(models.map(row));
}

function showJobs(jobs) {
  const rank = { running: 0, queued: 1 };
  const sorted = [...jobs].sort((a, b) => (rank[a.status] ?? 2) - (rank[b.status] ?? 2) || b.created - a.created);
  const row = (job) => [
    { text: job.kind, note: job.job_id },
    long(job.model_id || NONE),
    { text: job.status, tone: job.status, note: job.error ?? "", actions: cancelling(job) },
    { text: `${Math.floor(job.progress * 100)} %`, progress: job.progress },
    job.steps_done ? `${count(job.steps_done)}${job.steps_total ? ` of ${count(job.steps_total)}` : ""}` : NONE,
    job.bytes_per_second === null ? NONE : `${bytes(job.bytes_per_second)}/s`,
    FINAL.includes(job.status) ? { text: NONE, note: ratioOf(job) } : duration(job.eta_s),
  ];
  tables.jobs.fill(sorted.slice(0, MAX_JOBS_SHOWN).map(row));
  const more = sorted.length - MAX_JOBS_SHOWN;
  page("jobs-more").hidden = more <= 0;
  write(page("jobs-more"), `${count(more)} older jobs are not shown.`);
  showJobLine(sorted[0]);
  showFilling(sorted.find(({ preview }) => preview));
}

/** A diffusion as it happens, whoever asked for it. */
function showFilling(job) {
  page("filling").hidden = !job;
  if (job) filling.live(job.preview);
}

const ratioOf = ({ result }) => (result?.ratio ? `${decimal(1 / result.ratio, 2)} : 1` : "");

function cancelling(job) {
  if (FINAL.includes(job.status)) return [];
  const what = `${job.kind} of ${job.model_id || job.job_id}`;
  return acting("Cancel", `Cancel ${what}`, async () => {
    try {
      await call("cancel_job", { job_id: job.job_id });
    } catch (error) {
      write(page("job-line"), `${what} was not cancelled: ${error.message}.`);
    }
  });
}

// A screen reader speaks this line whenever it changes, so it only changes at quarters.
function showJobLine(job) {
  const share = job?.status === "running" ? `, ${Math.floor(job.progress * 4) * 25} % done` : "";
  write(page("job-line"), job ? `${job.kind}: ${job.status}${share}.` : "");
}

const DAMAGED = { text: "damaged", tone: "failed", note: "save it again under this name" };

function showStores({ datasets, checkpoints }) {
  const dataset = (set) => [
    long(set.dataset_id, [...trainingOn(set), ...surprising(set)]),
    ...[set.num_bytes, set.train_bytes, set.holdout_bytes].map(bytes),
    digest(set.sha256),
    long(set.source),
  ];
  const checkpoint = (saved) => [
    long(saved.name, saved.damaged ? [] : [...loading(saved), ...pushing(saved)]),
    long(saved.model_id || NONE),
    ...(saved.damaged ? [NONE, NONE] : [count(saved.step), bytes(saved.num_bytes)]),
    moment(saved.saved_at),
    digest(saved.sha256),
    saved.damaged ? DAMAGED : saved.pinned ? "readable, pinned" : "readable",
  ];
  tables.datasets.fill(datasets.map(dataset));
  tables.checkpoints.fill([...checkpoints].sort((a, b) => (a.saved_at < b.saved_at ? 1 : -1)).map(checkpoint));
}

const trainingOn = ({ dataset_id }) => opening("Train", `Train on ${dataset_id}`, "train_step", { dataset_id });
const loading = ({ name, model_id }) => opening("Load", `Load ${name}`, "load_checkpoint", { name, model_id });
const pushing = ({ name }) => (page("pull").hidden ? [] : opening("Push", `Push ${name}`, "push_checkpoint", { name }));

/** The heat map of a dataset under the model that is shown. */
function surprising({ dataset_id: id }) {
  if (view.chosen === null) return [];
  const values = { model_id: view.chosen, dataset_id: id };
  return acting("Surprise", `Show the surprise of ${id}`, async () => acts.open("show_surprise", values).form.requestSubmit());
}

function showActivity({ calls, servers }) {
  const one = (made) => [
    moment(made.at),
    { text: made.tool, note: made.model_id ?? "" },
    { text: made.outcome, tone: made.outcome === "ok" ? "completed" : "failed", note: made.message ?? "" },
    `${count(Math.round(made.duration_ms))} ms`,
    long(made.client),
  ];
  tables.calls.fill(calls.map(one));
  const server = (process) => [
    { text: `process ${process.pid}`, note: process.here ? "this page's" : "" },
    long(process.host),
    moment(process.started),
    process.writes.length ? long(process.writes.map(({ model_id: id, purpose }) => `${id} (${purpose})`).join(", ")) : NONE,
  ];
  tables.servers.fill(servers.map(server));
}

// The selected model

/** Shows a model, as soon as it is there. */
function choose(modelId) {
  view.wanted = modelId;
  schedule();
}

function settle(models) {
  const ids = models.map(({ model_id: id }) => id);
  const choice = page("choice");
  if ([...choice.options].map(({ value }) => value).join("\n") !== ids.join("\n")) {
    choice.replaceChildren(...ids.map((id) => make("option", { value: id }, id)));
  }
  const busy = models.find(({ state }) => state === "training")?.model_id;
  view.chosen = [view.wanted, view.chosen, busy, ids[0]].find((id) => ids.includes(id)) ?? null;
  if (view.chosen === view.wanted) view.wanted = null;
  if (view.chosen !== null) choice.value = view.chosen;
}

function showSelected(models) {
  settle(models);
  const model = models.find(({ model_id: id }) => id === view.chosen);
  page("selected").hidden = !model;
  if (!model) return;
  view.settings?.show(model.model_id);
  if (curve.modelId !== model.model_id) follow(model.model_id);
  const floors = curve.config?.floors;
  training.show(floors ? { ...model, floors } : model, curve.points);
}

/** All of a model's record, and what it is; from then on events add to it. */
async function follow(modelId) {
  Object.assign(curve, { modelId, points: [], config: null });
  const path = `api/models/${encodeURIComponent(modelId)}`;
  try {
    const [{ config }, { points }] = await Promise.all([ask(path), ask(`${path}/history?limit=${POINTS_AT_ONCE}`)]);
    if (curve.modelId !== modelId) return;
    Object.assign(curve, { config, points: joined(points, curve.points) });
    drawArchitecture(page("architecture"), config);
    schedule();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (curve.modelId === modelId) curve.modelId = null; // a model may go away meanwhile; else the next event asks again
  }
}

/** Two stretches of a record; where the second goes back, what it replaces is left out. */
function joined(before, after) {
  if (!after.length) return before;
  const kept = before.length && before.at(-1).step >= after[0].step ? before.filter(({ step }) => step < after[0].step) : before;
  return [...kept, ...after];
}

function grow({ models = [] }) {
  const change = models.find(({ model_id: id }) => id === curve.modelId);
  if (!change) return;
  // Of what has become too long, the server has a shorter record that keeps what stands out.
  if (change.afresh || curve.points.length > MAX_POINTS) curve.modelId = null;
  else curve.points = joined(curve.points, change.points ?? []);
}

// Drawing: once a frame, however many events there are

function schedule() {
  if (view.drawn || view.state === null) return;
  view.drawn = true;
  requestAnimationFrame(() => {
    view.drawn = false;
    const { state } = view;
    write(page("version"), count(state.version));
    showSelected(state.models);
    showModels(state.models);
    showJobs(state.jobs);
    showStores(state);
    showActivity(state);
    acts.refresh(state, view.chosen);
    page("start").hidden = !view.mayAct || state.models.some(({ step }) => step > 0);
  });
}

function showConnection(name, text) {
  const line = page("connection");
  line.dataset.state = name;
  write(line, text);
}

// Who may act

/** Asked anew when another process answers; forms are made only where the answer differs, so what was typed stays. */
async function begin() {
  const session = await ask("api/session");
  const [readOnly, locked] = [session.read_only, session.token === "needed"];
  const known = JSON.stringify(session);
  if (known === view.session) return;
  view.mayAct = !readOnly && !locked;
  page("acts").hidden = locked;
  page("unlock").hidden = !locked;
  page("read-only").hidden = !readOnly;
  if (!locked) await makeForms();
  view.session = known;
  schedule();
}

/** Every tool that may be called has a form; without set_telemetry among them, how models are watched cannot be changed. */
async function makeForms() {
  const { tools } = await ask("api/tools");
  const [watching, adding, pulling] = ["set_telemetry", "add_dataset", "pull_checkpoint"].map((wanted) =>
    tools.find(({ name }) => name === wanted),
  );
  page("pull").hidden = !pulling;
  page("upload-card").hidden = !adding;
  if (adding) makeUpload(page("upload"), adding, (dataset) => acts.open("train_step", { dataset_id: dataset }));
  page("watch").hidden = !watching;
  view.settings = watching ? new Settings(page("settings"), watching) : null;
  acts.load(tools);
}

page("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = event.target.elements.token;
  token.set(field.value);
  try {
    await begin();
    if (page("unlock").hidden) field.value = "";
    else throw new ServerError("This is not the server's token: copy it from where the server was started.");
  } catch (error) {
    token.set(null);
    if (!(error instanceof ServerError)) throw error;
    write(page("unlock-error"), error.message);
  }
});

page("choice").addEventListener("change", (event) => choose(event.target.value));
page("pull").addEventListener("click", () => acts.open("pull_checkpoint", {}));

function changed(state, change) {
  if (change === null) {
    curve.modelId = null; // the whole state anew: another process may have answered
    begin().catch((error) => (error instanceof ServerError ? showConnection("reconnecting", error.message) : console.error(error)));
  } else {
    grow(change);
  }
  view.state = state;
  schedule();
}

new Live({ changed, connection: showConnection });

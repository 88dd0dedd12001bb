// The server's state, kept current by its events. The browser comes back by itself with the number of the last event it saw, and
// the server sends what followed. A hidden page lets go of its connection: browsers allow a server only six.

const KINDS = { models: "model_id", jobs: "job_id", datasets: "dataset_id", checkpoints: "name" };
const LISTS = ["servers", "calls"];
const SILENCE_MS = 40_000; // the server says something every 15 s

/** `new Live({changed, connection})`: changed(state, change) after every event; connection("live" | "reconnecting", text). */
export class Live {
  constructor({ changed, connection }) {
    Object.assign(this, { changed, connection, state: null, last: null, source: null, heard: 0 });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    setInterval(() => this.source && performance.now() - this.heard > SILENCE_MS && this.#renew(), SILENCE_MS / 4);
    if (!document.hidden) this.#open();
  }

  #open() {
    if (this.source) return;
    const after = this.last === null ? "" : `?after=${encodeURIComponent(this.last)}`;
    const source = new EventSource(`api/events${after}`);
    this.source = source;
    this.heard = performance.now();
    source.addEventListener("open", () => this.connection("live", "live"));
    source.addEventListener("state", (event) => this.#hear(event, (state) => this.#whole(state)));
    source.addEventListener("change", (event) => this.#hear(event, (change) => this.#change(change)));
    source.addEventListener("alive", () => (this.heard = performance.now()));
    source.addEventListener("error", () => this.#lost(source));
  }

  /** A connection that ended comes back by itself; one that was refused is tried anew, after a while. */
  #lost(source) {
    this.connection("reconnecting", "reconnecting: the server does not answer");
    if (source.readyState !== EventSource.CLOSED || source !== this.source) return;
    this.source = null;
    setTimeout(() => document.hidden || this.#open(), 3000);
  }

  #renew() {
    this.#close();
    this.#open();
  }

  #close() {
    this.source?.close();
    this.source = null;
  }

  #hear(event, apply) {
    this.heard = performance.now();
    this.last = event.lastEventId;
    apply(JSON.parse(event.data));
    this.connection("live", "live");
  }

  #whole(state) {
    this.state = state;
    this.changed(state, null);
  }

  #change(change) {
    const { state } = this;
    state.version = change.version;
    for (const [kind, key] of Object.entries(KINDS)) {
      const [changed, gone] = [change[kind] ?? [], change.gone?.[kind] ?? []];
      if (changed.length || gone.length) state[kind] = merged(state[kind], changed, gone, key);
    }
    for (const name of LISTS) if (change[name]) state[name] = change[name];
    this.changed(state, change);
  }
}

function merged(list, changed, gone, key) {
  const all = new Map(list.map((item) => [item[key], item]));
  for (const { points: _, afresh: __, ...item } of changed) all.set(item[key], item);
  for (const id of gone) all.delete(id);
  return [...all.values()];
}

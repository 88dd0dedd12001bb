// The curve of one model, read from get_telemetry page by page. It is as long as the server keeps it, which thins it itself.

const PAGE = 500; // the most that get_telemetry gives at once
const MAX_POINTS = 6000; // some more than the server keeps: from there on its record is read anew
const MAX_PAGES = 40;

/** The columns of a telemetry result as rows, oldest first. */
export function rowsOf({ history }) {
  const { step = [], ...columns } = history ?? {};
  const row = (at, i) => Object.fromEntries([["step", at], ...Object.entries(columns).map(([name, values]) => [name, values[i]])]);
  return step.map(row);
}

/** `new TrainingRecord(ask)`, where `ask(arguments)` calls get_telemetry; `points` are rows as a TrainingView shows them. */
export class TrainingRecord {
  constructor(ask) {
    this.ask = ask;
    this.points = [];
    this.whole = false; // whether it has been read from the beginning
  }

  /** Adds what is new, and returns the latest result. Another model under the same name is read from its beginning. */
  async update(modelId) {
    if (this.points.length > MAX_POINTS) this.whole = false;
    return (this.whole && (await this.#read(modelId, this.points))) || this.#read(modelId, []);
  }

  /** Reads on after `before`; null where the server's record is no continuation of that. */
  async #read(modelId, before) {
    const points = [...before];
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const last = points.at(-1);
      // The last one comes again: only so is it known to be still there.
      const result = await this.ask({ model_id: modelId, last: PAGE, since_step: last ? last.step - 1 : 0, full: true });
      const rows = rowsOf(result);
      if (last && (rows[0]?.step !== last.step || rows[0].loss !== last.loss)) return null;
      points.push(...rows.slice(last ? 1 : 0));
      if (!result.left_out?.steps) {
        Object.assign(this, { points, whole: true });
        return result;
      }
    }
    return null;
  }
}

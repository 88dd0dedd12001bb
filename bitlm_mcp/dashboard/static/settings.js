// The form that says how the selected model is watched: filled from the server, and sent back where it was changed. What is saved
// stays with the model.

import { make } from "./dom.js";
import { ToolForm } from "./forms.js";
import { ask, call, ServerError } from "./server.js";

const WEIGHTS = 5; // the end of their sliders; a larger one can be written
const SLIDERS = { lambda_k: WEIGHTS, lambda_c: WEIGHTS, lambda_s: WEIGHTS, floor_k: 1, floor_c: 1, floor_s: 1 };

/** `new Settings(host, tool)` with the tool set_telemetry, then `show(modelId)`: what is typed stays until another is shown. */
export class Settings {
  constructor(host, tool) {
    const { model_id: _, ...properties } = tool.schema.properties;
    const run = (values, outcome) => this.#save(values, outcome);
    const form = new ToolForm({ ...tool, schema: { properties } }, { sliders: SLIDERS, label: "Save", run });
    form.form.id = "watch-form";
    Object.assign(this, { host, form, modelId: null });
    host.replaceChildren(form.element);
    host.closest("details").addEventListener("toggle", () => this.#load());
  }

  show(modelId) {
    if (modelId === this.modelId) return;
    this.modelId = modelId;
    this.form.outcome.replaceChildren();
    this.#load();
  }

  async #load() {
    const asked = this.modelId;
    try {
      const { config } = await ask(`api/models/${encodeURIComponent(asked)}`);
      const floors = Object.entries(config.floors).map(([name, value]) => [`floor_${name}`, value]);
      if (asked === this.modelId) this.form.fill({ ...config.telemetry, ...Object.fromEntries(floors) });
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#tell(this.form.outcome, error.message);
    }
  }

  async #save(values, outcome) {
    if (!Object.keys(values).length) return this.#tell(outcome, "Nothing was changed.");
    this.#tell(outcome, "Saving…");
    const asked = this.modelId;
    const { settings } = await call("set_telemetry", { model_id: asked, ...values });
    if (asked === this.modelId) this.form.fill(settings);
    return this.#tell(outcome, "Saved with the model.");
  }

  #tell(outcome, text) {
    outcome.replaceChildren(make("p", { id: "watch-line" }, text));
  }
}

// Forms made of the tools' own schemas: what an agent may say in a call, a person may fill in, within the same bounds. What is left
// blank is left out of the call. The server judges the values; what it says stands beside the control that it speaks of.

import { freshId, make, write } from "./dom.js";
import { count, toBase64 } from "./format.js";

const LONG_TEXT = 1000; // strings that may be longer get a room of several lines
/** Arguments that name what there is; where a tool says how a name is written, it may be a new one. */
const LISTS = { model_id: "models", dataset_id: "datasets", name: "checkpoints" };
const OMITTED = new Set(["wait_s", "idempotency_key"]); // what only programs need

const sentence = (name) => name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

function bounds({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum, default: usual }) {
  const [low, high] = [minimum ?? exclusiveMinimum, maximum ?? exclusiveMaximum];
  const range = low === undefined || high === undefined ? "" : `${count(low)} to ${count(high)}`;
  const told = type === "boolean" || usual === undefined || usual === "" ? "" : `usually ${usual}`;
  return [range, told].filter(Boolean).join(", ");
}

const choices = (values, blank) => (blank ? ["", ...values] : values).map((value) => make("option", { value }, value || "—"));

/** The control of one argument; `list`: the kind of thing that it names, where that exists already. */
function controlOf(name, node, list) {
  const { type, default: usual } = node;
  if (list) return make("select", { name, "data-list": list });
  if (type === "boolean" && usual !== undefined) return make("input", { name, type: "checkbox", checked: usual === true });
  if (type === "boolean") return make("select", { name }, ...choices(["true", "false"], true));
  if (node.enum) {
    const made = make("select", { name }, ...choices(node.enum, usual === undefined));
    made.value = usual ?? "";
    return made;
  }
  if (type === "integer" || type === "number") {
    return make("input", { name, type: "number", step: type === "integer" ? 1 : "any", placeholder: usual, inputmode: "decimal" });
  }
  if (type === "file" || name.endsWith("_base64")) return make("input", { name, type: "file" });
  if (type === "array") return make("textarea", { name, rows: 2 });
  if ((node.maxLength ?? 0) > LONG_TEXT) return make("textarea", { name, rows: 3, spellcheck: "false" });
  return make("input", { name, placeholder: usual, autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
}

const encoded = async (file) => file && toBase64(new Uint8Array(await file.arrayBuffer()));

/** What a control holds; undefined where that is what the server assumes, or knows, anyway. */
async function valueOf(control, { type, default: usual }, known = usual) {
  if (control.type === "checkbox") return control.checked === known ? undefined : control.checked;
  if (control.type === "file") return type === "file" ? control.files[0] : encoded(control.files[0]);
  if (control.value === "") return undefined;
  if (type === "array") return control.value.split("\n").filter(Boolean);
  const numeric = type === "integer" || type === "number";
  const value = type === "boolean" ? control.value === "true" : numeric ? control.valueAsNumber : control.value;
  return value === known ? undefined : value;
}

/** A slider beside a number: each moves the other. A number beyond the slider's end stays as it is written. */
function sliderOf(control, end) {
  const about = `${sentence(control.name)}, slider`;
  const slider = make("input", { type: "range", min: 0, max: end, step: end / 100, "aria-label": about });
  slider.addEventListener("input", () => (control.value = slider.value));
  control.addEventListener("input", () => (slider.value = control.value));
  return slider;
}

/**
 * `new ToolForm(tool, {main, toggles, sliders, label, run})`: `main` names the arguments that stand open, the others are folded
 * away; a toggle `{label, field, on}` sets a field to a value and back; `sliders` tells their ends by the names of numbers;
 * `run(values, outcome)` is what sending does: it may throw a ServerError.
 */
export class ToolForm {
  constructor(tool, { main = null, toggles = [], sliders = {}, label = tool.title, run }) {
    this.fields = Object.entries(tool.schema.properties).filter(([name]) => !OMITTED.has(name));
    this.schema = tool.schema;
    Object.assign(this, { controls: {}, known: {}, sliders, run });
    const fields = new Map(this.fields.map(([name, node]) => [name, this.#field(name, node)]));
    const open = (main ?? [...fields.keys()]).filter((name) => fields.has(name));
    const folded = [...fields.keys()].filter((name) => !open.includes(name));
    const room = (names) => make("div", { class: "fields" }, ...names.map((name) => fields.get(name)));
    const ways = toggles.map((toggle) => this.#toggle(tool.name, toggle));
    this.button = make("button", { type: "submit", class: "primary" }, label);
    this.failed = make("p", { class: "error", role: "alert" });
    this.outcome = make("div", { class: "outcome", "aria-live": "polite" });
    this.form = make(
      "form",
      { "data-tool": tool.name, novalidate: true, autocomplete: "off" },
      make("p", { class: "about" }, tool.description),
      room(open),
      ...(ways.length ? [make("fieldset", { class: "toggles" }, make("legend", {}, "Ways"), ...ways)] : []),
      ...(folded.length ? [make("details", {}, make("summary", {}, "More settings"), room(folded))] : []),
      make("p", { class: "send" }, this.button),
      this.failed,
    );
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.element = make("div", { class: "act" }, this.form, this.outcome);
  }

  /** Lists of what there is, kept current; what was chosen stays chosen while it exists. */
  refresh(state, chosen) {
    for (const control of this.form.querySelectorAll("select[data-list]")) {
      const ids = state[control.dataset.list].map((item) => item[control.name]);
      const { required = [], properties } = this.schema;
      const blank = !required.includes(control.name) && properties[control.name].default === undefined;
      if (control.dataset.ids === ids.join("\n")) continue;
      const kept = control.value || chosen;
      control.dataset.ids = ids.join("\n");
      control.replaceChildren(...choices(ids, blank));
      if (ids.includes(kept)) control.value = kept;
    }
  }

  /** Shows what the server has; only what differs from that is sent. */
  fill(values) {
    this.known = values;
    for (const [name, control] of Object.entries(this.controls)) {
      if (control.type === "checkbox") control.checked = values[name];
      else control.value = values[name] ?? "";
      if (this.sliders[name]) control.dispatchEvent(new Event("input"));
    }
  }

  choose(model) {
    const control = this.controls.model_id;
    if (control?.dataset.ids?.split("\n").includes(model)) control.value = model;
  }

  #field(name, node) {
    const [id, help, error] = [freshId(name), freshId("help"), freshId("error")];
    const list = node.pattern || this.schema.properties.kind ? undefined : LISTS[name]; // kind: the name is of any kind
    const control = controlOf(name, node, list);
    control.id = id;
    control.setAttribute("aria-describedby", `${help} ${error}`);
    this.controls[name] = control;
    const about = [node.description, list ? "" : bounds(node)].filter(Boolean).join(" ");
    const slider = this.sliders[name] ? [sliderOf(control, this.sliders[name])] : [];
    const kind = control.type === "checkbox" ? "field check" : "field";
    const told = [make("small", { id: help }, about), make("p", { class: "error", id: error, "data-for": name })];
    return make("div", { class: kind }, make("label", { for: id }, sentence(name)), control, ...slider, ...told);
  }

  /** Remembered by this browser. */
  #toggle(tool, { label, field, on }) {
    const key = `bitlm-${tool}-${field}`;
    const box = make("input", { type: "checkbox", "data-toggle": field, checked: localStorage.getItem(key) === "on" });
    const apply = () => {
      this.controls[field].value = box.checked ? on : (this.schema.properties[field].default ?? "");
    };
    box.addEventListener("change", () => {
      localStorage.setItem(key, box.checked ? "on" : "off");
      apply();
    });
    if (box.checked) apply();
    return make("label", {}, box, ` ${label}`);
  }

  async #send() {
    this.#clear();
    const bad = this.fields.map(([name]) => name).find((name) => this.controls[name].validity.badInput);
    if (bad) return this.#blame({ message: "This is no number: write one, such as 12 or 0.5.", names: [bad] });
    const values = {};
    for (const [name, node] of this.fields) {
      const value = await valueOf(this.controls[name], node, this.known[name]);
      if (value !== undefined) values[name] = value;
    }
    this.button.disabled = true;
    this.outcome.setAttribute("aria-busy", "true");
    try {
      await this.run(values, this.outcome);
    } catch (error) {
      this.outcome.replaceChildren();
      if (error.names === undefined) console.error(error);
      this.#blame(error.names === undefined ? { message: "This page has a fault: reload it.", names: [] } : error);
    } finally {
      this.button.disabled = false;
      this.outcome.removeAttribute("aria-busy");
    }
    return undefined;
  }

  #clear() {
    write(this.failed, "");
    for (const error of this.form.querySelectorAll(".error[data-for]")) write(error, "");
    for (const control of Object.values(this.controls)) control.removeAttribute("aria-invalid");
  }

  /** The text beside the control that it speaks of first, where there is one. */
  #blame({ message, names }) {
    const control = this.controls[names.find((name) => this.controls[name])];
    if (!control) return write(this.failed, message);
    control.closest("details")?.setAttribute("open", "");
    control.setAttribute("aria-invalid", "true");
    write(this.form.querySelector(`.error[data-for="${control.name}"]`), message);
    control.focus();
    return undefined;
  }
}

/** Names and values as a list; what is no plain value is left to the whole answer below it. */
export function facts(result) {
  const plain = Object.entries(result).filter(([, value]) => typeof value !== "object" && `${value}`.length < 300);
  const text = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 4 }) : String(value));
  const fact = ([name, value]) => make("div", {}, make("dt", {}, sentence(name)), make("dd", {}, text(value)));
  return make("dl", { class: "facts" }, ...plain.map(fact));
}

/** The whole answer, folded away. */
export function whole(result) {
  const text = make("pre", { tabindex: 0 }, JSON.stringify(result, null, 2));
  return make("details", { class: "whole" }, make("summary", {}, "The whole answer"), text);
}

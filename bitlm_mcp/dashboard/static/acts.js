// What a person can do: the tools, as forms in tabs. The usual ones by name, and behind the last tab all that there are.

import { make } from "./dom.js";
import { ToolForm } from "./forms.js";
import * as outcomes from "./outcomes.js";
import { call, callToTheEnd } from "./server.js";

const TRAINING_TOGGLES = [
  { label: "Compression: show some windows compressed", field: "compress_prob", on: "0.5" },
  { label: "Diffusion: learn to fill gaps", field: "objective", on: "diffusion" },
  { label: "Quantisation-aware: end with an int4 copy", field: "quantize", on: "int4" },
];

/** The usual acts in the order of a first visit: arguments that stand open, others that are asked, what shows the answer. */
const USUAL = {
  init_model: {
    main: [
      ...["model_id", "architecture", "preset", "context_mixing", "diffusion"],
      ...["max_seq_len", "attention", "chunk_size", "overlap"],
    ],
  },
  train_step: {
    main: ["model_id", "dataset_id", "seconds", "steps", "text"],
    toggles: TRAINING_TOGGLES,
    asked: { wait_s: 0 },
  },
  infer: { main: ["model_id", "prompt", "max_new_bytes", "temperature", "safety", "seed"], show: outcomes.showGenerated },
  infer_long: { main: ["model_id", "prompt", "dataset_id", "ctx_bits", "overlap"], show: outcomes.showPredicted, takesLong: true },
  diffusion_sample: {
    main: ["model_id", "template", "num_bytes", "prefix", "suffix", "steps", "temperature"],
    show: outcomes.showFilled,
    asked: { trace: true },
  },
  show_surprise: {
    main: ["model_id", "dataset_id", "text"],
    show: outcomes.showSurprise,
    takesLong: true,
    asked: { cells: 1024, shown: 512 },
  },
  score: { main: ["model_id", "dataset_id", "text", "records", "adaptive"], show: outcomes.showScore, takesLong: true },
  compress: { main: ["model_id", "dataset_id", "text", "codec"], show: outcomes.showCompressed, takesLong: true },
  save_checkpoint: { main: ["model_id", "name", "overwrite"] },
  load_checkpoint: { main: ["name", "model_id", "overwrite"] },
  push_checkpoint: { main: ["name", "repo", "private", "license"], takesLong: true },
  pull_checkpoint: { main: ["repo", "name", "overwrite"], takesLong: true },
};

const MAKING = ["init_model", "load_checkpoint"];

/** Tabs as the ARIA practices have them: arrow keys move, one is in the order of the Tab key. */
function select(list, chosen, { focus = false } = {}) {
  for (const tab of list.children) {
    const own = tab === chosen;
    tab.setAttribute("aria-selected", own);
    tab.tabIndex = own ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !own;
  }
  if (focus) chosen.focus();
}

function moved(list, event) {
  const tabs = [...list.children];
  const at = tabs.indexOf(event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  select(list, tabs[(to + tabs.length) % tabs.length], { focus: true });
}

/** `new Acts(tabs, panels, made)`, which hears of models that were made, then `load(tools)` once it is known who may act, and `refresh(state, chosen)` when there is news. */
export class Acts {
  constructor(tabs, panels, made) {
    Object.assign(this, { tabs, panels, made, forms: [] });
    tabs.addEventListener("keydown", (event) => moved(tabs, event));
  }

  load(tools) {
    const usual = Object.keys(USUAL).flatMap((wanted) => tools.filter(({ name }) => name === wanted));
    this.tabs.replaceChildren();
    this.panels.replaceChildren();
    this.forms = [];
    for (const tool of usual) this.#panel(tool.title, this.#form(tool).element);
    this.#panel("All tools", this.#others(tools.filter((tool) => !usual.includes(tool))));
    if (this.tabs.firstElementChild) select(this.tabs, this.tabs.firstElementChild);
  }

  /** The model that the page shows is the one that is meant, until another is chosen in a form. */
  refresh(state, chosen) {
    for (const form of this.forms) {
      form.refresh(state, chosen);
      if (chosen !== this.known?.[1]) form.choose(chosen);
    }
    this.known = [state, chosen];
  }

  /** Opens the form of a tool, filled in so far. */
  open(tool, values) {
    const form = this.forms.find(({ form: { dataset } }) => dataset.tool === tool);
    const panel = form.element.closest("[role=tabpanel]");
    select(this.tabs, document.getElementById(panel.getAttribute("aria-labelledby")));
    for (const [name, value] of Object.entries(values)) form.controls[name].value = value;
    panel.scrollIntoView({ block: "nearest" });
    return form;
  }

  #panel(title, content) {
    const id = `act-${this.tabs.children.length}`;
    const tab = make("button", { type: "button", role: "tab", id: `${id}-tab`, "aria-controls": id }, title);
    tab.addEventListener("click", () => select(this.tabs, tab));
    this.tabs.append(tab);
    this.panels.append(make("div", { role: "tabpanel", id, "aria-labelledby": tab.id, tabindex: 0 }, content));
  }

  #form(tool) {
    const { main, toggles, show = outcomes.showFacts, asked, takesLong } = USUAL[tool.name] ?? {};
    const run = async (values, outcome) => {
      const told = outcomes.waiting(outcome, tool.title);
      const all = { ...asked, ...values };
      const found = await (takesLong ? callToTheEnd(tool.name, all, told) : call(tool.name, all));
      outcome.replaceChildren();
      if (MAKING.includes(tool.name)) this.made(found.model_id);
      return show(outcome, found, all);
    };
    const form = new ToolForm(tool, { main, toggles, run });
    this.forms.push(form);
    if (this.known) form.refresh(...this.known);
    return form;
  }

  /** Any other tool, by its name. */
  #others(tools) {
    const choice = make("select", { id: "tool" }, ...tools.map(({ name, title }) => make("option", { value: name }, title)));
    const room = make("div");
    const forms = new Map();
    const open = () => {
      const tool = tools.find(({ name }) => name === choice.value);
      if (!tool) return;
      if (!forms.has(tool.name)) forms.set(tool.name, this.#form(tool));
      room.replaceChildren(forms.get(tool.name).element);
    };
    choice.addEventListener("change", open);
    open();
    return make("div", {}, make("p", { class: "pick" }, make("label", { for: "tool" }, "Tool "), choice), room);
  }
}

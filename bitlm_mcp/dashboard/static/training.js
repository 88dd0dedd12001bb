// How a model is doing: its figures, its curves over steps, how deep it thinks, how it cuts, and what was noticed.

import { Bars, Chart } from "./chart.js";
import { fill, make, write } from "./dom.js";
import { bytes, count, decimal, NONE } from "./format.js";

/** What the last steps measured: [name, key], and how it is written where that is not with three digits. */
const USUAL = [["Step", "step", count], ["Bits per byte", "bits_per_byte"], ["With context mixing", "bits_per_byte_mixed"]];
const SIGNALS = [["K", "k"], ["C", "c"], ["S", "s"], ["Gradient norm", "grad_norm"]];
/** Only some models and trainings have these. */
const RARE = [
  ["Held out", "bits_per_byte_held_out"],
  ["Composite", "composite"],
  ["Attention entropy (nats)", "attention_entropy"],
  ["Layers per position", "mean_layers"],
  ["Memory in use", "memory_bytes", bytes],
  // Of trainings that show windows in several ways.
  ...["raw", "compressed", "direct"].flatMap((way) => [
    [`Loss, ${way} (nats)`, `loss_${way}`],
    [`Right, ${way}`, `accuracy_${way}`],
  ]),
];

function facts(model) {
  const told = ([name, key, text = decimal]) => [name, text(model[key])];
  const bits = model.bits_per_byte_mixed ?? model.bits_per_byte;
  const ratio = ["Compression ratio", bits ? `${decimal(8 / bits, bits < 0.08 ? 0 : 2)} : 1` : NONE];
  const rare = RARE.filter(([, key]) => model[key] !== undefined).map(told);
  const { patch_mean: mean, patch_spread: spread } = model;
  if (mean !== undefined) rare.push(["Bytes per patch", `${decimal(mean)} ± ${decimal(spread)}`]);
  return [...USUAL.map(told), ratio, ...SIGNALS.map(told), ...rare];
}

const column = (rows, name) => rows.map((point) => point[name] ?? null);
const measured = (values) => values.some((value) => value !== null);

/**
 * `new TrainingView(host)`, then `show(model, points)`: model as in the server's status, perhaps with its `floors`; points as in
 * its history, oldest first.
 */
export class TrainingView {
  constructor(host) {
    this.tiles = host.appendChild(make("dl", { class: "tiles" }));
    this.empty = host.appendChild(make("p", { class: "empty" }, "No training step yet."));
    const charts = host.appendChild(make("div", { class: "charts" }));
    const figure = (View, name, title, about, range) => {
      const room = make("div", { id: `${name}-chart` });
      const made = make("figure", { hidden: true }, make("figcaption", {}, `${title} `, make("small", {}, about)), room);
      charts.append(made);
      return { made, view: new View(room, { title, range }) };
    };
    this.bits = figure(Chart, "bits", "Loss in bits per byte", "lower is better, 8 = nothing learned");
    this.kcs = figure(Chart, "kcs", "K, C, S", "how ordered, how incompressible, how familiar", [0, 1]);
    this.gradient = figure(Chart, "gradient", "Gradient norm", "before clipping");
    this.halting = figure(Bars, "halting", "Halting", "mean probability to stop after each layer");
    this.patches = figure(Bars, "patches", "Patch lengths", "how many of so many bytes, in the last batch measured");
    this.noticed = host.appendChild(make("section", { class: "noticed" }, make("h3", {}, "Drift alerts and the gate")));
    this.alerts = this.noticed.appendChild(make("ul", { class: "alerts" }));
    this.quiet = this.noticed.appendChild(make("p", { class: "empty" }, "No drift seen, and nothing that the gate failed."));
  }

  show(model, points) {
    const tile = () => make("div", {}, make("dt"), make("dd"));
    fill(this.tiles, facts(model), tile, (made, [name, text]) => {
      write(made.firstChild, name);
      write(made.lastChild, text);
    });
    this.empty.hidden = points.length > 0;
    this.#showCurves(model, points);
    this.#showLists(model);
  }

  #showCurves(model, points) {
    const marks = model.marks ?? [];
    const bits = [{ name: "network", values: column(points, "bits_per_byte") }];
    const more = { "with context mixing": "bits_per_byte_mixed", "held out": "bits_per_byte_held_out" };
    for (const [name, key] of Object.entries(more)) {
      const values = column(points, key);
      if (measured(values)) bits.push({ name, values });
    }
    const steps = column(points, "step");
    const gradient = column(points, "grad_norm");
    // Most steps measure no K, C, S: those are no gaps, only rare points.
    const rows = points.filter(({ k, c, s }) => (k ?? c ?? s ?? null) !== null);
    const signal = (name) => ({ name: name.toUpperCase(), values: column(rows, name), floor: model.floors?.[name] });
    const kcs = ["k", "c", "s"].map(signal);
    this.#figure(this.bits, points.length > 0, (chart) => chart.update(steps, bits, marks));
    this.#figure(this.kcs, rows.length > 0, (chart) => chart.update(column(rows, "step"), kcs, marks));
    this.#figure(this.gradient, measured(gradient), (chart) => chart.update(steps, [{ name: "gradient", values: gradient }], []));
  }

  #figure(figure, there, update) {
    figure.made.hidden = !there;
    if (there) update(figure.view);
  }

  #showLists(model) {
    const halting = model.halt_probs ?? [];
    const bar = (value, i) => ({ name: `layer ${i + 1}`, value, text: decimal(value) });
    this.#figure(this.halting, halting.length > 0, (bars) => bars.update(halting.map(bar)));
    const lengths = model.patch_histogram ?? [];
    const row = (value, i) => ({ name: `${i + 1}${i === 31 ? "+" : ""}`, value, text: count(value) });
    this.#figure(this.patches, lengths.length > 0, (bars) => bars.update(lengths.map(row)));
    const noticed = model.marks?.length ? model.marks.map(({ text }) => text) : (model.alerts ?? []);
    fill(this.alerts, [...noticed].reverse(), () => make("li"), write);
    this.alerts.hidden = !noticed.length;
    this.quiet.hidden = noticed.length > 0;
  }
}

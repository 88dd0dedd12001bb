// Charts in SVG. A line chart: axes with round ticks, several series, gaps for nulls, floors, marked steps, and a readout that
// follows the pointer or the arrow keys. And bars. Knows nothing of models: the caller gives columns of numbers.

import { draw, freshId, make, makeReader } from "./dom.js";

const TICKS_Y = 5;
const EM_PER_TICK_X = 6; // room that the label of one tick needs

/** Round values within [low, high], about `count` of them; `smallest` bounds their distance from below. */
function niceTicks(low, high, count, smallest = 0) {
  const rough = Math.max((high - low) / Math.max(count, 1), smallest, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const ticks = [];
  // Multiples rather than a running sum, so that rounding errors do not add up.
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) ticks.push(i * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** The position in the sorted `xs` that lies nearest to `x`. */
function nearest(xs, x) {
  const after = xs.findIndex((value) => value >= x);
  if (after < 0) return xs.length - 1;
  return after && x - xs[after - 1] <= xs[after] - x ? after - 1 : after;
}

const add = (parent, name, attributes, ...parts) => parent.appendChild(draw(name, attributes, ...parts));
const show = (value) => (value === null ? "–" : value.toFixed(3));
const atStep = (x) => `step ${x?.toLocaleString("en") ?? "–"}`;

/** From the numbers [low, high] to the pixels [from, to]. */
function scale(low, high, from, to) {
  const factor = high > low ? (to - from) / (high - low) : 0;
  return (value) => (factor ? from + (value - low) * factor : (from + to) / 2);
}

function extent(columns) {
  let [low, high] = [Infinity, -Infinity];
  for (const column of columns) {
    for (const value of column) {
      if (value !== null && value < low) low = value;
      if (value !== null && value > high) high = value;
    }
  }
  return low <= high ? [low, high] : [0, 1];
}

/**
 * `new Chart(host, {title, range})`, then `update(xs, series, marks)`: a series is `{name, values, floor}`, one value per x or
 * null, and perhaps a floor; a mark is `{step, kind, text}`.
 */
export class Chart {
  constructor(host, { title, range }) {
    this.range = range;
    this.title = title;
    this.xs = [];
    this.series = [];
    this.marks = [];
    this.pointed = null; // an x, so that it stays where it is while points are added or thinned
    this.host = host;
    host.classList.add("chart");
    this.legend = host.appendChild(make("p", { class: "legend" }));
    this.#buildPicture();
    this.reader = host.appendChild(makeReader(`${title}: read the values step by step`, (index) => this.#point(index)));
    this.reader.addEventListener("blur", () => this.#point(null));
    new ResizeObserver(() => this.#draw()).observe(host);
  }

  update(xs, series, marks = []) {
    Object.assign(this, { xs, series, marks });
    this.description.textContent = this.#describe();
    this.#draw();
  }

  #buildPicture() {
    const [title, description] = [freshId("title"), freshId("description")];
    this.svg = draw("svg", { role: "img", "aria-labelledby": `${title} ${description}` }, draw("title", { id: title }, this.title));
    this.description = add(this.svg, "desc", { id: description });
    for (const layer of ["axes", "floors", "lines", "signs", "cursor"]) this[layer] = add(this.svg, "g", { class: layer });
    this.svg.addEventListener("pointermove", (event) => {
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      this.#point(nearest(this.xs.map((value) => this.toX(value)), x));
    });
    this.svg.addEventListener("pointerleave", () => this.#point(null));
    this.host.append(this.svg);
  }

  #point(index) {
    this.pointed = index === null || !this.xs.length ? null : this.xs[index];
    this.#read();
  }

  #describe() {
    const tellSeries = ({ name, values, floor }) => {
      const first = values.findIndex((value) => value !== null);
      if (first < 0) return `${name}: no values.`;
      const last = values.findLastIndex((value) => value !== null);
      const tell = (i) => `${show(values[i])} at step ${this.xs[i].toLocaleString("en")}`;
      const above = floor === undefined ? "" : ` Its floor is ${show(floor)}.`;
      return `${name}: ${tell(first)}, ${tell(last)}.${above}`;
    };
    const marked = this.marks.length ? [`${this.marks.length} marked steps, the latest: ${this.marks.at(-1).text}`] : [];
    return [...this.series.map(tellSeries), ...marked].join(" ");
  }

  #draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width || !this.xs.length) return;
    const em = parseFloat(getComputedStyle(this.svg).fontSize);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.box = { left: 3.2 * em, right: width - em, top: 0.9 * em, bottom: height - 2.2 * em, em };
    this.#drawAxes();
    this.#drawFloors();
    this.lines.replaceChildren();
    this.series.forEach(({ values }, i) => add(this.lines, "path", { class: `series line-${i + 1}`, d: this.#path(values) }));
    this.#drawMarks();
    this.reader.max = this.xs.length - 1;
    this.#read();
  }

  #drawAxes() {
    const { left, right, top, bottom, em } = this.box;
    const floors = this.series.flatMap(({ floor }) => (floor === undefined ? [] : [floor]));
    const [low, high] = this.range ?? extent([...this.series.map(({ values }) => values), floors]);
    const padding = this.range ? 0 : (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
    const [lowX, highX] = [this.xs[0], this.xs.at(-1)];
    this.toX = scale(lowX, highX, left, right);
    this.toY = scale(low - padding, high + padding, bottom, top);
    this.axes.replaceChildren();
    const vertical = niceTicks(low - padding, high + padding, TICKS_Y);
    for (const tick of vertical.ticks) {
      const y = this.toY(tick);
      add(this.axes, "line", { x1: left, x2: right, y1: y, y2: y });
      add(this.axes, "text", { x: left - 0.5 * em, y: y + 0.35 * em, "text-anchor": "end" }, tick.toFixed(vertical.digits));
    }
    add(this.axes, "text", { x: left - 1.2 * em, y: bottom + 1.5 * em, "text-anchor": "end" }, "step");
    for (const tick of niceTicks(lowX, highX, (right - left) / (EM_PER_TICK_X * em), 1).ticks) {
      const label = { x: this.toX(tick), y: bottom + 1.5 * em, "text-anchor": "middle" };
      add(this.axes, "text", label, tick.toLocaleString("en"));
    }
  }

  #drawFloors() {
    const { left, right, em } = this.box;
    this.floors.replaceChildren();
    this.series.forEach(({ name, floor }, i) => {
      if (floor === undefined) return;
      const y = this.toY(floor);
      add(this.floors, "line", { class: `floor line-${i + 1}`, x1: left, x2: right, y1: y, y2: y });
      add(this.floors, "text", { x: right - i * 7 * em, y: y - 0.3 * em, "text-anchor": "end" }, `floor of ${name}`);
    });
  }

  /** A triangle on the upper edge for a drift, a diamond for the gate; what it was, is told by its title and the readout. */
  #drawMarks() {
    const { top, bottom, em } = this.box;
    const r = 0.42 * em;
    this.signs.replaceChildren();
    for (const { step, kind, text } of this.marks) {
      if (step < this.xs[0] || step > this.xs.at(-1)) continue;
      const x = this.toX(step);
      const diamond = `M${x} ${top - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`;
      const triangle = `M${x - r} ${top - r}h${2 * r}l${-r} ${1.7 * r}z`;
      const group = add(this.signs, "g", { class: `mark mark-${kind}` }, draw("title", {}, text));
      add(group, "line", { x1: x, x2: x, y1: top, y2: bottom });
      add(group, "path", { d: kind === "gate" ? diamond : triangle });
    }
  }

  #path(values) {
    let path = "";
    let pen = "M";
    values.forEach((value, i) => {
      const at = value === null ? "" : `${this.toX(this.xs[i]).toFixed(1)} ${this.toY(value).toFixed(1)}`;
      // h.01 makes a point between two gaps visible: a round cap needs a line, a dash one with length.
      if (at) path += pen === "M" ? `M${at}h.01` : `L${at}`;
      pen = at ? "L" : "M";
    });
    return path;
  }

  #read() {
    const index = this.pointed === null ? this.xs.length - 1 : nearest(this.xs, this.pointed);
    const step = atStep(this.xs[index]);
    const keys = this.series.map(({ name, values }, i) =>
      make("span", { class: `key line-${i + 1}` }, `${name} `, make("b", {}, show(values[index] ?? null))),
    );
    const marked = this.pointed === null ? [] : this.#markedNear(index).map(({ text }) => make("span", { class: "told" }, text));
    this.legend.replaceChildren(make("span", { class: "at" }, step), ...keys, ...marked);
    this.reader.value = index;
    const spoken = this.series.map(({ name, values }) => `${name} ${show(values[index] ?? null)}`);
    this.reader.setAttribute("aria-valuetext", [step, ...spoken, ...marked.map((item) => item.textContent)].join(", "));
    this.#drawCursor(index);
  }

  #markedNear(index) {
    const [before, after] = [this.xs[index - 1] ?? -Infinity, this.xs[index]];
    return this.marks.filter(({ step }) => step > before && step <= after);
  }

  #drawCursor(index) {
    this.cursor.replaceChildren();
    if (this.pointed === null || !this.box) return;
    const x = this.toX(this.xs[index]);
    add(this.cursor, "line", { x1: x, x2: x, y1: this.box.top, y2: this.box.bottom });
    this.series.forEach(({ values }, i) => {
      const value = values[index] ?? null;
      if (value !== null) add(this.cursor, "circle", { class: `line-${i + 1}`, cx: x, cy: this.toY(value), r: 4 });
    });
  }
}

/** Bars from the left, one a value: `new Bars(host, {title})`, then `update([{name, value, text}])`; values from 0. */
export class Bars {
  constructor(host, { title }) {
    this.list = host.appendChild(make("ol", { class: "bars", "aria-label": title }));
  }

  update(bars) {
    const most = Math.max(...bars.map(({ value }) => value), Number.MIN_VALUE);
    this.list.replaceChildren(
      ...bars.map(({ name, value, text }) =>
        make("li", {}, make("span", {}, name), make("progress", { max: most, value, "aria-hidden": true }), make("b", {}, text)),
      ),
    );
  }
}

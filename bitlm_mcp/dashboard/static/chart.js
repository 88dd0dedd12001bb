// A line chart in SVG: axes with round ticks, several series, gaps for nulls, and a readout that follows the pointer
// or the arrow keys. Knows nothing of models: the caller gives columns of numbers.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const TICKS_Y = 5;
const EM_PER_TICK_X = 6; // room that the label of one tick needs
let charts = 0;

/** Round values within [low, high], about `count` of them; `smallest` bounds their distance from below. */
export function niceTicks(low, high, count, smallest = 0) {
  const rough = Math.max((high - low) / Math.max(count, 1), smallest, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const ticks = [];
  // Multiples rather than a running sum, so that rounding errors do not add up.
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) ticks.push(i * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/** The position in the sorted `xs` that lies nearest to `x`. */
export function nearest(xs, x) {
  let low = 0;
  let high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle;
    else high = middle;
  }
  return high < 0 || x - xs[low] <= xs[high] - x ? low : high;
}

function element(parent, name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG_NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

function html(parent, name, className = "") {
  const made = document.createElement(name);
  made.className = className;
  parent.append(made);
  return made;
}

function show(value) {
  return value === null ? "–" : value.toFixed(3);
}

/** From the numbers [low, high] to the pixels [from, to]. */
function scale(low, high, from, to) {
  const factor = high > low ? (to - from) / (high - low) : 0;
  return (value) => (factor ? from + (value - low) * factor : (from + to) / 2);
}

function extent(numbers) {
  const present = numbers.filter((number) => number !== null);
  return present.length ? [Math.min(...present), Math.max(...present)] : [0, 1];
}

/** `new Chart(host, {title, range})`, then `update(xs, series)`, where a series is `{name, values}`, one per x or null. */
export class Chart {
  constructor(host, { title, range = null }) {
    this.range = range;
    this.title = title;
    this.xs = [];
    this.series = [];
    this.pointed = null; // an x, so that it stays where it is while points are added or thinned
    this.host = host;
    host.classList.add("chart");
    this.legend = html(host, "p", "legend");
    this.#buildPicture(`chart-${(charts += 1)}`);
    this.#buildReader();
    new ResizeObserver(() => this.#draw()).observe(host);
  }

  update(xs, series) {
    this.xs = xs;
    this.series = series;
    this.description.textContent = this.#describe();
    this.#draw();
  }

  #buildPicture(id) {
    const ids = `${id}-title ${id}-description`;
    this.svg = element(this.host, "svg", { role: "img", "aria-labelledby": ids });
    element(this.svg, "title", { id: `${id}-title` }, this.title);
    this.description = element(this.svg, "desc", { id: `${id}-description` });
    this.axes = element(this.svg, "g", { class: "axes" });
    this.lines = element(this.svg, "g", { class: "lines" });
    this.cursor = element(this.svg, "g", { class: "cursor" });
    this.svg.addEventListener("pointermove", (event) => {
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      this.#point(nearest(this.xs.map((value) => this.toX(value)), x));
    });
    this.svg.addEventListener("pointerleave", () => this.#point(null));
  }

  // A range input that only shows its focus: arrow keys, Home, End and screen readers work without code of ours.
  #buildReader() {
    this.reader = html(this.host, "input", "reader");
    this.reader.type = "range";
    this.reader.min = 0;
    this.reader.setAttribute("aria-label", `${this.title}: read the values step by step`);
    this.reader.addEventListener("input", () => this.#point(Number(this.reader.value)));
    this.reader.addEventListener("blur", () => this.#point(null));
  }

  #point(index) {
    this.pointed = index === null || !this.xs.length ? null : this.xs[index];
    this.#read();
  }

  #describe() {
    const tellSeries = ({ name, values }) => {
      const filled = values.flatMap((value, i) => (value === null ? [] : [i]));
      const tell = (i) => `${show(values[i])} at step ${this.xs[i].toLocaleString("en")}`;
      return filled.length ? `${name}: ${tell(filled[0])}, ${tell(filled.at(-1))}.` : `${name}: no values.`;
    };
    return this.series.map(tellSeries).join(" ");
  }

  #draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width || !this.xs.length) return;
    const em = parseFloat(getComputedStyle(this.svg).fontSize);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.box = { left: 3.2 * em, right: width - em, top: 0.7 * em, bottom: height - 2.2 * em, em };
    this.#drawAxes();
    this.lines.replaceChildren();
    this.series.forEach(({ values }, i) => {
      element(this.lines, "path", { class: `series series-${i + 1}`, d: this.#path(values) });
    });
    this.reader.max = this.xs.length - 1;
    this.#read();
  }

  #drawAxes() {
    const { left, right, top, bottom, em } = this.box;
    const [low, high] = this.range ?? extent(this.series.flatMap(({ values }) => values));
    const padding = this.range ? 0 : (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
    const [lowX, highX] = extent(this.xs);
    this.toX = scale(lowX, highX, left, right);
    this.toY = scale(low - padding, high + padding, bottom, top);
    this.axes.replaceChildren();
    const vertical = niceTicks(low - padding, high + padding, TICKS_Y);
    for (const tick of vertical.ticks) {
      const y = this.toY(tick);
      element(this.axes, "line", { x1: left, x2: right, y1: y, y2: y });
      const label = { x: left - 0.5 * em, y: y + 0.35 * em, "text-anchor": "end" };
      element(this.axes, "text", label, tick.toFixed(vertical.digits));
    }
    element(this.axes, "text", { x: left - 0.5 * em, y: bottom + 1.5 * em, "text-anchor": "end" }, "step");
    const horizontal = niceTicks(lowX, highX, (right - left) / (EM_PER_TICK_X * em), 1);
    for (const tick of horizontal.ticks) {
      const label = { x: this.toX(tick), y: bottom + 1.5 * em, "text-anchor": "middle" };
      element(this.axes, "text", label, tick.toLocaleString("en"));
    }
  }

  #path(values) {
    let path = "";
    let pen = "M";
    values.forEach((value, i) => {
      const at = value === null ? "" : `${this.toX(this.xs[i]).toFixed(1)} ${this.toY(value).toFixed(1)}`;
      // h0 makes a point between two gaps visible: a round cap needs a line, even one without length.
      if (at) path += pen === "M" ? `M${at}h0` : `L${at}`;
      pen = at ? "L" : "M";
    });
    return path;
  }

  #read() {
    const index = this.pointed === null ? this.xs.length - 1 : nearest(this.xs, this.pointed);
    const step = `step ${this.xs[index]?.toLocaleString("en") ?? "–"}`;
    this.legend.replaceChildren();
    html(this.legend, "span", "at").textContent = step;
    this.series.forEach(({ name, values }, i) => {
      const item = html(this.legend, "span", `key key-${i + 1}`);
      item.textContent = `${name} `;
      html(item, "b").textContent = show(values[index] ?? null);
    });
    this.reader.value = index;
    const spoken = this.series.map(({ name, values }) => `${name} ${show(values[index] ?? null)}`);
    this.reader.setAttribute("aria-valuetext", [step, ...spoken].join(", "));
    this.#drawCursor(index);
  }

  #drawCursor(index) {
    this.cursor.replaceChildren();
    if (this.pointed === null || !this.box) return;
    const x = this.toX(this.xs[index]);
    element(this.cursor, "line", { x1: x, x2: x, y1: this.box.top, y2: this.box.bottom });
    this.series.forEach(({ values }, i) => {
      const value = values[index] ?? null;
      if (value !== null) element(this.cursor, "circle", { class: `dot-${i + 1}`, cx: x, cy: this.toY(value), r: 4 });
    });
  }
}

// Where data surprises a model: a map of all of it in cells, and the bytes of one place.

import { ByteStrip, bitsOf, legend, level } from "./bytes.js";
import { draw, freshId, make, makeReader, write } from "./dom.js";
import { bytes, count, decimal, fromBase64 } from "./format.js";

const COLUMNS = 64;
const CELL = 10;
const MAX_LOOK = 512; // bytes that are shown one by one

/**
 * `new SurpriseView(host, {onCell})`, then `show(result)` of show_surprise; `onCell(where)` asks the same of a cell alone, whose
 * bytes `look(result)` shows below the map.
 */
export class SurpriseView {
  constructor(host, { onCell }) {
    this.onCell = onCell;
    this.about = host.appendChild(make("p", { class: "about" }));
    this.map = host.appendChild(make("div", { class: "map" }));
    this.read = host.appendChild(make("p", { class: "read" }));
    this.strip = new ByteStrip(host, "Bytes by their surprise");
    host.append(legend());
  }

  show(result) {
    this.result = result;
    this.peaks = fromBase64(result.peaks_base64);
    this.means = fromBase64(result.means_base64);
    const part = result.num_bytes < result.total_bytes ? ` of ${bytes(result.total_bytes)}, from ${count(result.offset)} on` : "";
    write(this.about, `${result.source}: ${bytes(result.num_bytes)}${part}, ${decimal(result.bits_per_byte)} bits a byte.`);
    this.#drawMap();
    this.look(result);
  }

  look(result) {
    this.strip.show({
      data: fromBase64(result.data_base64),
      surprise: fromBase64(result.surprise_base64),
      offset: result.shown_at,
      patches: result.patches ?? [],
    });
  }

  #drawMap() {
    const rows = Math.ceil(this.peaks.length / COLUMNS);
    const columns = Math.min(this.peaks.length, COLUMNS);
    const title = freshId("map");
    const viewBox = `0 0 ${columns * CELL} ${rows * CELL}`;
    const svg = draw("svg", { class: "heat", viewBox, role: "img", "aria-labelledby": title });
    const odd = this.peaks.indexOf(Math.max(...this.peaks));
    svg.append(draw("title", { id: title }, `Surprise in ${count(this.peaks.length)} cells. Most: ${this.#tell(odd)}.`));
    this.peaks.forEach((peak, i) => svg.append(this.#cell(i, bitsOf(peak), bitsOf(this.means[i]))));
    svg.addEventListener("click", ({ target }) => this.#choose(target));
    svg.addEventListener("pointermove", ({ target }) => this.#point(target));
    const cell = (i) => svg.children[i + 1]; // after the title
    this.reader = makeReader("Surprise: read cell by cell, Enter shows the bytes", (i) => this.#point(cell(i)));
    this.reader.max = this.peaks.length - 1;
    this.reader.addEventListener("keydown", ({ key }) => key === "Enter" && this.#choose(cell(Number(this.reader.value))));
    this.map.replaceChildren(svg, this.reader);
    write(this.read, `Most surprising: ${this.#tell(odd)}. Colour: largest byte; bar: mean. Choose a cell to see its bytes.`);
  }

  #cell(i, peak, mean) {
    const [x, y] = [(i % COLUMNS) * CELL, Math.floor(i / COLUMNS) * CELL];
    const height = Math.min(mean / 16, 1) * (CELL - 1);
    const group = draw("g", { class: "cell", "data-at": i });
    group.append(draw("rect", { class: `s${level(peak)}`, x, y, width: CELL - 1, height: CELL - 1 }));
    group.append(draw("rect", { class: "mean", x, y: y + CELL - 1 - height, width: 2, height }));
    return group;
  }

  #tell(i) {
    const offset = this.result.offset + i * this.result.cell_bytes;
    return `offset ${count(offset)}, largest ${decimal(bitsOf(this.peaks[i]), 2)} bits, mean ${decimal(bitsOf(this.means[i]), 2)}`;
  }

  #point(target) {
    const cell = target.closest(".cell");
    if (!cell) return;
    this.map.querySelector(".pointed")?.classList.remove("pointed");
    cell.classList.add("pointed");
    const told = this.#tell(Number(cell.dataset.at));
    write(this.read, told);
    this.reader.setAttribute("aria-valuetext", told);
  }

  #choose(target) {
    const cell = target.closest(".cell");
    if (!cell) return;
    const { offset, num_bytes: all, cell_bytes: size } = this.result;
    const begin = Number(cell.dataset.at) * size;
    this.onCell({ offset: offset + begin, num_bytes: Math.min(all - begin, MAX_LOOK), shown: MAX_LOOK });
  }
}

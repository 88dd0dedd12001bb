// A template being filled by diffusion: as it happens, while the server tells of it, and afterwards pass by pass.

import { ByteStrip } from "./bytes.js";
import { make, write } from "./dom.js";
import { fromBase64 } from "./format.js";

const KNOWN = 255;

/** The passes, 0 for what was given, as little endian numbers of two bytes. */
function passesOf(text) {
  const data = fromBase64(text);
  return Array.from({ length: data.length / 2 }, (_, i) => data[2 * i] + 256 * data[2 * i + 1]);
}

/** `live(preview)` while it happens; `done(result)` with the answer of diffusion_sample(trace=true). */
export class DiffusionView {
  constructor(host) {
    this.about = make("p", { class: "about" });
    this.slider = make("input", { type: "range", min: 0, value: 0 });
    this.slider.addEventListener("input", () => this.#pass(Number(this.slider.value)));
    this.passes = make("label", { class: "passes", hidden: true }, "Pass ", this.slider);
    host.append(this.about, this.passes);
    this.strip = new ByteStrip(host, "Bytes being filled");
  }

  live({ data_base64: data, known_base64: known }) {
    const masks = fromBase64(known);
    const left = masks.reduce((sum, mask) => sum + (mask !== KNOWN), 0);
    write(this.about, `${left} bytes still hidden.`);
    this.strip.show({ data: fromBase64(data), hidden: (place) => masks[place] !== KNOWN });
  }

  done(result) {
    this.data = fromBase64(result.data_base64);
    this.revealed = passesOf(result.revealed_base64);
    this.parity = result.parity_places ?? [];
    const last = Math.max(...this.revealed, 0);
    Object.assign(this.slider, { max: last, value: last });
    this.passes.hidden = last === 0;
    const wrong = this.parity.length ? ` ${this.parity.length} parity bits were read wrong and set right.` : "";
    const warned = result.warning ? ` ${result.warning}` : "";
    const drawn = `${result.num_drawn} bytes drawn in ${result.steps} passes, ${result.rehidden} hidden again on the way.`;
    this.told = `${drawn}${wrong}${warned}`;
    this.#pass(last);
  }

  #pass(pass) {
    const last = Number(this.slider.max);
    write(this.about, pass === last ? this.told : `After pass ${pass} of ${last}.`);
    this.slider.setAttribute("aria-valuetext", `after pass ${pass} of ${last}`);
    this.strip.show({ data: this.data, hidden: (place) => this.revealed[place] > pass, parity: pass === last ? this.parity : [] });
  }
}

// Bytes one by one, each coloured by its surprise: the darker, the less the model expected it. Patches have a bar where they
// begin, a wrong parity bit a wavy line, what is still hidden a block. A readout follows the pointer or the arrow keys.

import { make, makeReader, write } from "./dom.js";

/** Levels of colour, by bits: 8 are what a byte costs of which nothing is known. */
const BITS = [1, 2, 4, 6, 8, 10, 13];
const LEVELS = BITS.length + 1;
export const level = (bits) => (BITS.findIndex((bound) => bits < bound) + LEVELS) % LEVELS;
/** A surprise as it travels: sixteenths of a bit. */
export const bitsOf = (coded) => coded / 16;

const HIDDEN = "░";
const NEWLINE = 10;

function shown(byte) {
  if (byte === NEWLINE) return "↵\n";
  if (byte === 32) return " ";
  return byte > 32 && byte < 127 ? String.fromCharCode(byte) : "·";
}

function named(byte) {
  const letter = byte > 32 && byte < 127 ? ` “${String.fromCharCode(byte)}”` : "";
  return `0x${byte.toString(16).padStart(2, "0")}${letter}`;
}

/** What the colours mean, for below a picture. */
export function legend() {
  const keys = [0, ...BITS].map((from, i) => {
    const text = i === BITS.length ? `${from}+` : `${from}–${BITS[i]}`;
    return make("span", { class: "level" }, make("i", { class: `byte s${i}` }), text);
  });
  return make("p", { class: "levels" }, "bits a byte: ", ...keys);
}

/**
 * `new ByteStrip(host, title)`, then `show({data, surprise, offset, patches, parity, hidden, from})`: data is a Uint8Array;
 * surprise one of sixteenths of bits; patches, parity: places in it; hidden(place): it is unknown yet; from: where colours begin.
 */
export class ByteStrip {
  constructor(host, title) {
    this.title = title;
    this.text = make("code", { class: "bytes" });
    this.read = make("p", { class: "read" });
    this.reader = makeReader(`${title}: read byte by byte`, (place) => this.#point(place));
    const strip = make("div", { class: "strip", role: "group", "aria-label": title }, this.text, this.reader, this.read);
    host.append(strip);
    this.text.addEventListener("pointermove", ({ target }) => target !== this.text && this.#point(Number(target.dataset.at)));
    this.given = { data: new Uint8Array() };
  }

  show(given) {
    this.given = { surprise: null, offset: 0, patches: [], parity: [], hidden: null, from: 0, ...given };
    const { data } = this.given;
    const [patches, parity] = [new Set(this.given.patches), new Set(this.given.parity)];
    const one = (byte, place) => {
      const names = ["byte"];
      if (this.#known(place) && this.#surprise(place) !== null) names.push(`s${level(this.#surprise(place))}`);
      if (patches.has(place)) names.push("patch");
      if (parity.has(place)) names.push("parity");
      return make("span", { class: names.join(" "), "data-at": place }, this.#known(place) ? shown(byte) : HIDDEN);
    };
    this.text.replaceChildren(...Array.from(data, one));
    this.reader.max = Math.max(data.length - 1, 0);
    write(this.read, this.#summary());
  }

  #known(place) {
    return !this.given.hidden?.(place);
  }

  #surprise(place) {
    const { surprise, from } = this.given;
    return surprise && place >= from ? bitsOf(surprise[place]) : null;
  }

  #summary() {
    const { data, parity } = this.given;
    const known = Array.from(data.keys(), (place) => this.#surprise(place)).filter((bits) => bits !== null);
    const mean = known.length ? `, ${(known.reduce((sum, bits) => sum + bits, 0) / known.length).toFixed(2)} bits a byte` : "";
    const wrong = parity.length ? `, ${parity.length} wrong parity bits` : "";
    return `${data.length.toLocaleString("en")} bytes${mean}${wrong}. Point at one, or use the arrow keys.`;
  }

  #point(place) {
    const { data, offset, patches, parity } = this.given;
    if (!(place < data.length)) return;
    this.text.querySelector(".pointed")?.classList.remove("pointed");
    this.text.children[place].classList.add("pointed");
    const bits = this.#surprise(place);
    const told = [
      `offset ${(offset + place).toLocaleString("en")}`,
      this.#known(place) ? named(data[place]) : "still hidden",
      ...(bits === null ? [] : [`${bits.toFixed(2)} bits`]),
      ...(patches.includes(place) ? ["a patch begins"] : []),
      ...(parity.includes(place) ? ["its parity bit was wrong"] : []),
    ].join(" · ");
    write(this.read, told);
    this.reader.value = place;
    this.reader.setAttribute("aria-valuetext", told);
  }
}

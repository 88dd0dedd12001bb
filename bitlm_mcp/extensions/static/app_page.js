// What both pages have around their view: their elements by id, and one line that tells how things stand.

import { write } from "./dom.js";

export const page = (id) => document.getElementById(id);

/** Says something in the line; with the tone "bad", that something went wrong. */
export function tell(text, tone = "") {
  page("line").dataset.tone = tone;
  write(page("line"), text);
}

/** Says that there will be no result. */
export function tellCancelled(reason) {
  tell(reason ? `The call was cancelled: ${reason}` : "The call was cancelled.");
}

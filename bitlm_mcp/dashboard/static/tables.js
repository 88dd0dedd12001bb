// Tables. A cell is a text, or {text, title, tone, note, progress, actions}; only what differs is written, so that a selection in
// the page, and the focus, survive a change.

import { fill, make, write } from "./dom.js";

function child(parent, name, className) {
  return parent.querySelector(`:scope > .${className}`) ?? parent.appendChild(make(name, { class: className }));
}

const drop = (parent, className) => parent.querySelector(`:scope > .${className}`)?.remove();

function fillCell(cell, value) {
  const filled = typeof value === "string" ? { text: value } : value;
  const { text, title = "", tone = "", note = "", progress = null, actions = [] } = filled;
  const main = child(cell, "span", "value");
  write(main, text);
  main.title = title;
  main.dataset.tone = tone;
  if (progress === null) drop(cell, "bar");
  else Object.assign(child(cell, "progress", "bar"), { max: 1, value: progress, ariaLabel: text });
  if (note) write(child(cell, "small", "note"), note);
  else drop(cell, "note");
  if (actions.length) fillButtons(child(cell, "span", "actions"), actions);
  else drop(cell, "actions");
}

/** One press at a time; the row may come to show another thing, so what a button does is set anew each time. */
function fillButtons(room, actions) {
  while (room.children.length > actions.length) room.lastElementChild.remove();
  actions.forEach(({ label, about, run }, i) => {
    const button = room.children[i] ?? room.appendChild(make("button", { type: "button", class: "action" }));
    write(button, label);
    button.setAttribute("aria-label", about);
    button.onclick = async () => {
      button.disabled = true;
      try {
        await run();
      } finally {
        button.disabled = false;
      }
    };
  });
}

function rowOf(heads) {
  const cell = ({ name, number }, i) => {
    // The label is shown beside the value where the table is folded into cards.
    const kind = i ? { role: "cell" } : { role: "rowheader", scope: "row" };
    return make(i ? "td" : "th", { ...kind, class: number && "number", "data-label": name });
  };
  return make("tr", { role: "row" }, ...heads.map(cell));
}

/**
 * A table in the card of that name, with a head for each column: a name, or `[name, "number"]`. The roles keep it a table for
 * screen readers where narrow screens fold it into cards.
 */
export class Table {
  constructor(id, heads) {
    const card = document.getElementById(`${id}-card`);
    this.heads = heads.map((head) => (Array.isArray(head) ? { name: head[0], number: true } : { name: head, number: false }));
    this.empty = card.querySelector(".empty");
    this.body = make("tbody", { role: "rowgroup" });
    const named = ({ name, number }) => make("th", { role: "columnheader", scope: "col", class: number && "number" }, name);
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...this.heads.map(named)));
    const about = card.getAttribute("aria-labelledby");
    this.table = make("table", { id, role: "table", hidden: true, "aria-labelledby": about }, head, this.body);
    this.empty.after(this.table);
  }

  fill(rows) {
    this.table.hidden = !rows.length;
    this.empty.hidden = rows.length > 0;
    fill(this.body, rows, () => rowOf(this.heads), (row, values) => values.forEach((value, k) => fillCell(row.cells[k], value)));
  }
}

/** A text that may be long and without spaces. */
export const long = (text, actions = []) => ({ text, tone: "long", actions });

// Elements, made and changed. Texts reach the document through textContent alone, so none of them can become markup.

const SVG = "http://www.w3.org/2000/svg";

function furnished(made, attributes, parts) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...parts);
  return made;
}

/** `make("a", {class: "x"}, "text", other)`: an element with its attributes and contents. */
export const make = (name, attributes = {}, ...parts) => furnished(document.createElement(name), attributes, parts);

/** The same for the names of SVG. */
export const draw = (name, attributes = {}, ...parts) => furnished(document.createElementNS(SVG, name), attributes, parts);

/** Writes only what differs, so that a selection in the page survives. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** As many children as there are values: those that exist are changed, missing ones made. */
export function fill(parent, values, makeOne, change) {
  while (parent.children.length > values.length) parent.lastElementChild.remove();
  values.forEach((value, i) => change(parent.children[i] ?? parent.appendChild(makeOne(value)), value, i));
}

let numbers = 0;

/** An id that no other element has, for labels and descriptions. */
export const freshId = (name) => `${name}-${(numbers += 1)}`;

/**
 * An invisible range input over a picture: arrow keys, Home, End and screen readers step through its values without code of
 * ours. The picture is outlined while it has the focus.
 */
export function makeReader(label, onpoint) {
  const reader = make("input", { type: "range", class: "reader", min: 0, max: 0, value: 0, "aria-label": label });
  reader.addEventListener("input", () => onpoint(Number(reader.value)));
  return reader;
}

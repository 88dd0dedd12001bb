// Numbers as people read them. What was not measured is a dash.

export const NONE = "–";

const absent = (value) => value === null || value === undefined;

export const count = (value) => (absent(value) ? NONE : value.toLocaleString("en"));
export const decimal = (value, digits = 3) => (absent(value) ? NONE : value.toFixed(digits));

export function bytes(value) {
  if (absent(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB"];
  const unit = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), units.length - 1);
  return `${(value / 1024 ** unit).toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

export function duration(seconds) {
  if (absent(seconds)) return NONE;
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** A moment, given as ISO text or as UNIX seconds. */
export function moment(given) {
  const date = new Date(typeof given === "number" ? given * 1000 : given);
  if (absent(given) || given === "" || Number.isNaN(date.getTime())) return given || NONE;
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** The bytes that a base64 text stands for. */
export const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export function toBase64(data) {
  let text = "";
  for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
  return btoa(text);
}

// A file of this computer becomes a dataset: sent as it is, whatever it holds. What a person may choose about it is what the tool
// add_dataset offers.

import { make } from "./dom.js";
import { bytes } from "./format.js";
import { ToolForm } from "./forms.js";
import { ask, ServerError } from "./server.js";

const DAY_MS = 86_400_000;
const FILE = { type: "file", description: "Of any kind: text, logs, packets, records, programs." };

/** A name that a dataset may have, made of a file's. */
function nameOf({ name }) {
  const plain = name.toLowerCase().replaceAll(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "");
  return plain.slice(0, 64) || "data";
}

async function store({ file, dataset_id: name, ...settings }, outcome, done) {
  if (!file) throw new ServerError("Choose a file first.", 0, ["file"]);
  if (!name) throw new ServerError("Give the dataset a name, such as my-logs.", 0, ["dataset_id"]);
  const tell = (text) => outcome.replaceChildren(make("p", { class: "about" }, text));
  tell(`Sending ${bytes(file.size)} …`);
  const about = new URLSearchParams({ filename: file.name, ...settings });
  const headers = { "Content-Type": "application/octet-stream" };
  const options = { method: "PUT", headers, body: file, signal: AbortSignal.timeout(DAY_MS) };
  try {
    const { result } = await ask(`api/datasets/${encodeURIComponent(name)}?${about}`, options);
    tell(`Stored as ${result.dataset_id}: ${bytes(result.train_bytes)} to learn from, ${bytes(result.holdout_bytes)} held out.`);
    done(result.dataset_id);
  } catch (error) {
    if (error.status === 413) error.names = ["file"];
    throw error;
  }
}

/** Puts the form into `host`; `done(dataset_id)` once a file is stored. */
export function makeUpload(host, { schema }, done) {
  const { dataset_id, records, holdout_fraction, overwrite } = schema.properties;
  const properties = { file: FILE, dataset_id, records, holdout_fraction, overwrite };
  const description = "A file of this computer becomes a dataset.";
  const tool = { name: "upload", title: "Store it", description, schema: { properties } };
  const stored = (dataset) => {
    form.form.reset();
    done(dataset);
  };
  const run = (values, outcome) => store(values, outcome, stored);
  const form = new ToolForm(tool, { main: ["file", "dataset_id", "overwrite"], run });
  const { file, dataset_id: name } = form.controls;
  file.addEventListener("change", () => {
    if (file.files.length && !name.value) name.value = nameOf(file.files[0]);
  });
  form.form.dataset.upload = "";
  host.replaceChildren(form.element);
}

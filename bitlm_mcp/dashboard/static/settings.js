// The form that says how the selected model is watched: filled from the server, and sent back where it was changed.

const form = document.getElementById("watch-form");
const line = document.getElementById("watch-line");
const fields = [...form.elements].filter(({ name }) => name);
const shown = { modelId: null, settings: {} };

const path = () => `api/models/${encodeURIComponent(shown.modelId)}/settings`;

function read(field) {
  if (field.type === "checkbox") return field.checked;
  return field.type === "number" ? field.valueAsNumber : field.value;
}

function fill(settings) {
  shown.settings = settings;
  for (const field of fields) {
    const value = settings[field.name];
    if (field.type === "checkbox") field.checked = value;
    else field.value = value;
  }
}

/** The server's settings, or null with the reason on the line. */
async function ask(options = {}) {
  try {
    const response = await fetch(path(), { cache: "no-store", signal: AbortSignal.timeout(60_000), ...options });
    const body = await response.json();
    if (response.ok) return body.settings;
    line.textContent = body.error ?? `The server answers with ${response.status}.`;
  } catch {
    line.textContent = "The server does not answer; nothing was changed here.";
  }
  return null;
}

async function load() {
  const asked = shown.modelId;
  const settings = await ask();
  if (settings && asked === shown.modelId) fill(settings);
}

/** Show the form for a model; what the user is typing into it stays until another one is selected. */
export function showSettings(modelId, readOnly) {
  form.hidden = readOnly;
  if (modelId === shown.modelId) return;
  Object.assign(shown, { modelId, settings: {} });
  line.textContent = "";
  load();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const changed = fields.filter((field) => read(field) !== shown.settings[field.name]);
  if (!changed.length) {
    line.textContent = "Nothing was changed.";
    return;
  }
  const button = form.querySelector("button");
  const body = JSON.stringify(Object.fromEntries(changed.map((field) => [field.name, read(field)])));
  const asked = shown.modelId;
  button.disabled = true;
  line.textContent = "Saving…";
  const settings = await ask({ method: "POST", headers: { "Content-Type": "application/json" }, body });
  button.disabled = false;
  if (settings && asked === shown.modelId) {
    fill(settings);
    line.textContent = "Saved with the model.";
  }
});

document.getElementById("watch").addEventListener("toggle", (event) => event.target.open && shown.modelId && load());

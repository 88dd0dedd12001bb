// The page of show_training: what the tool told, at once, and then what get_telemetry tells while the model is trained.
// It reads the record once, then asks every two seconds, and not at all while nobody looks, or once nothing is trained.

import { page, tell, tellCancelled } from "./app_page.js";
import { Bridge, contentOf } from "./bridge.js";
import { write } from "./dom.js";
import { wear } from "./host_look.js";
import { TrainingView } from "./training.js";
import { TrainingRecord, rowsOf } from "./training_record.js";

const POLL_MS = 2000;
const MAX_FAILURES = 3;
const ONCE = "So it stood when the tool was called: this host does not let the page ask for anything newer.";
const IDLE = "Nothing is trained now.";
const LIVE = "Live: looked at every 2 seconds while it is trained.";

const bridge = new Bridge("bitlm-training", { onResult, onContext: wear, onTeardown, onCancelled: tellCancelled });
const record = new TrainingRecord((asked) => bridge.callTool("get_telemetry", asked));
const view = new TrainingView(page("view"));
let modelId = null;
let following = false;
let ended = false;

function show(result, points) {
  const { model_id: id, state, quantized } = result;
  page("view").hidden = false;
  write(page("title"), `Training of ${id}`);
  page("state").dataset.state = state;
  write(page("state"), quantized ? `${state}, ${quantized}` : state);
  view.show(result, points);
}

function onResult(params) {
  try {
    const result = contentOf(params);
    modelId = result.model_id;
    show(result, rowsOf(result));
    if (bridge.canCall) follow();
    else tell(ONCE);
  } catch (error) {
    modelId = null; // what is still asked of the one before is no longer shown
    tell(error.message, "bad");
  }
}

function onTeardown() {
  ended = true;
}

/** Asks until nothing is trained any more, nobody looks, too many answers in a row are none, or another result has come. */
async function follow() {
  if (following || ended || document.hidden || modelId === null || !bridge.canCall) return;
  following = true;
  page("again").hidden = true;
  const asked = modelId;
  let failures = 0;
  for (let busy = true; busy && modelId === asked && !ended && !document.hidden; ) {
    const { result, error } = await record.update(asked).then((result) => ({ result }), (error) => ({ error }));
    if (modelId !== asked) break;
    failures = error ? failures + 1 : 0;
    if (result) show(result, record.points);
    busy = error ? failures < MAX_FAILURES : !result || ["training", "queued"].includes(result.state);
    if (error) tell(`It could not be looked at: ${error.message}`, "bad");
    else tell(busy ? LIVE : IDLE);
    if (busy) await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
  following = false;
  if (modelId !== asked) return follow();
  page("again").hidden = ended || document.hidden;
}

document.addEventListener("visibilitychange", follow);
page("again").addEventListener("click", follow);
bridge.connect().catch((error) => tell(error.message, "bad"));

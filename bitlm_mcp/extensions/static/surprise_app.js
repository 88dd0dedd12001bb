// The page of show_surprise: the map and the bytes that the tool told; a chosen cell has its bytes asked for by the same tool.

import { page, tell, tellCancelled } from "./app_page.js";
import { Bridge, contentOf } from "./bridge.js";
import { write } from "./dom.js";
import { wear } from "./host_look.js";
import { SurpriseView } from "./surprise.js";

const WAIT_S = 45;
const MAX_WAITS = 20;
const ONCE = "This host does not let the page ask for the bytes of other places.";

const bridge = new Bridge("bitlm-surprise", { onInput, onResult, onContext: wear, onTeardown, onCancelled: tellCancelled });
const view = new SurpriseView(page("view"), { onCell });
let asked = null; // the arguments of the call, which say what was looked at
let busy = false;
let ended = false;

function show(result) {
  page("view").hidden = false;
  write(page("title"), `What surprises ${result.model_id}`);
  view.show(result);
  tellPlace(result);
}

function tellPlace({ shown_at: place }) {
  tell(bridge.canCall ? `The bytes from offset ${place.toLocaleString("en")} on.` : ONCE);
}

function onInput(arguments_) {
  asked = arguments_;
}

function onResult(params) {
  work(async () => show(await finished(contentOf(params))));
}

function onCell(where) {
  if (!bridge.canCall) return tell(ONCE);
  if (asked === null) return tell("The host has not told what was looked at, so no other place of it can be asked for.", "bad");
  return work(async () => {
    tell(`Asking for the bytes from offset ${where.offset.toLocaleString("en")} on.`);
    const { shown_at: _, ...data } = asked;
    const result = await finished(await bridge.callTool("show_surprise", { ...data, ...where, wait_s: WAIT_S }));
    view.look(result);
    tellPlace(result);
  });
}

function onTeardown() {
  ended = true;
}

/** One thing at a time; a failure is told, and what was shown stays. */
async function work(task) {
  if (busy) return;
  busy = true;
  try {
    await task();
  } catch (error) {
    tell(error.message, "bad");
  } finally {
    busy = false;
  }
}

/** The result itself, or once its job is over, the job's. Throws where the job has none. */
async function finished(result) {
  let told = result;
  for (let wait = 0; !("peaks_base64" in told); wait += 1) {
    if (told.status !== "queued" && told.status !== "running") throw new Error(told.error ?? `the work was ${told.status}`);
    if (!bridge.canCall || ended || wait >= MAX_WAITS) throw new Error(`the data is still being read by job ${told.job_id}`);
    tell("The data is being read.");
    const job = await bridge.callTool("wait_job", { job_id: told.job_id, wait_s: WAIT_S });
    told = { ...job, ...job.result };
  }
  return told;
}

bridge.connect().catch((error) => tell(error.message, "bad"));

// Asking the server: JSON in and out, the token where the page was given one, and errors that say what to do.

const TIMEOUT_MS = 120_000; // longer than any answer is waited for on the other side
const KEY = "bitlm-token";
const ENDED = ["failed", "cancelled", "interrupted"];

/** No usable answer. `names`: the arguments that the server's text speaks of. */
export class ServerError extends Error {
  constructor(message, status = 0, names = []) {
    super(message);
    Object.assign(this, { status, names });
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  /** Kept for this tab alone; null forgets it. */
  set: (value) => (value === null ? sessionStorage.removeItem(KEY) : sessionStorage.setItem(KEY, value)),
};

async function answered(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    const { ok, status } = response;
    throw new ServerError(ok ? "the answer was cut off: try again" : `the server answers with ${status}`, status);
  }
  if (response.ok) return body;
  const asked = response.status === 401 ? "the server asks for its token: give it at the top of this page" : body.error;
  throw new ServerError(asked ?? `the server answers with ${response.status}`, response.status, body.names ?? []);
}

/** The JSON of an answer. Throws ServerError. */
export async function ask(path, { method = "GET", headers = {}, body, signal = AbortSignal.timeout(TIMEOUT_MS) } = {}) {
  const secret = token.get();
  const known = secret === null ? {} : { Authorization: `Bearer ${secret}` };
  let response;
  try {
    response = await fetch(path, { method, headers: { ...headers, ...known }, body, cache: "no-store", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the server does not answer: check that it runs, then try again");
  }
  return answered(response);
}

/** JSON sent, JSON received. */
export function send(path, value, signal = undefined) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value), signal });
}

/** What a tool answers: the same as it tells an agent. */
export async function call(tool, values, signal = undefined) {
  return (await send(`api/tools/${tool}`, values, signal)).result;
}

/** A tool's answer, waited for where it is a job that takes long; `told` hears how far it is. */
export async function callToTheEnd(tool, values, told = () => {}, signal = undefined) {
  let found = await call(tool, { ...values, wait_s: 5 }, signal);
  while (["queued", "running"].includes(found.status)) {
    told(found);
    const job = await call("wait_job", { job_id: found.job_id, wait_s: 5 }, signal);
    if (ENDED.includes(job.status)) throw new ServerError(job.error ?? `${tool} was ${job.status}: call it again`);
    found = job.status === "completed" ? { job_id: job.job_id, status: job.status, ...job.result } : job;
  }
  return found;
}

// The app's side of MCP Apps: JSON-RPC 2.0 with the host through window.parent, and nothing with anyone else.
//
// `new Bridge(name, {onInput, onResult, onCancelled, onContext, onTeardown})`, then `connect()`. What the host says is data:
// it is checked for its shape here, and shown by others as text alone.

const PROTOCOL = "2026-01-26";
const HELLO_MS = 10_000;
const CALL_MS = 60_000; // hosts end a call by then themselves
const MAX_WAITING = 8;
const MAX_TEXT = 2000;
const NO_SUCH_METHOD = -32601;

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const objectOr = (value) => (isObject(value) ? value : {});

/** What the host or a tool answers in place of a result; the message is for the user. */
class BridgeError extends Error {}

export class Bridge {
  #name;
  #on;
  #waiting = new Map(); // id of a request -> how it is answered
  #lastId = 0;
  #capabilities = {};
  #size = 0;
  #observer = new ResizeObserver(() => this.#tellSize());

  constructor(name, handlers) {
    this.#name = name;
    this.#on = { onInput() {}, onResult() {}, onCancelled() {}, onContext() {}, onTeardown() {}, ...handlers };
  }

  /** Whether the host passes calls of tools on to the server. */
  get canCall() {
    return isObject(this.#capabilities.serverTools);
  }

  /** Shakes hands with the host. Throws BridgeError where there is none. */
  async connect() {
    if (window.parent === window) throw new BridgeError("this page belongs into the chat of an MCP host, which shows it");
    window.addEventListener("message", this.#receive);
    const hello = {
      appInfo: { name: this.#name, version: "1" },
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
      protocolVersion: PROTOCOL,
    };
    const answer = objectOr(await this.#request("ui/initialize", hello, HELLO_MS));
    this.#capabilities = objectOr(answer.hostCapabilities);
    this.#on.onContext(objectOr(answer.hostContext));
    this.#notify("ui/notifications/initialized", {});
    this.#observer.observe(document.body);
  }

  /** The structured content of a tool's result. Throws BridgeError with what the tool or the host says instead. */
  async callTool(name, arguments_) {
    if (!this.canCall) throw new BridgeError("this host does not let the page ask the server");
    const result = await this.#request("tools/call", { name, arguments: arguments_ }, CALL_MS);
    return contentOf(result);
  }

  #receive = (event) => {
    // Any window may send messages here; only the one that shows this page is the host.
    const message = event.data;
    if (event.source !== window.parent || !isObject(message) || message.jsonrpc !== "2.0") return;
    if (typeof message.method !== "string") this.#settle(message);
    else if (message.id === undefined) this.#hear(message.method, objectOr(message.params));
    else this.#answer(message.id, message.method);
  };

  #settle({ id, result, error }) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (isObject(error)) waiting.reject(new BridgeError(shortText(error.message) || "the host refuses"));
    else waiting.resolve(result);
  }

  #hear(method, params) {
    if (method === "ui/notifications/tool-input") this.#on.onInput(objectOr(params.arguments));
    else if (method === "ui/notifications/tool-result") this.#on.onResult(params);
    else if (method === "ui/notifications/tool-cancelled") this.#on.onCancelled(shortText(params.reason));
    else if (method === "ui/notifications/host-context-changed") this.#on.onContext(params);
  }

  #answer(id, method) {
    if (method === "ui/resource-teardown") {
      this.#send({ id, result: {} });
      this.#end();
    } else if (method === "ping") {
      this.#send({ id, result: {} });
    } else {
      this.#send({ id, error: { code: NO_SUCH_METHOD, message: "this app has no such method" } });
    }
  }

  #end() {
    window.removeEventListener("message", this.#receive);
    this.#observer.disconnect();
    for (const { timer, reject } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new BridgeError("the host has ended this page"));
    }
    this.#waiting.clear();
    this.#on.onTeardown();
  }

  #request(method, params, limit) {
    if (this.#waiting.size >= MAX_WAITING) throw new BridgeError("the host has not answered what it was asked before");
    const id = (this.#lastId += 1);
    return new Promise((resolve, reject) => {
      const late = () => this.#settle({ id, error: { message: `the host has not answered within ${limit / 1000} s` } });
      this.#waiting.set(id, { resolve, reject, timer: setTimeout(late, limit) });
      this.#send({ id, method, params });
    });
  }

  #notify(method, params) {
    this.#send({ method, params });
  }

  // "*", because a frame without an origin of its own cannot know its parent's; nothing secret is ever sent.
  #send(message) {
    window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  }

  #tellSize() {
    const height = Math.ceil(document.documentElement.getBoundingClientRect().height);
    if (height === this.#size) return;
    this.#size = height;
    this.#notify("ui/notifications/size-changed", { height });
  }
}

/** What a CallToolResult tells, as data or as text of the same. Throws BridgeError with its text where it tells of an error. */
export function contentOf(result) {
  const { isError, structuredContent, content } = objectOr(result);
  if (!isError && isObject(structuredContent)) return structuredContent;
  const texts = Array.isArray(content) ? content.map((part) => objectOr(part).text) : [];
  const text = texts.find((found) => typeof found === "string") ?? "";
  const told = isError ? null : parsed(text);
  if (isObject(told)) return told;
  throw new BridgeError(shortText(text) || "the tool has not told anything");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function shortText(value) {
  return typeof value === "string" ? value.slice(0, MAX_TEXT) : "";
}

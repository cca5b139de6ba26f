// The gateway: requests, and event streams that come back by themselves. The token is sent as a header, never in a URL.
import { shown, watchLeaving } from "./presence.js";

const BASE = new URL("../training", new URL(".", import.meta.url)).href.replace(/\/$/, "");
const TOKEN = "swift-trainer.token";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15000;
const SILENCE_MS = 45000; // three of the gateway's keep-alive comments
const ANSWER_MS = 60000; // by default the gateway waits half as long for a daemon

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail);
    this.status = status;
    this.code = problem.code;
    this.errors = problem.errors ?? [];
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? localStorage.getItem(TOKEN),
  set(value, keep) {
    token.clear();
    (keep ? localStorage : sessionStorage).setItem(TOKEN, value);
  },
  clear() {
    sessionStorage.removeItem(TOKEN);
    localStorage.removeItem(TOKEN);
  },
};

// Called when the gateway wants a token, or another one.
export const onUnauthorized = { listener: () => {} };

function headers(more) {
  const known = token.get();
  return known ? { Authorization: `Bearer ${known}`, ...more } : more;
}

async function problemOf(response) {
  try {
    const found = await response.json();
    return { detail: String(found.detail ?? response.statusText), code: found.code, errors: found.errors };
  } catch {
    return { detail: `${response.status} ${response.statusText}`, code: "unknown" };
  }
}

async function checked(response) {
  if (response.ok) return response;
  if (response.status === 401) onUnauthorized.listener();
  throw new ApiError(response.status, await problemOf(response));
}

async function request(method, path, body, more = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers: headers(body === undefined ? more : { "Content-Type": "application/json", ...more }),
      signal: AbortSignal.timeout(ANSWER_MS),
      ...sent,
    });
  } catch {
    throw new ApiError(0, { detail: "", code: "unreachable" });
  }
  return (await checked(response)).json();
}

export const get = (path) => request("GET", path);
export const post = (path, body, more) => request("POST", path, body, more);
export const remove = (path) => request("DELETE", path);

// A name for one order, under which it may be sent again without a second effect. (`randomUUID` needs https.)
export const orderKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Follow a stream until `signal` aborts or the job's `end` came. `path(after)` is asked for anew each time, with the
// newest id; `onEvent(name, data)` gets each event, `onState(true | false)` whether the stream stands. While nobody sees
// the page it is let go of, without a word: who comes back gets what happened meanwhile, as after a lost connection.
export async function follow(path, { onEvent, onState = () => {}, signal }) {
  let after = 0;
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    await shown(signal);
    if (signal.aborted) return;
    const leaving = watchLeaving();
    const silence = new AbortController(); // a connection may be gone without a word
    let waking = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      const either = AbortSignal.any([signal, silence.signal, leaving.signal]);
      const response = await checked(await fetch(BASE + path(after), { headers: headers({}), signal: either }));
      let stands = false;
      for await (const event of parsed(response.body)) {
        clearTimeout(waking);
        waking = setTimeout(() => silence.abort(), SILENCE_MS);
        if (!stands) onState((stands = true)); // its first comment says that nothing is missed from here on
        if (event.name === null) continue;
        pauseMs = FIRST_PAUSE_MS;
        if (event.id) after = Number(event.id);
        if (event.name === "lost" || event.name === "lagged") break;
        onEvent(event.name, event.data);
        if (event.name === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && [401, 403, 404].includes(error.status)) return;
    } finally {
      clearTimeout(waking);
      leaving.end();
    }
    if (leaving.signal.aborted) continue;
    onState(false);
    await pause(pauseMs * (0.5 + Math.random()), signal);
    pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(
          block
            .split("\n")
            .filter((line) => line && !line.startsWith(":"))
            .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")]),
        );
        yield { name: fields.event ?? null, id: fields.id, data: JSON.parse(fields.data ?? "{}") };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

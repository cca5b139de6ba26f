// Small parts that many views have.
import { html, useEffect, useState } from "../html.js";
import { t } from "../i18n.js";
import { ApiError } from "../api.js";

export const FINAL = new Set(["completed", "failed", "cancelled"]);

export function words(error) {
  if (error instanceof ApiError && error.code === "unreachable") return t("error.unreachable");
  return error.message || String(error);
}

export function Status({ state }) {
  return html`<span class="status ${state}">${t(`status.${state}`)}</span>`;
}

export function Bar({ percent, label }) {
  const value = Math.round((percent ?? 0) * 10) / 10;
  return html`<div class="bar" role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${value}><div style=${{ width: `${value}%` }}></div></div>`;
}

export function Problem({ error, again }) {
  if (!error) return null;
  return html`<div class="notice bad" role="alert">
    <span>${words(error)}</span>
    ${again && html`<button onClick=${again}>${t("again")}</button>`}
  </div>`;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

export function Lost({ stands }) {
  return stands ? null : html`<div class="notice" role="status">${t("stream.lost")}</div>`;
}

// What a request answers, asked for again by `again`, and every `everyMs` where that is given.
export function useAnswer(ask, keys, everyMs) {
  const [found, setFound] = useState({ answer: null, error: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let wanted = true;
    ask().then(
      (answer) => wanted && setFound({ answer, error: null }),
      (error) => wanted && setFound((before) => ({ answer: before.answer, error })),
    );
    return () => {
      wanted = false;
    };
  }, [...keys, turn]);
  useEffect(() => {
    if (!everyMs) return undefined;
    const timer = setInterval(() => document.hidden || setTurn((number) => number + 1), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return { ...found, again: () => setTurn((number) => number + 1) };
}

export function Facts({ rows }) {
  return html`<dl class="facts">
    ${rows
      .filter(Boolean)
      .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

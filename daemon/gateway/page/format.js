// Figures and times as a person reads them.
import { language, t } from "./i18n.js";

const NONE = "–";

export function number(value, digits = 4) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const s = Math.round(seconds);
  if (s < 60) return t("time.s", { s });
  if (s < 3600) return t("time.m", { m: Math.floor(s / 60), s: s % 60 });
  if (s < 86400) return t("time.h", { h: Math.floor(s / 3600), m: Math.floor((s % 3600) / 60) });
  return t("time.d", { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) });
}

export function moment(iso) {
  if (!iso) return NONE;
  return new Date(iso).toLocaleString(language === "zh" ? "zh-CN" : "en-GB", {
    dateStyle: "medium",
    timeStyle: "medium",
  });
}

export function ago(iso) {
  return iso ? duration(Math.max(0, (Date.now() - new Date(iso).getTime()) / 1000)) : NONE;
}

export function mib(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 1024 ? `${(value / 1024).toFixed(1)} GiB` : `${Math.round(value)} MiB`;
}

export const short = (id) => id.slice(0, 8);
export const text = (value) => (value === null || value === undefined || value === "" ? NONE : String(value));

// A metric's name for a person; one that the page does not know is shown as it is.
export function metricName(metric) {
  const shown = t(`metric.${metric}`);
  return shown === `metric.${metric}` ? metric : shown;
}

// A command line as a shell would take it.
export function commandLine(argv) {
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

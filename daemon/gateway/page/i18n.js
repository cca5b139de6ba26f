// The two languages: what the browser asks for first, what the reader chose from then on.
import en from "./lang/en.js";
import zh from "./lang/zh.js";

const KEY = "swift-trainer.language";
const ALL = { en, zh };

export const languages = { en: "English", zh: "中文" };
export let language = localStorage.getItem(KEY) ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
document.documentElement.lang = language;

export function choose(name) {
  language = name;
  localStorage.setItem(KEY, name);
  document.documentElement.lang = name;
}

// The text of a key, with {names} filled in.
export function t(key, values = {}) {
  const text = ALL[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

// The page's frame: where the reader is, in which language and light, and who they are to the gateway.
import { html, render, useEffect, useRef, useState } from "./html.js";
import { choose, language, languages, t } from "./i18n.js";
import { get, onUnauthorized, token } from "./api.js";
import { Dialog } from "./parts/dialog.js";
import { Jobs } from "./views/jobs.js";
import { Job } from "./views/job.js";
import { Compare } from "./views/compare.js";
import { Queue } from "./views/queue.js";
import { Fleet } from "./views/fleet.js";
import { Submit } from "./views/submit.js";
import { System } from "./views/system.js";

const THEME = "swift-trainer.theme";
const VIEWS = { jobs: Jobs, compare: Compare, queue: Queue, fleet: Fleet, submit: Submit, system: System };
const TABS = ["jobs", "queue", "fleet", "submit", "system"];

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, id] = path.split("/");
  return { view: view in VIEWS ? view : "jobs", id, query: new URLSearchParams(query ?? "") };
}

function setTheme(theme) {
  if (theme === "auto") localStorage.removeItem(THEME);
  else localStorage.setItem(THEME, theme);
  document.documentElement.dataset.theme = theme;
}

function TokenDialog({ done }) {
  const act = async (form) => {
    token.set(String(form.get("token")).trim(), form.get("keep") === "on");
    try {
      done(await get("/me"));
    } catch (error) {
      token.clear();
      throw error;
    }
  };
  return html`<${Dialog} title=${t("token.title")} confirm=${t("token.use")} act=${act} close=${() => done(null)}>
    <p>${t("token.why")}</p>
    <label>${t("token.token")}<input name="token" type="password" autocomplete="off" required /></label>
    <label class="check"><input name="keep" type="checkbox" />${t("token.keep")}</label>
  <//>`;
}

function App() {
  const [where, setWhere] = useState(place);
  const [theme, setThemeState] = useState(localStorage.getItem(THEME) ?? "auto");
  const [spoken, setSpoken] = useState(language);
  const [me, setMe] = useState(null);
  const [asking, setAsking] = useState(false);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const moved = () => setWhere(place());
    addEventListener("hashchange", moved);
    onUnauthorized.listener = () => setAsking(true);
    get("/me").then(setMe, () => {});
    return () => removeEventListener("hashchange", moved);
  }, []);
  // who goes to another view begins at its top, with the keyboard and a screen reader too
  const arrived = useRef(false);
  useEffect(() => {
    if (arrived.current) {
      scrollTo(0, 0);
      document.getElementById("main").focus({ preventScroll: true });
    }
    arrived.current = true;
  }, [where.view, where.id]);
  useEffect(() => {
    document.title = `${t(`tab.${where.view}`)} · Swift Trainer`;
  }, [where, spoken]);
  const View = where.view === "jobs" && where.id ? Job : VIEWS[where.view];
  const may = { submit: me !== null && me.role !== "read", operate: me?.role === "operate", owner: me?.owner };
  const key = `${spoken} ${turn} ${where.view} ${where.id ?? ""} ${where.view === "submit" ? where.query : ""}`;
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.getElementById("main").focus())}
      >${t("skip")}</a>
    <header>
      <a class="name" href="#/jobs"><img src="icon.svg" alt="" width="24" height="24" />Swift Trainer</a>
      <nav aria-label=${t("nav")}>
        ${TABS.filter((tab) => tab !== "submit" || may.submit).map(
          (tab) => html`<a href="#/${tab}" aria-current=${where.view === tab ? "page" : null}>${t(`tab.${tab}`)}</a>`,
        )}
      </nav>
      <div class="choices">
        <select aria-label=${t("language")} value=${spoken}
          onChange=${(event) => (choose(event.target.value), setSpoken(event.target.value))}>
          ${Object.entries(languages).map(([name, shown]) => html`<option value=${name}>${shown}</option>`)}
        </select>
        <select aria-label=${t("theme")} value=${theme}
          onChange=${(event) => (setTheme(event.target.value), setThemeState(event.target.value))}>
          ${["auto", "light", "dark"].map((name) => html`<option value=${name}>${t(`theme.${name}`)}</option>`)}
        </select>
        ${me && me.name !== "local" && html`<button onClick=${() => (token.clear(), location.reload())}
          title=${t("token.as", { name: me.name, role: me.role })}>${t("token.leave")}</button>`}
      </div>
    </header>
    <main id="main" tabindex="-1"><${View} key=${key} ...${where} theme=${theme} may=${may} /></main>
    ${asking && html`<${TokenDialog} done=${(found) => {
      setAsking(false);
      if (found) {
        setMe(found);
        setTurn(turn + 1);
      }
    }} />`}
  `;
}

document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? "auto";
render(html`<${App} />`, document.getElementById("app"));

// What is well and what is not.
import { html } from "../html.js";
import { t } from "../i18n.js";
import { get } from "../api.js";
import { Facts, Problem, Status, useAnswer } from "../parts/common.js";

const REFRESH_MS = 5000;

export function System() {
  const { answer, error, again } = useAnswer(() => get("/system/status"), [], REFRESH_MS);
  return html`
    <div class="head"><h1>${t("tab.system")}</h1></div>
    <${Problem} error=${error} again=${again} />
    ${answer &&
    html`
      <section>
        <${Facts} rows=${["broker", "store", "devices", "swift"].map((part) => [
          t(`system.${part}`),
          html`<span class=${answer[part] === "ok" ? "good" : "wrong"}>${answer[part] === "ok" ? t("ok") : answer[part]}</span>`,
        ])} />
      </section>
      <section>
        <h2>${t("system.counts")}</h2>
        <div class="cards">
          ${Object.entries(answer.counts).map(
            ([state, count]) => html`<a class="card count" href="#/jobs?state=${state}"><b>${count}</b><${Status} state=${state} /></a>`,
          )}
        </div>
      </section>
      <section>
        <h2>${t("system.versions")}</h2>
        <${Facts} rows=${[[t("node"), answer.node_id], ...Object.entries(answer.versions)]} />
      </section>
    `}
  `;
}

// What waits, in the order of the turns, and why.
import { html } from "../html.js";
import { t } from "../i18n.js";
import { get } from "../api.js";
import { ago, moment, short } from "../format.js";
import { Empty, Problem, useAnswer } from "../parts/common.js";

const REFRESH_MS = 3000;

export function Queue() {
  const { answer, error, again } = useAnswer(() => get("/queue"), [], REFRESH_MS);
  return html`
    <div class="head"><h1>${t("tab.queue")}</h1>
      ${answer && html`<span class="muted">${t("queue.total", { total: answer.total })}</span>`}</div>
    <${Problem} error=${error} again=${again} />
    ${answer && answer.jobs.length === 0 && html`<${Empty}>${t("queue.none")}<//>`}
    ${answer &&
    answer.jobs.length > 0 &&
    html`<table class="jobs">
      <thead><tr><th class="figure">#</th><th>${t("job")}</th><th>${t("why")}</th><th>${t("owner")}</th>
        <th class="figure">${t("priority")}</th><th>${t("devices")}</th><th class="figure">${t("waiting")}</th></tr></thead>
      <tbody>
        ${answer.jobs.map(
          (job) => html`<tr key=${job.job_id + job.work}>
            <td data-name="#" class="figure">${job.position}</td>
            <td data-name=${t("job")}><a href="#/jobs/${job.job_id}"><code>${short(job.job_id)}</code></a>
              <span class="kind">${t(`work.${job.work}`)}</span></td>
            <td data-name=${t("why")}>${job.wait_reason}
              ${job.expected_start && html`<div class="sub">${t("queue.by", { time: moment(job.expected_start) })}</div>`}</td>
            <td data-name=${t("owner")} class="named">${job.owner ?? "–"}</td>
            <td data-name=${t("priority")} class="figure">${job.priority}</td>
            <td data-name=${t("devices")} class="named">${job.gpu_id ?? job.devices_needed}</td>
            <td data-name=${t("waiting")} class="figure">${ago(job.queued_at)}</td>
          </tr>`,
        )}
      </tbody>
    </table>`}
  `;
}

// The curves of several jobs over each other, and what differs in their requests.
import { html, useEffect, useMemo, useState } from "../html.js";
import { t } from "../i18n.js";
import { get } from "../api.js";
import { metricName, number, short } from "../format.js";
import { curve, metrics } from "../curves.js";
import { Empty, FINAL, Problem, Status, useAnswer } from "../parts/common.js";
import { Chart } from "../parts/chart.js";

const MOST = 8;
const REFRESH_MS = 5000;
// what the daemon adds to a request, and what differs between any two
const NOT_ASKED = new Set(
  `id status state owner node_id devices attempt wait_reason created_at queued_at started_at completed_at process_id
  log_file_path progress phase current_step total_steps current_epoch loss grad_norm current_learning_rate token_acc
  memory_gib seconds_per_step estimated_time_remaining eval_metrics warnings final_loss training_time checkpoint_path
  best_checkpoint_path run_dir export_status export_completed export_path export_time export_error error_code
  error_message exit_code swift_argv start`.split(/\s+/),
);

export function Compare({ query, theme }) {
  const ids = (query.get("ids") ?? "").split(",").filter(Boolean).slice(0, MOST);
  const ask = () =>
    Promise.all(
      ids.map(async (id, place) => {
        try {
          const [job, found] = await Promise.all([get(`/jobs/${id}`), get(`/jobs/${id}/metrics?max_points=2000`)]);
          return { job, place, points: found.points };
        } catch (problem) {
          if (problem.status === 404) return { gone: id };
          throw problem;
        }
      }),
    );
  const [over, setOver] = useState(false);
  const { answer: found, error, again } = useAnswer(ask, [ids.join()], over ? null : REFRESH_MS);
  useEffect(() => setOver(found !== null && found.every(({ job }) => !job || FINAL.has(job.state))), [found]);
  const answer = useMemo(() => found && found.filter(({ job }) => job), [found]);
  const gone = (found ?? []).filter((one) => one.gone).map((one) => short(one.gone));
  const charts = useMemo(() => {
    const all = answer ?? [];
    const names = [...new Set(all.flatMap(({ points }) => metrics(points)))];
    return names.map((name) => [
      name,
      all
        .map(({ job, place, points }) => ({ label: short(job.id), place, points: curve(points, name) }))
        .filter((series) => series.points.length > 0),
    ]);
  }, [answer]);
  if (ids.length === 0) return html`<h1>${t("tab.compare")}</h1><${Empty}>${t("compare.none")}<//>`;
  return html`
    <div class="head"><h1>${t("tab.compare")}</h1></div>
    <${Problem} error=${error} again=${again} />
    ${gone.length > 0 && html`<div class="notice">${t("compare.gone", { ids: gone.join(", ") })}</div>`}
    ${answer &&
    html`
      <section class="charts">
        ${charts.map(([name, series]) => html`<${Chart} key=${name} title=${metricName(name)} series=${series} theme=${theme} />`)}
      </section>
      <section>
        <h2>${t("compare.differences")}</h2>
        <div class="wide"><table>
          <thead><tr><th>${t("field")}</th>
            ${answer.map(({ job }) => html`<th><a href="#/jobs/${job.id}"><code>${short(job.id)}</code></a> <${Status} state=${job.state} /></th>`)}
          </tr></thead>
          <tbody>
            <tr><td>${t("metric.loss")}</td>${answer.map(({ job }) => html`<td>${number(job.loss)}</td>`)}</tr>
            ${differences(answer.map(({ job }) => job)).map(
              ([name, values]) => html`<tr><td><code>${name}</code></td>${values.map((value) => html`<td>${value}</td>`)}</tr>`,
            )}
          </tbody>
        </table></div>
      </section>
    `}
  `;
}

function differences(jobs) {
  const names = [...new Set(jobs.flatMap(Object.keys))].filter((name) => !NOT_ASKED.has(name));
  return names
    .map((name) => [name, jobs.map((job) => (name in job ? JSON.stringify(job[name]) : "–"))])
    .filter(([, values]) => new Set(values).size > 1);
}

// The list of jobs, live: what happens to one changes its line, what is new brings the page anew.
import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../i18n.js";
import { follow, get } from "../api.js";
import { ago, duration, number, short } from "../format.js";
import { Bar, Empty, Lost, Problem, Status, useAnswer } from "../parts/common.js";

const SIZE = 20;
const SETTLE_MS = 400;
const REFRESH_MS = 5000; // what was told before we listened
const STATES = ["pending", "queued", "starting", "running", "stopping", "completed", "failed", "cancelled"];
const MOST_COMPARED = 8;
const MOST_LIVE = 200;

export function Jobs({ query, may }) {
  const filter = {
    page: Number(query.get("page") ?? 1),
    kind: query.get("kind") ?? "",
    state: query.get("state") ?? "",
    owner: query.get("owner") ?? "",
    label: query.get("label") ?? "",
  };
  const path = listPath(filter);
  const { answer, error, again } = useAnswer(() => get(path), [path], REFRESH_MS);
  const [live, setLive] = useState({});
  const [stands, setStands] = useState(true);
  const [chosen, setChosen] = useState([]);
  const refresh = useRef(again);
  refresh.current = again;
  useEffect(() => {
    const stop = new AbortController();
    let timer = null;
    const soon = () => {
      timer ??= setTimeout(() => ((timer = null), refresh.current()), SETTLE_MS);
    };
    follow(() => "/events", {
      signal: stop.signal,
      onState: (is) => (setStands(is), is && soon()),
      onEvent: (name, event) => {
        if (name === "progress") setLive((known) => newest({ ...known, [event.subject]: event.data }));
        else if (name === "status" || name === "export") soon();
      },
    });
    return () => (stop.abort(), clearTimeout(timer));
  }, []);
  const go = (changes) => {
    const wanted = { ...filter, page: 1, ...changes };
    const set = Object.entries(wanted).filter(([name, value]) => value && !(name === "page" && value === 1));
    location.hash = `#/jobs?${new URLSearchParams(set)}`;
  };
  const toggle = (id) =>
    setChosen((known) => (known.includes(id) ? known.filter((one) => one !== id) : [...known, id].slice(-MOST_COMPARED)));
  const filtered = filter.kind || filter.state || filter.owner || filter.label;
  return html`
    <div class="head">
      <h1>${t("tab.jobs")}</h1>
      ${answer && html`<span class="muted">${t("jobs.total", { total: answer.total })}</span>`}
      <div class="buttons">
        ${chosen.length > 1 &&
        html`<a class="button" href="#/compare?ids=${chosen.join(",")}">${t("jobs.compare", { count: chosen.length })}</a>`}
        ${may.submit && html`<a class="button primary" href="#/submit">${t("jobs.new")}</a>`}
      </div>
    </div>
    <form class="filters" onSubmit=${(event) => event.preventDefault()}>
      <${Choice} name="state" value=${filter.state} values=${STATES} shown=${(one) => t(`status.${one}`)} go=${go} />
      <${Choice} name="kind" value=${filter.kind} values=${["llm", "vlm"]} shown=${(one) => t(`kind.${one}`)} go=${go} />
      <${Word} name="owner" value=${filter.owner} go=${go} />
      <${Word} name="label" value=${filter.label} go=${go} />
    </form>
    <${Lost} stands=${stands} />
    <${Problem} error=${error} again=${again} />
    ${answer && answer.jobs.length === 0 && html`<${Empty}>${t(filtered ? "jobs.nonefound" : "jobs.none")}<//>`}
    ${answer &&
    answer.jobs.length > 0 &&
    html`<table class="jobs">
      <thead>
        <tr>
          <th class="pick"><span class="hidden">${t("jobs.pick")}</span></th>
          <th>${t("job")}</th><th>${t("state")}</th><th>${t("progress")}</th><th class="figure">${t("metric.loss")}</th>
          <th class="figure">${t("left")}</th><th>${t("owner")}</th><th class="figure">${t("age")}</th>
        </tr>
      </thead>
      <tbody>
        ${answer.jobs.map(
          (job) => html`<${Line} key=${job.id} job=${shownNow(job, live[job.id])} picked=${chosen.includes(job.id)}
            toggle=${() => toggle(job.id)} />`,
        )}
      </tbody>
    </table>`}
    ${answer && answer.total > SIZE && html`<${Pages} page=${filter.page} total=${answer.total} go=${go} />`}
  `;
}

const newest = (live) => Object.fromEntries(Object.entries(live).slice(-MOST_LIVE));

function listPath({ page, kind, state, owner, label }) {
  const asked = new URLSearchParams({ page, size: SIZE });
  if (owner) asked.set("owner", owner);
  if (label) asked.set("label", label);
  if (state) asked.set("status", state);
  const base = { llm: "/llm/jobs", vlm: "/jobs" }[kind] ?? "/all/jobs";
  return `${base}?${asked}`;
}

// The document with the figures of the newest progress event.
function shownNow(job, progress) {
  if (!progress || job.state !== "running" || progress.attempt !== job.attempt || progress.step < job.current_step)
    return job;
  return {
    ...job,
    progress: progress.percent,
    current_step: progress.step,
    total_steps: progress.total_steps,
    loss: progress.loss ?? job.loss,
    estimated_time_remaining: progress.remaining_seconds,
    phase: progress.phase,
  };
}

function Line({ job, picked, toggle }) {
  const steps = job.total_steps ? `${job.current_step} / ${job.total_steps}` : "";
  const why = job.error_message ?? job.wait_reason;
  return html`<tr>
    <td class="pick"><input type="checkbox" checked=${picked} onChange=${toggle}
      aria-label=${t("jobs.pickone", { id: short(job.id) })} /></td>
    <td data-name=${t("job")}>
      <a href="#/jobs/${job.id}"><code>${short(job.id)}</code></a> <span class="kind">${t(`kind.${job.training_type}`)}</span>
      <div class="sub">${job.model_path}</div>
      ${Object.entries(job.labels).map(([name, value]) => html`<span class="label">${name}=${value}</span>`)}
    </td>
    <td data-name=${t("state")}><${Status} state=${job.state} />
      ${why && html`<div class="sub why" title=${why}>${why}</div>`}
      ${job.export_status !== "none" && html`<div class="sub">${t("export")}: ${t(`export.${job.export_status}`)}</div>`}
    </td>
    <td data-name=${t("progress")} class="progress"><${Bar} percent=${job.progress} label=${t("progress")} />
      <div class="sub">${number(job.progress, 3)} % ${steps && `· ${steps}`}
        ${job.state === "running" && job.phase && ` · ${t(`phase.${job.phase}`)}`}</div></td>
    <td data-name=${t("metric.loss")} class="figure">${number(job.loss)}</td>
    <td data-name=${t("left")} class="figure">${job.state === "running" ? duration(job.estimated_time_remaining) : "–"}</td>
    <td data-name=${t("owner")} class="named">${job.owner ?? "–"}</td>
    <td data-name=${t("age")} class="figure">${ago(job.created_at)}</td>
  </tr>`;
}

function Choice({ name, value, values, shown, go }) {
  return html`<label>${t(`filter.${name}`)}
    <select value=${value} onChange=${(event) => go({ [name]: event.target.value })}>
      <option value="">${t("all")}</option>
      ${values.map((one) => html`<option value=${one}>${shown(one)}</option>`)}
    </select>
  </label>`;
}

function Word({ name, value, go }) {
  return html`<label>${t(`filter.${name}`)}
    <input value=${value} placeholder=${t(`filter.${name}.hint`)}
      onChange=${(event) => go({ [name]: event.target.value.trim() })} />
  </label>`;
}

function Pages({ page, total, go }) {
  const last = Math.ceil(total / SIZE);
  return html`<div class="buttons pages">
    <button disabled=${page <= 1} onClick=${() => go({ page: page - 1 })}>${t("page.before")}</button>
    <span>${t("page.of", { page, last })}</span>
    <button disabled=${page >= last} onClick=${() => go({ page: page + 1 })}>${t("page.next")}</button>
  </div>`;
}

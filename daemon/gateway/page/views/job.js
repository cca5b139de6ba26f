// One job while it runs and after: its figures, curves, log, events, command line, and what can be done to it.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { t } from "../i18n.js";
import { follow, get } from "../api.js";
import { commandLine, duration, metricName, moment, number, short, text } from "../format.js";
import { curve, merged, metrics, MOST_POINTS } from "../curves.js";
import { gpuCharts, useGpus } from "../gpus.js";
import { Bar, Facts, Lost, Problem, Status } from "../parts/common.js";
import { Chart } from "../parts/chart.js";
import { Log, keptLines } from "../parts/log.js";
import { Actions } from "../parts/actions.js";

const LOG_TAIL = 1000;
const SETTLE_MS = 250;
const REFRESH_MS = 5000;

export function Job({ id, theme, may }) {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const [points, setPoints] = useState([]);
  const [gpus, noteGpus] = useGpus(id);
  const [events, setEvents] = useState([]);
  const [lines, setLines] = useState([]);
  const [stands, setStands] = useState(true);
  const [turn, setTurn] = useState(0);
  const read = useRef(null);
  useEffect(() => {
    const stop = new AbortController();
    const again = () => setTurn((number) => number + 1);
    const state = { read, again, noteGpus, setJob, setError, setPoints, setEvents, setLines, setStands };
    begin(id, stop.signal, state);
    return () => stop.abort();
  }, [id, turn]);
  const charts = useMemo(
    () => metrics(points).map((name) => [name, [{ label: metricName(name), points: curve(points, name) }]]),
    [points],
  );
  const ofGpus = useMemo(() => gpuCharts(gpus), [gpus]);
  if (!job) return html`<h1><code>${short(id)}</code></h1><${Problem} error=${error} />`;
  // what an order changed is told by the stream, which ends with the job: after a resume it begins anew
  const ordered = () => setTurn((number) => number + 1);
  return html`
    <div class="head">
      <h1><code title=${job.id}>${short(job.id)}</code> <span class="kind">${t(`kind.${job.training_type}`)}</span></h1>
      <span aria-live="polite"><${Status} state=${job.state} /></span>
      <${Actions} job=${job} may=${may} ordered=${ordered} />
    </div>
    <p class="sub">${job.model_path}</p>
    <${Lost} stands=${stands} />
    <${Problem} error=${error} />
    ${job.error_message && html`<div class="notice bad"><b>${job.error_code}</b> <span>${job.error_message}</span></div>`}
    ${job.state === "queued" && job.wait_reason && html`<div class="notice">${t("waits")}: ${job.wait_reason}</div>`}
    ${job.warnings.map((warning) => html`<div class="notice bad">${warning}</div>`)}
    <section class="now">
      <${Bar} percent=${job.progress} label=${t("progress")} />
      <${Facts} rows=${[
        [t("progress"), `${number(job.progress, 3)} %`],
        [t("step"), job.total_steps ? `${job.current_step} / ${job.total_steps}` : text(job.current_step)],
        [t("epoch"), number(job.current_epoch, 3)],
        [t("metric.loss"), number(job.loss)],
        [t("metric.learning_rate"), number(job.current_learning_rate)],
        [t("phase"), job.phase ? t(`phase.${job.phase}`) : "–"],
        [t("left"), job.state === "running" ? duration(job.estimated_time_remaining) : "–"],
        [t("metric.seconds_per_step"), number(job.seconds_per_step, 3)],
        [t("node"), text(job.node_id)],
        [t("devices"), job.devices.join(", ") || "–"],
        [t("attempt"), job.attempt],
        [t("owner"), text(job.owner)],
      ]} />
    </section>
    ${charts.length > 0 || gpus.length > 0
      ? html`<section class="charts" aria-label=${t("curves")}>
          ${charts.map(([name, series]) => html`<${Chart} key=${name} title=${metricName(name)} series=${series} theme=${theme} />`)}
          ${ofGpus.map(([name, series]) => html`<${Chart} key=${name} title=${t(name)} series=${series} theme=${theme} />`)}
        </section>`
      : html`<p class="empty">${t("curves.none")}</p>`}
    <${Log} lines=${lines} />
    <section>
      <h2>${t("events")}</h2>
      <ol class="events">
        ${events.map(
          (event) => html`<li key=${event.sequence}>
            <span class="when">${moment(event.time)}</span> <b>${eventName(event)}</b> <span>${eventText(event)}</span>
          </li>`,
        )}
      </ol>
    </section>
    <section>
      <h2>${t("files")}</h2>
      <${Facts} rows=${[
        [t("rundir"), html`<code>${text(job.run_dir)}</code>`],
        [t("checkpoint"), html`<code>${text(job.checkpoint_path)}</code>`],
        job.best_checkpoint_path && [t("checkpoint.best"), html`<code>${job.best_checkpoint_path}</code>`],
        [t("export"), html`${t(`export.${job.export_status}`)} <code>${text(job.export_path ?? job.export_error)}</code>`],
        [t("logfile"), html`<code>${text(job.log_file_path)}</code>`],
        [t("created"), moment(job.created_at)],
        [t("started"), moment(job.started_at)],
        [t("ended"), moment(job.completed_at)],
      ]} />
    </section>
    ${job.swift_argv.length > 0 && html`<${Command} argv=${job.swift_argv} />`}
  `;
}

// Read what there is, then follow from there on; the document is read again when its status has changed.
async function begin(id, signal, state) {
  const { read, again, noteGpus, setJob, setError, setPoints, setEvents, setLines, setStands } = state;
  const standing = async () => {
    const job = await get(`/jobs/${id}`);
    if (!signal.aborted) setJob(job);
    return job;
  };
  let timer = null;
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      standing().catch(setError);
    }, SETTLE_MS);
  };
  // a step that was told before we listened may reach the stored document and curve a moment after we read them
  let ended = false;
  let stoodAs = null;
  let fresh = 0; // looks at the whole curve that are still to come
  const tick = () => {
    if (ended) return look();
    return fresh-- > 0 ? readAgain() : standing().catch(setError);
  };
  const ticking = setInterval(() => document.hidden || tick(), REFRESH_MS);
  // the stream ends with the job, which somebody else may resume or export afterwards
  const look = async () => {
    try {
      const { state, attempt, export_status, export_time } = await standing();
      const standsAs = [state, attempt, export_status, export_time].join();
      if (!signal.aborted && stoodAs !== null && stoodAs !== standsAs) again();
      stoodAs = standsAs;
    } catch (error) {
      if (!signal.aborted) setError(error);
    }
  };
  signal.addEventListener("abort", () => (clearTimeout(timer), clearInterval(ticking)));
  let evaluated = "";
  // what was logged while nobody listened is in the stored curve
  const stored = async () => {
    const { points } = await get(`/jobs/${id}/metrics?max_points=${MOST_POINTS}`);
    if (!signal.aborted) setPoints((known) => merged(known, points));
  };
  const readAgain = () => Promise.all([standing(), stored()]).catch(setError);
  try {
    evaluated = JSON.stringify((await standing()).eval_metrics);
    const log = await get(`/jobs/${id}/logs?limit=${LOG_TAIL}`);
    if (signal.aborted) return;
    setPoints([]);
    setLines(keptLines([], log.lines));
    read.current = log.next_offset;
    setEvents([]);
    setError(null);
  } catch (error) {
    if (!signal.aborted) setError(error);
    return;
  }
  await follow((after) => `/jobs/${id}/stream?after=${after}&log_offset=${read.current}`, {
    signal,
    onState: (stands) => {
      setStands(stands);
      if (!stands) return;
      fresh = 2;
      stored().catch(setError);
    },
    onEvent: (name, event) => {
      if (name === "end") {
        ended = true;
        readAgain().then(look);
      } else if (name === "log") {
        read.current = event.data.next_offset;
        setLines((known) => keptLines(known, event.data.lines));
      } else if (name === "progress") {
        const { data } = event;
        setJob((job) => withProgress(job, data));
        const evaluation = JSON.stringify(data.eval); // an event has the newest one, however old
        setPoints((known) => merged(known, [pointOf(data, evaluation === evaluated ? {} : data.eval)]));
        evaluated = evaluation;
        noteGpus(data);
      } else {
        setEvents((known) => (known.some((one) => one.sequence === event.sequence) ? known : [...known, event]));
        soon();
      }
    },
  });
}

function withProgress(job, data) {
  if (!job || data.attempt < job.attempt) return job;
  return {
    ...job,
    attempt: data.attempt,
    progress: data.percent,
    phase: data.phase,
    current_step: data.step,
    total_steps: data.total_steps,
    current_epoch: data.epoch ?? job.current_epoch,
    loss: data.loss ?? job.loss,
    current_learning_rate: data.learning_rate ?? job.current_learning_rate,
    seconds_per_step: data.seconds_per_step ?? job.seconds_per_step,
    estimated_time_remaining: data.remaining_seconds,
    warnings: data.warnings ?? [],
  };
}

function pointOf({ step, loss, learning_rate, grad_norm, token_acc, memory_gib, seconds_per_step }, evaluation) {
  const figures = loss === null || loss === undefined ? {} : { loss, learning_rate, grad_norm, token_acc, memory_gib, seconds_per_step };
  return { step, ...figures, eval: evaluation };
}

function eventName(event) {
  if (event.data.status) return t(`status.${event.data.status}`);
  if (event.data.export_status) return `${t("export")}: ${t(`export.${event.data.export_status}`)}`;
  return t("checkpoint");
}

function eventText({ data }) {
  return data.error_message ?? data.reason ?? data.export_error ?? data.export_path ?? data.path ?? "";
}

function Command({ argv }) {
  const [copied, setCopied] = useState(false);
  const shown = useRef(null);
  const line = commandLine(argv);
  const copy = () => toClipboard(shown.current).then(() => setCopied(true), () => setCopied(false));
  return html`<section>
    <div class="head"><h2>${t("command")}</h2>
      <div class="buttons"><button onClick=${copy}>${t(copied ? "copied" : "copy")}</button></div></div>
    <pre class="command" ref=${shown}>${line}</pre>
  </section>`;
}

// Browsers have a clipboard for https and localhost alone; elsewhere what is shown is selected, and copied the old way.
async function toClipboard(element) {
  if (navigator.clipboard) return navigator.clipboard.writeText(element.textContent);
  getSelection().selectAllChildren(element);
  if (!document.execCommand("copy")) throw new Error("the browser does not allow it");
}

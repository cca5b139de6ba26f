// What can be done to a job now, each asked about first.
import { html, useState } from "../html.js";
import { t } from "../i18n.js";
import { post, remove } from "../api.js";
import { short } from "../format.js";
import { Dialog } from "./dialog.js";
import { FINAL } from "./common.js";

const QUANTIZE = ["bnb", "hqq", "eetq", "quanto", "fp8", "awq", "gptq", "gptq_v2"];

export function Actions({ job, may, ordered }) {
  const [open, setOpen] = useState(null);
  const mine = may.operate || (may.submit && job.owner === may.owner);
  const copy = may.submit && html`<a class="button" href="#/submit?like=${job.id}">${t("act.again")}</a>`;
  if (!mine) return html`<div class="buttons">${copy}</div>`;
  const ended = FINAL.has(job.state);
  const can = {
    start: job.state === "pending",
    stop: ["pending", "queued", "starting", "running"].includes(job.state),
    resume: ["failed", "cancelled"].includes(job.state),
    export: ended && job.checkpoint_path !== null && !["queued", "running"].includes(job.export_status),
    delete: job.state === "pending" || ended,
  };
  const Form = open && FORMS[open];
  return html`<div class="buttons">
    ${Object.keys(can)
      .filter((name) => can[name])
      .map(
        (name) => html`<button class=${name === "stop" || name === "delete" ? "danger" : ""} onClick=${() => setOpen(name)}
          >${t(`act.${name}`)}</button>`,
      )}
    ${copy}
    ${open && html`<${Form} job=${job} ordered=${ordered} close=${() => setOpen(null)} />`}
  </div>`;
}

function Plain({ name, job, ordered, close }) {
  const act = async () => {
    await post(`/jobs/${job.id}/${name}`);
    ordered();
  };
  return html`<${Dialog} title=${t(`act.${name}.title`, { id: short(job.id) })} confirm=${t(`act.${name}`)} act=${act} close=${close}>
    <p>${t(`act.${name}.what`)}</p>
  <//>`;
}

function Stop({ job, ordered, close }) {
  const act = async (form) => {
    const grace = form.get("grace");
    await post(`/jobs/${job.id}/stop`, {
      save: form.get("save") === "on",
      ...(grace ? { grace_seconds: Number(grace) } : {}),
    });
    ordered();
  };
  const runs = ["starting", "running"].includes(job.state);
  return html`<${Dialog} title=${t("act.stop.title", { id: short(job.id) })} confirm=${t("act.stop")} danger act=${act} close=${close}>
    <p>${t(runs ? "act.stop.running" : "act.stop.waiting")}</p>
    ${runs &&
    html`<label class="check"><input type="checkbox" name="save" />${t("act.stop.save")}</label>
      <label>${t("act.stop.grace")}<input type="number" name="grace" min="0" max="86400" placeholder="30" /></label>`}
  <//>`;
}

function Export({ job, ordered, close }) {
  const act = async (form) => {
    const path = String(form.get("path")).trim();
    const method = form.get("method");
    const bits = form.get("bits");
    await post(`/jobs/${job.id}/export`, {
      checkpoint: path || form.get("which"),
      merge_lora: form.get("merge") === "on",
      ...(method ? { quant_method: method } : {}),
      ...(method && bits ? { quant_bits: Number(bits) } : {}),
    });
    ordered();
  };
  return html`<${Dialog} title=${t("act.export.title", { id: short(job.id) })} confirm=${t("act.export")} act=${act} close=${close}>
    <label>${t("act.export.which")}
      <select name="which"><option value="last">${t("act.export.last")}</option><option value="best">${t("act.export.best")}</option></select>
    </label>
    <label>${t("act.export.path")}<input name="path" placeholder="checkpoint-100" /></label>
    <label class="check"><input type="checkbox" name="merge" defaultChecked=${true} />${t("act.export.merge")}</label>
    <label>${t("act.export.method")}
      <select name="method"><option value="">${t("none")}</option>${QUANTIZE.map((one) => html`<option>${one}</option>`)}</select>
    </label>
    <label>${t("act.export.bits")}
      <select name="bits"><option value="">${t("none")}</option>${[1, 2, 3, 4, 8].map((one) => html`<option>${one}</option>`)}</select>
    </label>
  <//>`;
}

function Delete({ job, close }) {
  const act = async (form) => {
    await remove(`/jobs/${job.id}?purge_output=${form.get("purge") === "on"}`);
    location.hash = "#/jobs";
  };
  return html`<${Dialog} title=${t("act.delete.title", { id: short(job.id) })} confirm=${t("act.delete")} danger act=${act} close=${close}>
    <p>${t("act.delete.what")}</p>
    <label class="check"><input type="checkbox" name="purge" />${t("act.delete.purge")} <code>${job.run_dir}</code></label>
  <//>`;
}

const FORMS = {
  start: (props) => html`<${Plain} name="start" ...${props} />`,
  stop: Stop,
  resume: (props) => html`<${Plain} name="resume" ...${props} />`,
  export: Export,
  delete: Delete,
};

// The nodes and their devices: use, state, who has them; draining and resuming.
import { html, useState } from "../html.js";
import { t } from "../i18n.js";
import { get, post } from "../api.js";
import { ago, mib, short, text } from "../format.js";
import { Bar, Empty, Problem, useAnswer } from "../parts/common.js";
import { Dialog } from "../parts/dialog.js";

const REFRESH_MS = 3000;

export function Fleet({ may }) {
  const { answer, error, again } = useAnswer(() => get("/nodes"), [], REFRESH_MS);
  const [asked, setAsked] = useState(null);
  return html`
    <div class="head"><h1>${t("tab.fleet")}</h1></div>
    <${Problem} error=${error} again=${again} />
    ${answer && answer.nodes.length === 0 && html`<${Empty}>${t("fleet.none")}<//>`}
    ${answer &&
    answer.nodes.map(
      (node) => html`<section key=${node.node_id}>
        <div class="head">
          <h2>${node.node_id}</h2>
          <span class="status ${node.state}">${t(`node.${node.state}`)}</span>
          <span class="muted">${t("node.beat", { ago: ago(node.last_heartbeat) })}${Object.entries(node.versions).map(
            ([name, version]) => ` · ${name} ${version}`,
          )}</span>
          ${may.operate &&
          html`<div class="buttons">
            ${node.state === "drained"
              ? html`<button onClick=${() => setAsked({ node, what: "resume" })}>${t("node.act.resume")}</button>`
              : html`<button onClick=${() => setAsked({ node, what: "drain" })}>${t("node.act.drain")}</button>`}
          </div>`}
        </div>
        ${node.reason && node.state !== "online" && html`<p class="sub">${node.reason}</p>`}
        <div class="cards">${node.devices.map((device) => html`<${Card} key=${device.index} device=${device} />`)}</div>
      </section>`,
    )}
    ${asked && html`<${Order} ...${asked} ordered=${again} close=${() => setAsked(null)} />`}
  `;
}

function Card({ device }) {
  const used = device.memory_total_mib ? (100 * (device.memory_used_mib ?? 0)) / device.memory_total_mib : null;
  return html`<article class="card">
    <div class="head"><h3>${device.index} · ${device.name}</h3><span class="status ${device.state}">${t(`device.${device.state}`)}</span></div>
    ${used !== null &&
    html`<${Bar} percent=${used} label=${t("memory")} />
      <p class="sub">${mib(device.memory_used_mib)} / ${mib(device.memory_total_mib)}</p>`}
    <p class="sub">${[
      device.utilization !== null && `${device.utilization} %`,
      device.temperature !== null && `${device.temperature} °C`,
      device.power !== null && `${Math.round(device.power)} W`,
    ]
      .filter(Boolean)
      .join(" · ")}</p>
    ${device.job_id && html`<p><a href="#/jobs/${device.job_id}"><code>${short(device.job_id)}</code></a></p>`}
    ${device.reason && html`<p class="sub">${text(device.reason)}</p>`}
  </article>`;
}

function Order({ node, what, ordered, close }) {
  const act = async (form) => {
    const deadline = form.get("deadline");
    await post(`/nodes/${node.node_id}/${what}`, deadline ? { deadline_seconds: Number(deadline) } : {});
    ordered();
  };
  return html`<${Dialog} title=${t(`node.act.${what}.title`, { node: node.node_id })} confirm=${t(`node.act.${what}`)} act=${act} close=${close}>
    <p>${t(`node.act.${what}.what`)}</p>
    ${what === "drain" &&
    html`<label>${t("node.act.deadline")}<input type="number" name="deadline" min="0" max="2592000" placeholder=${t("none")} /></label>`}
  <//>`;
}

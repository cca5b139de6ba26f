// A new job: a form made from the JSON Schema of the request, so that a field of a later version is simply there.
import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../i18n.js";
import { get, orderKey, post } from "../api.js";
import { choicesOf, FIRST, grouped, kindOf, toRequest, toText, toTexts } from "../form.js";
import { Problem } from "../parts/common.js";

const PATHS = { llm: "/llm/jobs", vlm: "/jobs" };

export function Submit({ query }) {
  const like = query.get("like");
  const [kind, setKind] = useState("llm");
  const [schemas, setSchemas] = useState({});
  const [texts, setTexts] = useState({});
  const [faults, setFaults] = useState({});
  const [error, setError] = useState(null);
  const [start, setStart] = useState(true);
  const [asJson, setAsJson] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const order = useRef({});
  useEffect(() => {
    const begin = async () => {
      const [llm, vlm] = await Promise.all([get("/schemas/llm"), get("/schemas/vlm")]);
      const job = like ? await get(`/jobs/${like}`) : null;
      setSchemas({ llm, vlm });
      if (job) {
        setKind(job.training_type);
        setTexts(toTexts(job, { llm, vlm }[job.training_type]));
      }
    };
    begin().catch(setError);
  }, [like]);
  const schema = schemas[kind];
  if (!schema) return html`<h1>${t("tab.submit")}</h1><${Problem} error=${error} />`;
  const { request, wrong } = toRequest(texts, schema);
  const set = (name, value) => setTexts((known) => ({ ...known, [name]: value }));
  const submit = async (event) => {
    event.preventDefault();
    setError(null);
    if (asJson === null && Object.keys(wrong).length > 0) {
      setFaults(wrong);
      return;
    }
    setBusy(true);
    try {
      // what was written as JSON is sent as it is, so that the daemon sees what it does not know
      const body = { ...(asJson === null ? request : JSON.parse(asJson)), start };
      const said = kind + JSON.stringify(body);
      if (order.current.said !== said) order.current = { said, key: orderKey() };
      const made = await post(PATHS[kind], body, { "Idempotency-Key": order.current.key });
      location.hash = `#/jobs/${made.job_id}`;
    } catch (problem) {
      // a refusal is remembered under its key; after a lost answer the same key finds the job that was made
      if (problem.status >= 400 && problem.status < 500) order.current = {};
      setError(problem);
      setFaults(byField(problem.errors ?? []));
      setBusy(false);
    }
  };
  const edit = (text) => {
    setAsJson(text);
    try {
      const { training_type: type = kind, start: at = start, ...rest } = JSON.parse(text);
      if (type in PATHS) setKind(type);
      setStart(Boolean(at));
      const { properties } = schemas[type in PATHS ? type : kind];
      const unknown = Object.keys(rest).filter((name) => !(name in properties));
      setTexts(toTexts(rest, schemas[type in PATHS ? type : kind]));
      setError(unknown.length > 0 ? new Error(t("submit.unknown", { names: unknown.join(", ") })) : null);
    } catch (problem) {
      setError(problem);
    }
  };
  const groups = grouped(schema);
  return html`
    <div class="head"><h1>${t("tab.submit")}</h1>
      <div class="buttons" role="group" aria-label=${t("filter.kind")}>
        ${Object.keys(PATHS).map(
          (one) => html`<button aria-pressed=${kind === one} onClick=${() => (setKind(one), setAsJson(null))}>${t(`kind.${one}`)}</button>`,
        )}
        <button aria-pressed=${asJson !== null}
          onClick=${() => setAsJson(asJson === null ? JSON.stringify({ training_type: kind, ...request, start }, null, 2) : null)}
          >JSON</button>
      </div></div>
    ${asJson !== null
      ? html`<label>${t("submit.json")}
          <textarea class="code" rows="24" spellcheck=${false} value=${asJson} onInput=${(event) => edit(event.target.value)}></textarea></label>`
      : null}
    <form ref=${form} class="submit" onSubmit=${submit} novalidate>
      ${asJson === null &&
      Object.entries(groups).map(
        ([group, names]) => html`<details open=${names.some((name) => FIRST.includes(name) || name in texts || name in faults)}>
          <summary><h2>${t(`group.${group}`)}</h2></summary>
          <div class="grid">
            ${names.map(
              (name) => html`<${Field} key=${kind + name} name=${name} property=${schema.properties[name]} text=${texts[name] ?? ""}
                needed=${needs(schema, name)} fault=${faults[name] ?? wrong[name]} set=${(value) => set(name, value)} />`,
            )}
          </div>
        </details>`,
      )}
      <${Problem} error=${error} />
      <div class="buttons end">
        <label class="check"><input type="checkbox" checked=${start} onChange=${(event) => setStart(event.target.checked)} />${t("submit.start")}</label>
        <button class="primary" disabled=${busy}>${t("submit.create")}</button>
      </div>
    </form>
  `;
}

const needs = (schema, name) => (schema.required ?? []).includes(name);

function byField(errors) {
  const found = {};
  for (const { loc, message } of errors) {
    const [name, ...inside] = loc;
    found[name] = [found[name], inside.length > 0 ? `${inside.join(".")}: ${message}` : message].filter(Boolean).join("; ");
  }
  return found;
}

function Field({ name, property, text, needed, fault, set }) {
  const kind = kindOf(property);
  const given = toText(property.default, kind);
  const common = {
    id: `field-${name}`,
    name,
    "aria-invalid": fault ? "true" : null,
    "aria-describedby": `about-${name}`,
    required: needed,
  };
  const typed = (event) => set(event.target.value);
  let input;
  if (kind === "boolean")
    input = html`<select ...${common} value=${text} onChange=${typed}>
      <option value="">${t("submit.default", { value: t(given === "true" ? "yes" : "no") })}</option>
      <option value="true">${t("yes")}</option><option value="false">${t("no")}</option></select>`;
  else if (kind === "choice")
    input = html`<select ...${common} value=${text} onChange=${typed}>
      <option value="">${t("submit.default", { value: given || t("none") })}</option>
      ${choicesOf(property).map((one) => html`<option value=${one}>${one}</option>`)}</select>`;
  else if (kind === "lines" || kind === "pairs" || kind === "json")
    input = html`<textarea ...${common} rows=${kind === "json" ? 2 : 3} value=${text} onInput=${typed}
      placeholder=${given && given !== "{}" ? given : t(`hint.${kind}`)}></textarea>`;
  else
    input = html`<input ...${common} inputmode=${kind === "number" ? "decimal" : null} value=${text} onInput=${typed} placeholder=${given} />`;
  return html`<div class="field ${fault ? "faulty" : ""}">
    <label for=${common.id}><code>${name}</code>${needed && html` <span class="needed">${t("submit.needed")}</span>`}</label>
    ${input}
    <p class="sub" id=${common["aria-describedby"]}>${fault && html`<span class="fault">${fault}</span> `}${prose(property.description)}</p>
  </div>`;
}

// A description's `names` as code.
function prose(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part));
}

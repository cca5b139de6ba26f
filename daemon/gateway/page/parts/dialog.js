// A question that has to be answered first. The browser's own <dialog> keeps the keyboard inside and gives it back.
import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../i18n.js";
import { Problem } from "./common.js";

// `act(form)` is called with the form's data; the dialog stays open, and says why, where it fails.
export function Dialog({ title, confirm, danger, act, close, children }) {
  const element = useRef(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    element.current.showModal();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await act(new FormData(event.target));
      element.current?.close();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return html`<dialog ref=${element} onClose=${close} aria-labelledby="dialog-title">
    <form onSubmit=${submit}>
      <h2 id="dialog-title">${title}</h2>
      <div class="fields">${children}</div>
      <${Problem} error=${error} />
      <div class="buttons end">
        <button type="button" onClick=${() => element.current.close()}>${t("back")}</button>
        <button class=${danger ? "danger" : "primary"} disabled=${busy}>${confirm}</button>
      </div>
    </form>
  </dialog>`;
}

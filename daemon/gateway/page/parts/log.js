// A log as it grows: the last lines, following its end unless the reader scrolled away from it.
import { html, useLayoutEffect, useRef, useState } from "../html.js";
import { t } from "../i18n.js";

const KEPT = 5000;

export function keptLines(known, more) {
  return [...known, ...more].slice(-KEPT);
}

export function Log({ lines }) {
  const [follows, setFollows] = useState(true);
  const [wanted, setWanted] = useState("");
  const box = useRef(null);
  const shown = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted.toLowerCase())) : lines;
  useLayoutEffect(() => {
    if (follows) box.current.scrollTop = box.current.scrollHeight;
  }, [shown.length, lines, follows]);
  // of the event, not of `box`: a scroll is told a frame later, when the view may be gone
  const scrolled = ({ currentTarget: { scrollTop, clientHeight, scrollHeight } }) => {
    setFollows(scrollHeight - scrollTop - clientHeight < 24);
  };
  return html`<section>
    <div class="head">
      <h2>${t("log")}</h2>
      <div class="buttons">
        <input type="search" aria-label=${t("log.search")} placeholder=${t("log.search")} value=${wanted}
          onInput=${(event) => setWanted(event.target.value)} />
        <button aria-pressed=${follows} onClick=${() => setFollows(!follows)}>${t(follows ? "log.pause" : "log.follow")}</button>
      </div>
    </div>
    <pre class="log" ref=${box} onScroll=${scrolled} tabindex="0" aria-label=${t("log")}>${shown.length > 0
      ? shown.join("\n")
      : t(wanted ? "log.nonefound" : "log.none")}</pre>
  </section>`;
}

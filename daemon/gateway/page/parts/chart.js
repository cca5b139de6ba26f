// Curves over steps, drawn by uPlot: one or several series on one scale, in the colours of the theme.
import { html, useEffect, useRef } from "../html.js";
import uPlot from "../vendor/uplot.js";
import { number } from "../format.js";
import { t } from "../i18n.js";

const HEIGHT = 200;
export const COLOURS = 8;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const colour = (index) => css(`--series-${index % COLOURS}`);

// `series`: [{ label, points: [[step, value], ...], place? }], steps rising; `place` chooses the colour, else the order does.
export function Chart({ title, series, theme }) {
  const holder = useRef(null);
  const plot = useRef(null);
  const names = series.map((each) => each.label).join("\n");
  useEffect(() => {
    const box = holder.current;
    const axis = {
      stroke: css("--muted"),
      grid: { stroke: css("--line"), width: 1 },
      ticks: { stroke: css("--line"), width: 1 },
      font: "12px system-ui, sans-serif",
    };
    const drawn = new uPlot(
      {
        width: box.clientWidth,
        height: HEIGHT,
        scales: { x: { time: false } },
        axes: [
          { ...axis, values: (_plot, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : "")) },
          { ...axis, size: 64, values: (_plot, ticks) => ticks.map((tick) => number(tick, 3)) },
        ],
        series: [
          { label: t("step") },
          ...series.map((each, index) => ({
            label: each.label,
            stroke: colour(each.place ?? index),
            width: 2,
            spanGaps: true,
            points: { show: (found, seriesIndex) => found.data[seriesIndex].filter((y) => y !== null).length < 40 },
            value: (_plot, value) => number(value),
          })),
        ],
        cursor: { drag: { x: true, y: false } },
      },
      table(series),
      box,
    );
    plot.current = drawn;
    const watcher = new ResizeObserver(() => drawn.setSize({ width: box.clientWidth, height: HEIGHT }));
    watcher.observe(box);
    return () => {
      watcher.disconnect();
      drawn.destroy();
    };
  }, [names, theme]);
  useEffect(() => plot.current?.setData(table(series)), [series]);
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <div ref=${holder} role="img" aria-label=${described(title, series)}></div>
  </figure>`;
}

function table(series) {
  const one = series.map((each) => [each.points.map((point) => point[0]), each.points.map((point) => point[1])]);
  return one.length === 0 ? [[]] : uPlot.join(one);
}

function described(title, series) {
  const last = series.map((each) => `${each.label === title ? "" : `${each.label} `}${number(each.points.at(-1)?.[1])}`);
  return `${title}: ${last.join(", ")}`;
}

// The use of a job's GPUs while somebody looked. The tab alone keeps it, so that a reload does not empty the curves.
import { useCallback, useEffect, useRef, useState } from "./html.js";

const KEY = "swift-trainer.gpus";
const MOST_POINTS = 600;
const MOST_JOBS = 4; // with eight GPUs each has less than 100 KB; a tab may keep 5 MB

// What is known of a job, as points [step, [[index, utilization, memory in MiB], ...]], and how to tell of a step.
export function useGpus(id) {
  const [points, setPoints] = useState(() => remembered()[id] ?? []);
  const newest = useRef(points);
  newest.current = points;
  useEffect(() => {
    const keep = () => newest.current.length > 0 && remember(id, newest.current);
    addEventListener("pagehide", keep);
    return () => (removeEventListener("pagehide", keep), keep());
  }, [id]);
  const note = useCallback(({ step, gpus }) => {
    if (gpus.length === 0) return;
    const point = [step, gpus.map((gpu) => [gpu.index, gpu.utilization, gpu.memory_used_mib])];
    // a later attempt takes the place of an earlier one step by step
    setPoints((known) =>
      [...known.filter(([other]) => other !== step), point].sort(([one], [other]) => one - other).slice(-MOST_POINTS),
    );
  }, []);
  return [points, note];
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

// The last few jobs that were looked at.
function remember(id, points) {
  const others = Object.entries(remembered()).filter(([other]) => other !== id);
  const kept = [...others, [id, points]].slice(-MOST_JOBS);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(Object.fromEntries(kept)));
  } catch {
    sessionStorage.removeItem(KEY); // full: the curves begin anew after a reload
  }
}

// The charts of the points: by the key of its title, the series of each.
export function gpuCharts(points) {
  const indices = [...new Set(points.flatMap(([, gpus]) => gpus.map(([index]) => index)))];
  const series = (value) =>
    indices.map((index) => ({
      label: `GPU ${index}`,
      points: points.flatMap(([step, gpus]) => gpus.filter(([one]) => one === index).map((gpu) => [step, value(gpu)])),
    }));
  if (indices.length === 0) return [];
  return [
    ["gpu.utilization", series(([, utilization]) => utilization)],
    ["gpu.memory", series(([, , mib]) => (mib === null ? null : mib / 1024))],
  ];
}

// From the points of a job's curve to what charts draw.
export const MOST_POINTS = 5000;

const PLAIN = ["loss", "learning_rate", "grad_norm", "token_acc", "memory_gib", "seconds_per_step"];

// Points of a later attempt take the place of those of the same step, as the daemon's own curve has it.
export function merged(points, more) {
  const byStep = new Map(points.map((point) => [point.step, point]));
  for (const point of more) {
    const before = byStep.get(point.step);
    const known = Object.fromEntries(Object.entries(point).filter(([, value]) => value !== null && value !== undefined));
    byStep.set(point.step, before ? { ...before, ...known, eval: { ...before.eval, ...point.eval } } : point);
  }
  const all = [...byStep.values()].sort((one, other) => one.step - other.step);
  return all.length > MOST_POINTS ? all.filter((_, index) => index % 2 === 0 || index === all.length - 1) : all;
}

// The names of what the points have values of: plain figures first, then evaluations.
export function metrics(points) {
  const evals = new Set(points.flatMap((point) => Object.keys(point.eval ?? {})));
  const timing = /_(runtime|per_second)$/;
  return [
    ...PLAIN.filter((name) => points.some((point) => typeof point[name] === "number")),
    ...[...evals].filter((name) => !timing.test(name)).sort(),
  ];
}

export function curve(points, metric) {
  const value = (point) => (PLAIN.includes(metric) ? point[metric] : point.eval?.[metric]);
  return points.map((point) => [point.step, value(point)]).filter(([, y]) => typeof y === "number");
}

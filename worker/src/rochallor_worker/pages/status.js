function bar(share, label) {
  const filled = el("div", {});
  filled.style.width = `${Math.min(100, 100 * share)}%`;
  return el("div", {class: "bar", role: "meter", "aria-label": label, "aria-valuenow": Math.round(100 * share), "aria-valuemin": 0, "aria-valuemax": 100}, filled);
}

function limits(type) {
  const named = [
    type.parallelism === null ? null : `${type.parallelism} at once`,
    type.perSecond === null ? null : `${type.perSecond} per second${type.scope === "resource" ? ", all pods" : ""}`,
  ].filter(Boolean);
  return named.join("; ") || "–";
}

function breaker(type) {
  if (type.breaker !== "open") return type.breaker;
  const probe = type.probe > 0 ? `next probe in ${seconds(type.probe)}` : "probing";
  return el("span", {class: "bad"}, `open, ${probe}: `, cut(type.reason));
}

const TYPES = [
  ["job type", (type) => cut(type.name, 60), "w"],
  ["jobs/s", (type) => [type.rate.toFixed(1), spark(type.ended, `jobs per second of ${type.name} in the last minute`)], "n"],
  ["wait", (type) => [seconds(type.wait), spark(type.waits, `wait of ${type.name} in the last minute`)], "n"],
  ["running", (type) => type.running, "n"],
  ["completed", (type) => type.completed, "n"],
  ["retried", (type) => type.retried, "n"],
  ["failed", (type) => el("span", type.failed ? {class: "bad"} : {}, type.failed), "n"],
  ["parked", (type) => type.parked, "n"],
  ["limits", limits, "w"],
  ["breaker", breaker, "w"],
];
const RUNNING = [
  ["job type", (job) => cut(job.type, 60), "w"],
  ["instance", (job) => cut(job.instance, 40), "n"],
  ["age", (job) => seconds(job.age), "n"],
  ["lease left", (job) => job.lost ? el("span", {class: "bad"}, "lost") : seconds(job.left), "n"],
];
const FAILURES = [
  ["time", (failure) => time(failure.at), "n"],
  ["job type", (failure) => cut(failure.type, 60), "w"],
  ["instance", (failure) => cut(failure.instance, 40), "n"],
  ["error", (failure) => cut(failure.message)],
];

function part(name, columns, rows, none) {
  return [el("h2", {}, name), rows.length ? table(columns, rows) : el("p", {class: "muted"}, none)];
}

live(async () => {
  const now = await fetched("status.json");
  document.title = `${now.problem ? "✗ " : ""}${now.worker}`;
  const draining = now.draining === null ? [] : [
    el("h2", {}, "Draining"),
    el("p", {}, `${now.draining.running} of ${now.draining.jobs} jobs still run; they are cut off in ${seconds(now.draining.left)}`),
    bar(now.draining.jobs ? 1 - now.draining.running / now.draining.jobs : 1, "jobs that have ended since the drain began"),
  ];
  const running = now.jobs.filter((job) => !job.parked).slice(0, 50);
  const more = now.slots.busy - running.length;
  return () => show(
    el("h1", {}, `rochallor worker `, cut(now.worker, 80)),
    el("p", {class: now.problem ? "bad" : "good"}, cut(now.problem || "ready")),
    now.notice && el("p", {class: "bad"}, cut(now.notice)),
    el("p", {class: "muted"}, `version ${now.version}, jobs over ${now.transport}; event loop at most ${seconds(now.loopLag)} late in the last 15 s; journal: ${now.journal.jobs} jobs, ${now.journal.errors} write errors`),
    draining,
    el("h2", {}, "Slots"),
    el("p", {}, `${now.slots.busy} of ${now.slots.total} busy, ${Math.round(100 * now.slots.utilization)} % over the last 15 s`),
    bar(now.slots.busy / now.slots.total, "busy slots"),
    part("Job types", TYPES, now.types, "none"),
    part("Running", RUNNING, running, "no job runs"),
    more > 0 && el("p", {class: "muted"}, `and ${more} more`),
    part("Failed permanently", FAILURES, now.failed, "none since the start of this process"),
    part("Failed and retried", FAILURES, now.retried, "none since the start of this process"),
    el("p", {class: "muted"}, el("a", {href: "metrics"}, "metrics"), " · ", el("a", {href: "status.json"}, "status.json")),
  );
}, 2000);

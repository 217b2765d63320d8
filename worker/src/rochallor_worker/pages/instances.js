const LIVE = ["ACTIVE", "WAITING"];
const PAGE_SIZE = 50;
let page = 0;
const definitions = new Map();  // a version of a definition never changes

function kind(status) {
  return status === "COMPLETED" ? "good" : status === "FAILED" ? "bad" : LIVE.includes(status) ? "now" : "muted";
}

function lasted(from, to) {
  return seconds(((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000);
}

async function definition(instance) {
  const path = `v1/definitions/${encodeURIComponent(instance.definitionId)}/versions/${instance.definitionVersion}`;
  if (!definitions.has(path)) definitions.set(path, await fetched(path));
  return definitions.get(path);
}

const INSTANCES = [
  ["instance", (instance) => el("a", {href: `#${encodeURIComponent(instance.id)}`}, instance.id)],
  ["status", (instance) => el("span", {class: kind(instance.status)}, instance.status)],
  ["definition", (instance) => `${instance.definitionId} v${instance.definitionVersion}`],
  ["business key", (instance) => cut(instance.businessKey || "–")],
  ["at", (instance) => (instance.currentStepIds || []).join(", ") || "–"],
  ["started", (instance) => time(Date.parse(instance.startedAt) / 1000), "n"],
];

async function list() {
  const found = await fetched(`v1/instances?pageSize=${PAGE_SIZE}&page=${page}`);
  const items = found.items || [];
  const turn = (by) => () => { page += by; draw(); };
  return () => show(
    el("h1", {}, "Dev engine"),
    el("p", {class: "muted"}, `${found.total} instances, the newest first`),
    items.length ? table(INSTANCES, items) : el("p", {}, "no instance yet"),
    el("p", {},
      page > 0 ? el("button", {onclick: turn(-1)}, "← newer") : null, " ",
      (page + 1) * PAGE_SIZE < found.total ? el("button", {onclick: turn(1)}, "older →") : null),
  );
}

// What may come after a step, in words.
function following(step) {
  const timers = (step.boundaryEvents || []).map((event) => `${event.targetStepId} after ${event.duration}`);
  const branches = Object.entries(step.conditionalNextSteps || {}).map(([condition, next]) => `${next} if ${condition}`);
  return [...branches, ...(step.parallelNextSteps || []), step.nextStep, ...timers].filter(Boolean).join(" · ");
}

async function one(id) {
  const path = `v1/instances/${encodeURIComponent(id)}`;
  const [instance, history] = await Promise.all([fetched(path), fetched(`${path}/history`)]);
  const entries = history.items || [];
  const steps = (await definition(instance)).steps;
  const ends = new Map(entries.map((entry) => [entry.StepID, entry.Status]));  // of the last entry into each
  const current = new Set(LIVE.includes(instance.status) ? instance.currentStepIds || [] : []);
  return () => show(
    el("p", {}, el("a", {href: "#"}, "← all instances")),
    el("h1", {}, `Instance ${instance.id}`),
    el("p", {class: kind(instance.status)}, instance.status, instance.failureReason ? `: ${instance.failureReason}` : ""),
    el("p", {class: "muted"}, `${instance.definitionId} v${instance.definitionVersion}, business key ${instance.businessKey || "–"}, ${lasted(instance.startedAt, instance.completedAt)}`),
    el("h2", {}, "Path so far"),
    el("ol", {class: "path"}, entries.map((entry) => el("li", {class: kind(entry.Status === "RUNNING" ? "ACTIVE" : entry.Status)},
      el("strong", {}, entry.StepID), " ",
      el("span", {class: "muted"}, `${entry.StepType}, ${entry.Status.toLowerCase()}, ${lasted(entry.StartedAt, entry.EndedAt)}`),
      entry.FailureReason ? el("div", {class: "bad"}, entry.FailureReason) : null))),
    el("h2", {}, "Steps of the definition"),
    el("ol", {class: "path"}, steps.map((step) => el("li", {class: current.has(step.id) ? "now" : ends.has(step.id) ? kind(ends.get(step.id)) : undefined},
      el("strong", {}, step.id), " ",
      el("span", {class: "muted"}, [step.type, step.jobType, current.has(step.id) ? "here now" : (ends.get(step.id) || "not reached").toLowerCase()].filter(Boolean).join(", ")),
      following(step) ? el("div", {class: "muted"}, `→ ${following(step)}`) : null))),
    el("h2", {}, "Variables"),
    table([["name", ([name]) => name], ["value", ([, value]) => cut(JSON.stringify(value), 2000)]], Object.entries(instance.variables || {})),
  );
}

const id = () => decodeURIComponent(location.hash.slice(1));
const draw = live(() => id() ? one(id()) : list(), 2000);
window.addEventListener("hashchange", draw);

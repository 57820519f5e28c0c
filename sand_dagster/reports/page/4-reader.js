// The list of tasks with its filters, the task that is open, and the row in focus.
const byId = (id) => document.getElementById(id);
const PAGE = 200;
let index;
let entriesOf;
let pressed = new Set();
let found = [];
let inTexts;
let current;

function prepare(value) {
  index = value;
  entriesOf = index.tasks.id.map(() => []);
  for (const [kind, columns] of [["episode", index.episodes], ["demonstration", index.demonstrations]]) {
    columns.id.forEach((id, row) => entriesOf[columns.task[row]].push({
      kind, id, run: columns.run[row], reward: columns.reward[row],
      deliberations: columns.deliberations[row], refused: columns.refused[row],
    }));
  }
  index.text = index.tasks.id.map((id, task) =>
    [id, index.tasks.goal[task], index.tasks.kind[task], ...entriesOf[task].map((entry) => entry.id)].join("\n").toLowerCase());
  index.runs.forEach(([experiment, iteration, method], run) =>
    byId("run").append(element("option", { value: run }, `${experiment} ${iteration} (${method})`)));
  for (const [id, values] of [["split", index.tasks.split], ["kind", index.tasks.kind]])
    for (const value of [...new Set(values)].sort()) if (value) byId(id).append(element("option", { value }, value));
}

function matches(task) {
  const { run, split, kind, words } = asks();
  if (split && index.tasks.split[task] !== split) return false;
  if (kind && index.tasks.kind[task] !== kind) return false;
  if (words && !(inTexts ? inTexts.has(task) : index.text[task].includes(words))) return false;
  const entries = entriesOf[task].filter((entry) => run === "" || entry.run === Number(run));
  if (!entries.length) return false;
  if (pressed.has("changed") && !(entriesOf[task].some((entry) => entry.reward >= 1) && entriesOf[task].some((entry) => entry.reward < 1))) return false;
  return entries.some((entry) =>
    (!pressed.has("won") || entry.reward >= 1) && (!pressed.has("lost") || entry.reward < 1)
    && (!pressed.has("deliberated") || entry.deliberations > 0) && (!pressed.has("refused") || entry.refused > 0));
}

const asks = () => ({ run: byId("run").value, split: byId("split").value, kind: byId("kind").value, words: byId("search").value.trim().toLowerCase() });

function list() {
  found = index.tasks.id.map((_, task) => task).filter(matches);
  byId("count").textContent = `${number(found.length)} of ${plural(index.tasks.id.length, "task")}`;
  byId("tasks").replaceChildren();
  more();
}

const FEW = 3; // experiments of which the list shows each result

// The results of a task's episodes, a line for each experiment; of many experiments only how many were won.
function marks(task) {
  const entries = entriesOf[task];
  const lines = new Map();
  for (const entry of entries.filter((each) => each.kind === "episode")) {
    const [experiment, iteration] = index.runs[entry.run];
    const won = entry.reward >= 1;
    if (!lines.has(experiment)) lines.set(experiment, []);
    lines.get(experiment).push(badge([`${iteration} ${won ? "won" : entry.reward > 0 ? reward(entry.reward) : "lost"}`, won ? "won" : "lost"]));
  }
  const line = (...children) => element("span", { class: "marks" }, ...children);
  if (lines.size > FEW) {
    const all = entries.filter((each) => each.kind === "episode");
    return [line(badge([`won in ${all.filter((each) => each.reward >= 1).length} of ${plural(all.length, "episode")}`]))];
  }
  const deliberated = entries.reduce((sum, entry) => sum + (entry.kind === "demonstration" ? entry.deliberations : 0), 0);
  return [...[...lines].map(([experiment, badges]) => line(...(lines.size > 1 ? [experiment] : []), ...badges)),
    ...(deliberated ? [line(badge([`${deliberated} deliberated`, "strong"]))] : [])];
}

function more() {
  const there = byId("tasks").childElementCount;
  byId("tasks").append(...found.slice(there, there + PAGE).map((task) => {
    return element("li", {}, element("a", { href: `#${encodeURIComponent(index.tasks.id[task])}`, "data-task": task, "aria-current": task === current ? "true" : null },
      index.tasks.goal[task] || index.tasks.id[task],
      element("span", { class: "quiet" }, `${index.tasks.split[task]} · ${index.tasks.kind[task]}`),
      ...marks(task)));
  }));
  byId("more").hidden = byId("tasks").childElementCount >= found.length;
}

// Look through the texts of all pieces, one after another; a newer question ends an older one.
async function searchTexts() {
  const { words } = asks();
  inTexts = undefined;
  if (!byId("everywhere").checked || !words) return list();
  const question = inTexts = new Set();
  const says = (value) => (typeof value === "string" ? value.toLowerCase().includes(words)
    : value !== null && typeof value === "object" && Object.values(value).some(says));
  for (const [place, name] of index.pieces.entries()) {
    byId("count").textContent = `Reading ${place + 1} of ${plural(index.pieces.length, "piece")} …`;
    for (const [task, entries] of Object.entries(await load(name))) if (says(entries) || index.text[task].includes(words)) question.add(Number(task));
    if (inTexts !== question) return;
  }
  list();
}

async function showTask(task, id) {
  const piece = await load(index.pieces[index.tasks.piece[task]]);
  const { episodes, demonstrations } = piece[task];
  const page = byId("task");
  if (current !== task) {
    current = task;
    const goal = index.tasks.goal[task];
    const instruction = (episodes[0] || demonstrations[0]).instruction;
    page.replaceChildren(
      element("h2", {}, goal || index.tasks.id[task]),
      element("p", { class: "quiet" }, `${index.tasks.split[task]} · ${index.tasks.kind[task]} · ${index.tasks.id[task]}`),
      element("pre", { class: "instruction", "aria-label": "Instruction" }, instruction));
    if (demonstrations.length) page.append(sideBySide(index, demonstrations, "The demonstration, and what branches off from it", demonstrationColumn));
    if (episodes.length) page.append(sideBySide(index, episodes, "Evaluation", episodeColumn));
    else page.append(element("h3", {}, "Evaluation"), sameType(task));
    page.scrollTop = 0;
  }
  for (const link of byId("tasks").querySelectorAll("a")) {
    if (Number(link.dataset.task) === task) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  byId("row").hidden = true;
  if (id) goTo(page, id);
}

// A task of the training split is not evaluated: the nearest are the test tasks of its type.
function sameType(task) {
  const kind = index.tasks.kind[task];
  const others = index.tasks.kind.filter((other, place) => other === kind && index.tasks.split[place] !== "train").length;
  const button = element("button", { type: "button" }, `Show ${plural(others, "test task")} of the type ${kind}`);
  button.addEventListener("click", () => {
    byId("kind").value = kind;
    byId("split").value = "";
    list();
    const first = [...byId("tasks").querySelectorAll("a")].find((link) => index.tasks.split[Number(link.dataset.task)] !== "train");
    if (first) first.focus();
  });
  return element("p", { class: "note" }, "The agent is not evaluated on the tasks that it learns from. ", others ? button : "");
}

function goTo(page, id) {
  const inside = (entry) => entry.id === id || JSON.stringify(entry).includes(`"${id}"`);
  for (const section of page.querySelectorAll("section")) {
    for (const button of section.buttons || []) if (inside(button.entry)) {
      button.show();
      const root = button.column.querySelector("[role=tree]");
      const one = button.entry.id === id ? root.firstElementChild : reveal(root, id);
      if (!one) continue;
      for (const before of page.querySelectorAll(".found")) before.classList.remove("found");
      if (button.entry.id !== id) one.classList.add("found");
      focusItem(one);
      one.firstElementChild.scrollIntoView({ block: "center" });
      return showRow(button.entry.id === id && button.column.row ? button.column.row : rowOf(one));
    }
  }
}

function showRow(row) {
  byId("row").hidden = !row;
  if (!row) return;
  const [experiment, iteration] = row.run;
  byId("row").replaceChildren(
    element("a", { href: `#${row.id}` }, `${row.table} ${row.id}`),
    copied(`sand show ${experiment} ${row.table} ${iteration} --where ${row.id}`),
    copied(`sand lineage trace ${row.id} --experiment ${experiment}`));
}

function copied(command) {
  const button = element("button", { type: "button", "aria-label": `Copy: ${command}` }, "copy");
  const text = element("code", {}, command);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "copied";
    } catch {
      window.getSelection().selectAllChildren(text); // no clipboard here: it is selected, to be copied by hand
      button.textContent = "selected";
    }
  });
  return element("span", { class: "copy" }, text, button);
}

async function taskOf(id) {
  const task = index.tasks.id.indexOf(id);
  if (task >= 0) return [task, undefined];
  const episode = index.episodes.id.indexOf(id);
  if (episode >= 0) return [index.episodes.task[episode], id];
  const demonstration = index.demonstrations.id.indexOf(id);
  if (demonstration >= 0) return [index.demonstrations.task[demonstration], id];
  const known = index.ids[id[0]] ? await load(index.ids[id[0]]) : {};
  return Object.hasOwn(known, id) ? [known[id], id] : undefined;
}

async function follow() {
  let id = location.hash.slice(1);
  try { id = decodeURIComponent(id); } catch { /* a hash that is no encoded text is looked up as it is */ }
  const section = document.querySelector("#results-view").querySelector(`section[id="${CSS.escape(id)}"]`);
  const results = !id || id === "results" || section !== null;
  byId("results-view").hidden = !results;
  byId("reader-view").hidden = results;
  for (const link of document.querySelectorAll(".top nav a")) {
    if ((link.hash === "#results") === results) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (results) return section ? section.scrollIntoView() : window.scrollTo(0, 0);
  window.scrollTo(0, 0);
  try {
    if (!index) {
      prepare(await load(document.body.dataset.index));
      list();
    }
    if (id === "episodes") return;
    const place = await taskOf(id);
    if (place) await showTask(...place);
    else byId("task").replaceChildren(element("p", { class: "note" }, `This report has no task and no row ${id}.`));
  } catch (error) {
    byId("task").replaceChildren(element("p", { class: "note", role: "alert" }, error.message));
  }
}

let pause;
for (const id of ["run", "split", "kind"]) byId(id).addEventListener("change", list);
byId("search").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(searchTexts, 150); });
byId("everywhere").addEventListener("change", searchTexts);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", more);
for (const button of document.querySelectorAll("[data-filter]")) {
  button.addEventListener("click", () => {
    const on = pressed.delete(button.dataset.filter) ? false : Boolean(pressed.add(button.dataset.filter));
    button.setAttribute("aria-pressed", String(on));
    list();
  });
}
window.addEventListener("hashchange", follow);
follow();

// One task: its episodes side by side, and its demonstrations with candidates, rollouts, critiques, deliberations.
const ENDED = { done: "ended by the environment", step_limit: "step limit", prompt_too_long: "context full", replay_mismatch: "not played: the history could not be replayed" };
const endedAs = (value) => ENDED[value] || value;
const badgeOf = (value) => [`reward ${reward(value)}`, value >= 1 ? "won" : "lost"];

function turnNodes(turns, rewards) {
  return turns.map(([thought, action, observation, valid, deliberates], place) => ({
    number: place + 1,
    name: action || "(no action)",
    action: true,
    badges: [
      ...(valid ? [] : [["refused", "lost"]]),
      ...(rewards && rewards[place] !== (place ? rewards[place - 1] : 0) ? [[`reward ${reward(rewards[place])}`, "won"]] : []),
      ...(deliberates ? [["deliberated", "strong"]] : []),
    ],
    text: observation,
    children: thought ? [{ name: "Thought", text: thought, written: true }] : [],
  }));
}

function candidateNode(candidate, samples, run) {
  const { rollout, critique } = candidate;
  const children = [];
  if (candidate.thought) children.push({ name: candidate.expert && !candidate.votes ? "The demonstration's thought" : "Thought of its first sample", text: candidate.thought, written: true });
  if (candidate.texts.length) {
    children.push({
      name: `Samples as written (${candidate.texts.length})`,
      children: candidate.texts.map((text, place) => ({ number: place + 1, name: "Sample", text, written: true })),
    });
  }
  if (rollout) {
    children.push({
      name: `Rollout, ${plural(rollout.turns.length, "step")}`,
      badges: [badgeOf(rollout.reward), [endedAs(rollout.ended)], ...(rollout.refused ? [[`${rollout.refused} refused`]] : []), [`${number(rollout.tokens)} tokens`]],
      row: { table: "rollouts", id: rollout.id, run },
      children: turnNodes(rollout.turns),
    });
  }
  if (critique) {
    const raw = critique.text.trim();
    children.push({
      name: "Critique",
      badges: critique.outcome === "ok" ? [] : [[critique.outcome, "lost"]],
      text: critique.critique || raw,
      written: true,
      row: { table: "critiques", id: critique.id, run },
      children: critique.critique && raw && !raw.endsWith(critique.critique.trim()) ? [{ name: "Reply as written", text: raw, written: true }] : [],
    });
  }
  return {
    name: candidate.action || "(no action)",
    action: true,
    badges: [
      [`${candidate.votes} of ${samples} votes`],
      ...(candidate.expert ? [["the expert's", "strong"]] : []),
      ...(rollout ? [badgeOf(rollout.reward)] : []),
    ],
    row: { table: "candidate_actions", id: candidate.id, run },
    children,
  };
}

function madeNode(made, run) {
  const raw = made.text.trim();
  const notes = [];
  if (made.outcome !== "ok") notes.push([made.outcome === "kept" ? "no deliberation was needed" : `kept its thought: ${made.outcome}`, made.outcome === "kept" ? "" : "lost"]);
  if (made.attempts > 1) notes.push([`second attempt, after ${made.first}`]);
  if (made.origin === "switched") notes.push(["switched"]);
  return {
    name: made.deliberated ? "Deliberation" : "Thought that is learnt",
    badges: notes,
    text: made.thought || "(none)",
    written: true,
    row: { table: "deliberation_trajectories", id: made.id, run },
    children: [
      { name: made.action, action: true, text: "The action that follows." },
      ...(raw && raw !== made.thought.trim() ? [{ name: "Reply as written", text: raw, written: true }] : []),
    ],
  };
}

function stepNodes(demonstration, run) {
  return demonstration.steps.map((step, place) => {
    const { candidates } = step;
    const samples = candidates.reduce((sum, each) => sum + each.votes, 0) + step.unparsed;
    const badges = [];
    if (step.deliberates) badges.push([plural(candidates.length, "candidate"), "strong"]);
    else if (step.deliberates === false) badges.push(["all samples agree"]);
    if (step.made.some((made) => made.deliberated)) badges.push(["deliberated", "strong"]);
    if (step.origin === "switched") badges.push(["switched"]);
    if (step.unparsed) badges.push([`${plural(step.unparsed, "sample")} without an action`]);
    return {
      number: place + 1,
      name: step.action,
      action: true,
      badges,
      text: step.observation,
      row: { table: "expert_trajectories", id: step.id, run },
      children: [
        ...(step.thought ? [{ name: "Thought before", text: step.thought, written: true }] : []),
        ...candidates.map((candidate) => candidateNode(candidate, samples, run)),
        ...step.made.map((made) => madeNode(made, run)),
      ],
    };
  });
}

function column(run, entry, about, nodes, row) {
  const [experiment, iteration, method] = run;
  const made = element("section", { class: "column", "aria-label": `${experiment} ${iteration}` },
    element("header", {},
      element("h4", {}, `${experiment} ${iteration}`, element("span", { class: "quiet" }, method), badge(badgeOf(entry.reward))),
      element("p", { class: "quiet" }, about)),
    tree(nodes, `${experiment} ${iteration}: steps`));
  made.row = row;
  return made;
}

const badge = ([text, kind]) => element("span", { class: `badge ${kind || ""}` }, text);

function episodeColumn(index, entry) {
  const run = index.runs[entry.run];
  const about = [endedAs(entry.ended), plural(entry.turns.length, "step"), `${entry.deliberations} deliberated`,
    `${entry.refused} refused`, ...(entry.unparsed ? [`${entry.unparsed} without an action`] : []), `${number(entry.tokens)} tokens`].join(" · ");
  return column(run, entry, about, turnNodes(entry.turns, entry.rewards), { table: "eval_episodes", id: entry.id, run });
}

function demonstrationColumn(index, entry) {
  const run = index.runs[entry.run];
  const some = entry.steps.filter((step) => step.deliberates).length;
  const about = [plural(entry.steps.length, "step"), some ? `${some} with candidates that differ` : "no candidates in this iteration",
    `${entry.steps.filter((step) => step.made.some((made) => made.deliberated)).length} deliberated`].join(" · ");
  return column(run, entry, about, stepNodes(entry, run), undefined);
}

// Which entries are shown at first: of the first experiment, the demonstration that was last deliberated over, or
// the first and the last episode. The others are one click away.
function shownFirst(index, entries) {
  const own = entries.filter((entry) => index.runs[entry.run][0] === index.runs[entries[0].run][0]);
  if (!own[0].steps) return [own[0], own.at(-1)];
  return [own.findLast((entry) => entry.steps.some((step) => step.candidates.length)) || own.at(-1)];
}

function sideBySide(index, entries, title, makeColumn) {
  const columns = element("div", { class: "columns" });
  const buttons = entries.map((entry, place) => {
    const [experiment, iteration] = index.runs[entry.run];
    const button = element("button", { type: "button", "aria-pressed": "false" }, `${experiment} ${iteration}`);
    const show = () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!pressed));
      if (pressed) return button.column.remove();
      button.column = makeColumn(index, entry);
      button.column.place = place;
      const next = [...columns.children].find((other) => other.place > place);
      columns.insertBefore(button.column, next || null);
    };
    button.addEventListener("click", show);
    button.show = () => { if (button.getAttribute("aria-pressed") === "false") show(); };
    button.entry = entry;
    return button;
  });
  const first = shownFirst(index, entries);
  for (const button of buttons) if (first.includes(button.entry)) button.show();
  const opening = (all, does) => {
    const button = element("button", { type: "button" }, all);
    button.addEventListener("click", () => {
      for (const root of columns.querySelectorAll("[role=tree]")) for (const one of root.children) does(one);
    });
    return button;
  };
  const made = element("section", {}, element("h3", {}, title),
    element("div", { class: "runs", role: "group", "aria-label": "Iterations to show" }, ...buttons,
      element("span", { class: "quiet" }, "·"), opening("open all steps", open), opening("close all", close)),
    columns);
  made.buttons = buttons;
  return made;
}

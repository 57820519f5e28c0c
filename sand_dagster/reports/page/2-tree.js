// A tree that is walked with the keyboard, as WAI-ARIA describes it. A node is
// {name, action?, number?, badges?, text?, written?, row?, children?}; its children are made when it is opened.
function tree(nodes, label) {
  const root = element("div", { role: "tree", "aria-label": label });
  for (const node of nodes) root.append(item(node, 1));
  const first = root.querySelector("[role=treeitem]");
  if (first) first.tabIndex = 0;
  root.addEventListener("keydown", walk);
  root.addEventListener("click", (event) => {
    const clicked = event.target.closest("[role=treeitem]");
    if (!clicked || window.getSelection().toString()) return;
    focusItem(clicked);
    if (event.target.closest(".line")) toggle(clicked);
  });
  root.addEventListener("focusin", (event) => {
    const focused = event.target.closest("[role=treeitem]");
    if (focused) showRow(rowOf(focused));
  });
  return root;
}

let lines = 0;

function item(node, level) {
  const opens = Boolean(node.children && node.children.length);
  const name = `line-${lines += 1}`; // what is read out is the line, without what hangs below it
  const made = element("div", { role: "treeitem", tabindex: -1, "aria-level": level, "aria-labelledby": name, "aria-expanded": opens ? "false" : null });
  made.node = node;
  const head = element("div", { class: "head" });
  head.append(element("span", { class: node.action ? "name action" : "name" }, node.name));
  for (const [text, kind] of node.badges || []) head.append(element("span", { class: `badge ${kind || ""}` }, text));
  const what = element("div", { class: "what" }, head);
  if (node.text) what.append(element("div", { class: node.written ? "text written" : "text" }, node.text));
  made.append(element("div", { class: "line", id: name }, element("span", { class: "sign", "aria-hidden": "true" }, opens ? "▶" : "·"),
    node.number === undefined ? null : element("span", { class: "number" }, String(node.number)), what));
  return made;
}

const opened = (one) => one.getAttribute("aria-expanded") === "true";
const closed = (one) => one.getAttribute("aria-expanded") === "false";
const group = (one) => one.querySelector(":scope > [role=group]");
const above = (one) => one.parentElement.closest("[role=treeitem]");

function open(one) {
  if (!closed(one)) return;
  if (!group(one)) {
    const level = Number(one.getAttribute("aria-level")) + 1;
    one.append(element("div", { role: "group" }, ...one.node.children.map((child) => item(child, level))));
  }
  group(one).hidden = false;
  one.setAttribute("aria-expanded", "true");
  one.querySelector(".sign").textContent = "▼";
}

function close(one) {
  if (!opened(one)) return;
  group(one).hidden = true;
  one.setAttribute("aria-expanded", "false");
  one.querySelector(".sign").textContent = "▶";
}

const toggle = (one) => (opened(one) ? close(one) : open(one));

// In the order in which they stand on the page; what is in a closed node is not among them.
function visible(root) {
  return [...root.querySelectorAll("[role=treeitem]")].filter((one) => !one.parentElement.closest("[role=group][hidden]"));
}

function focusItem(one) {
  const root = one.closest("[role=tree]");
  for (const other of root.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
  one.tabIndex = 0;
  one.focus();
  one.firstElementChild.scrollIntoView({ block: "nearest" });
}

function walk(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const one = event.target.closest("[role=treeitem]");
  if (!one) return;
  const all = visible(event.currentTarget);
  const place = all.indexOf(one);
  const moves = {
    ArrowDown: () => all[place + 1],
    ArrowUp: () => all[place - 1],
    Home: () => all[0],
    End: () => all.at(-1),
    ArrowRight: () => { if (opened(one)) return group(one).firstElementChild; open(one); },
    ArrowLeft: () => { if (opened(one)) close(one); else return above(one); },
    Enter: () => { toggle(one); },
    " ": () => { toggle(one); },
    "*": () => { for (const beside of one.parentElement.children) if (beside.matches("[role=treeitem]")) open(beside); },
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const next = moves[event.key]();
  if (next) focusItem(next);
}

// Open the way to the node that holds the row `id`; returns the node's item, or undefined.
function reveal(root, id) {
  const way = (items) => {
    for (const one of items) {
      if (one.node.row && one.node.row.id === id) return one;
      if (holds(one.node, id)) {
        open(one);
        return way(group(one).children);
      }
    }
    return undefined;
  };
  return way([...root.children]);
}

const holds = (node, id) => (node.children || []).some((child) => (child.row && child.row.id === id) || holds(child, id));

function rowOf(one) {
  for (let at = one; at; at = above(at)) if (at.node.row) return at.node.row;
  return one.closest(".column").row;
}

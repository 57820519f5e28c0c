"""The rows that a row was made from, or that were made from it, as a readable tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.markup import escape
from rich.tree import Tree

from sand_dagster.artifacts.lineage import Lineage, Links, Node
from sand_dagster.artifacts.schemas import TABLES

Direction = Literal["ancestors", "descendants"]

_LABELS: dict[str, Sequence[str]] = {
    "tasks": ("kind", "split"),
    "expert_import": ("verdict", "kept"),
    "expert_data": ("index", "action"),
    "base_model": ("source",),
    "expert_trajectories": ("index", "action", "origin"),
    "policy": ("role",),
    "candidate_actions": ("action", "votes", "is_expert"),
    "rollouts": ("reward", "ended"),
    "critiques": ("outcome", "critique"),
    "deliberation_trajectories": ("index", "action", "deliberated"),
    "explorations": ("reward", "ended"),
    "checkpoints": ("examples", "tokens"),
    "eval_episodes": ("split", "reward", "ended"),
    "search_episodes": ("mode", "split", "reward", "ended"),
    "search_scores": ("mode", "samples", "split", "average_reward"),
    "eval_scores": ("split", "tasks", "average_reward", "success_rate"),
}
"""The columns that show a person which row this is."""

_TEXT_WIDTH = 60
_COUNTED = 10_000
"""The header counts at most this many rows; above it, it says "at least"."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The rows that one column links to in one table: how many there are, and the first few of them."""

    column: str
    table: str
    total: int
    nodes: list[Family]


@dataclass(frozen=True, slots=True)
class Family:
    """A row with what it links to. `repeated`: it is shown elsewhere in the tree, with its branches."""

    node: Node
    labels: dict[str, Any]
    repeated: bool = False
    branches: list[Branch] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The tree as JSON values."""
        return {
            **self.node._asdict(),
            **self.labels,
            "repeated": self.repeated,
            "branches": [
                {
                    "column": b.column,
                    "table": b.table,
                    "total": b.total,
                    "rows": [n.as_json() for n in b.nodes],
                }
                for b in self.branches
            ],
        }


def family(lineage: Lineage, node: Node, direction: Direction = "ancestors", width: int = 3) -> Family:
    """The tree from `node` through all iterations, with at most `width` rows of each branch opened."""
    links: dict[Node, list[tuple[Links, list[Node]]]] = {}
    queue = [node]
    while queue:
        current = queue.pop()
        if current in links:
            continue
        links[current] = [(each, each.nodes(width)) for each in _sorted(lineage, current, direction)]
        queue.extend(end for _, ends in links[current] for end in ends)
    labels = lineage.values(list(links), _LABELS)
    opened: set[Node] = set()

    def open_up(current: Node) -> Family:
        if current in opened:
            return Family(current, labels[current], repeated=bool(links[current]))
        opened.add(current)
        branches = [
            Branch(each.column, each.part.table, len(each.rows), [open_up(end) for end in ends])
            for each, ends in links[current]
        ]
        return Family(current, labels[current], branches=branches)

    return open_up(node)


def _sorted(lineage: Lineage, node: Node, direction: Direction) -> list[Links]:
    """The links of `node`, the nearest stage first, so that a row is expanded under its nearest child."""
    found = lineage.up(node) if direction == "ancestors" else lineage.down(node)
    order = list(TABLES) if direction == "descendants" else list(reversed(TABLES))
    return sorted(
        found, key=lambda each: (order.index(each.part.table), each.part.iteration or "", each.column)
    )


def render(lineage: Lineage, tree: Family, direction: Direction = "ancestors") -> Tree:
    """`tree` for the terminal, under a line that counts all its rows."""
    counts, complete = lineage.counts(tree.node, up=direction == "ancestors", limit=_COUNTED)
    listed = ", ".join(f"{counts[table]} {table}" for table in TABLES if table in counts)
    root = Tree(_line(tree), guide_style="dim", highlight=False)
    least = "" if complete else "at least "
    root.add(f"[dim]{direction}: {least}{listed or 'none'}[/dim]")
    _grow(root, tree)
    return root


def _grow(tree: Tree, members: Family) -> set[Node]:
    """Add what `members` links to, and return all rows below it.

    A row also names its grandparents: a single row that is already further down is not drawn again.
    """
    drawn: set[Node] = set()
    for branch in members.branches:
        if branch.total == 1:
            only = branch.nodes[0]
            if only.node not in drawn:
                drawn |= {only.node, *_grow(tree.add(_line(only, branch.column)), only)}
            continue
        place = tree.add(f"[dim]{branch.column}:[/dim] {branch.total} {branch.table}")
        for member in branch.nodes:
            drawn |= {member.node, *_grow(place.add(_line(member)), member)}
        if branch.total > len(branch.nodes):
            place.add(f"[dim]… and {branch.total - len(branch.nodes)} more[/dim]")
    return drawn


def _line(members: Family, column: str = "") -> str:
    node = members.node
    place = f"{node.table}\\[{node.iteration}]" if node.iteration else node.table
    if node.experiment:
        place = f"{node.experiment}/{place}"
    if node.version:
        place += f" (earlier version {node.version})"
    details = "  ".join(
        f"{name} {_short(value)}" for name, value in members.labels.items() if value is not None
    )
    label = f"[dim]{column}:[/dim] " if column else ""
    above = " [dim](see above)[/dim]" if members.repeated else ""
    return f"{label}[bold]{place}[/bold] [cyan]{escape(node.id)}[/cyan]  {escape(details)}{above}"


def _short(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _TEXT_WIDTH else text[: _TEXT_WIDTH - 1] + "…"

"""What code a stage is made of: its modules with all that they import, prompts and templates among them.

A module counts as its syntax tree: comments, docstrings, formatting and the descriptions of fields change
nothing. So no version has to be raised by hand, and none can be forgotten.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OURS = ("sand_dagster", "alfworld_compiled")
"""The packages whose code counts. Of the package that an environment comes from it counts too; a change of
any other shows as another version of it."""

_DIGITS = 16

NOT_DECISIVE: Mapping[str, str] = {
    "sand_dagster.artifacts": "how rows are stored; their columns are part of the identity on their own",
    "sand_dagster.environments": "which environments there are",
    "sand_dagster.environments.keyboard": "a person at the keyboard",
    "sand_dagster.environments.pool": "which process plays what",
    "sand_dagster.environments.replay": "what `sand replay` says; no stage uses it",
    "sand_dagster.environments.worker": "how processes talk",
    "sand_dagster.environments.worker_process": "how processes talk",
    "sand_dagster.evaluation.played_with": "what the specs say, shown as text",
    "sand_dagster.evaluation.table1": "the paper's counts, shown beside ours",
    "sand_dagster.execution.child": "how processes talk",
    "sand_dagster.execution.parent": "how processes talk",
    "sand_dagster.execution.units": "in which order units run",
    "sand_dagster.execution.journal": "where finished units are kept",
    "sand_dagster.experiments.experiment": "the fields themselves are part of the identity",
    "sand_dagster.fingerprints": "how files are hashed",
    "sand_dagster.home": "where things lie",
    "sand_dagster.interfaces": "names and types",
    "sand_dagster.models.card_locks": "which process uses a GPU",
    "sand_dagster.models.cards": "which GPUs a machine has",
    "sand_dagster.models.driver": "what an engine's process is asked",
    "sand_dagster.models.endpoints": "which server is asked; a request carries its seed",
    "sand_dagster.models.engine_process": "how processes talk",
    "sand_dagster.models.engines": "when engines start and end",
    "sand_dagster.models.local_servers": "where a model is served",
    "sand_dagster.models.loop": "where coroutines run",
    "sand_dagster.models.model_folder": "where a model is; its content is an input",
    "sand_dagster.models.on_demand": "when an engine starts",
    "sand_dagster.models.packaged": "where a model is; its content is an input",
    "sand_dagster.models.parallel": "how a model is spread over GPUs",
    "sand_dagster.models.ray_serving": "where a model is served",
    "sand_dagster.models.replicas": "how requests are spread over engines",
    "sand_dagster.models.server_process": "how processes talk",
    "sand_dagster.models.server_programs": "where a model is served; its arguments are vllm_engine's",
    "sand_dagster.models.serving": "where a model is served",
    "sand_dagster.models.settings": "the fields themselves are part of the identity",
    "sand_dagster.models.shape": "the size of a model; its content is an input",
    "sand_dagster.models.smollm2": "where a model is; its content is an input",
    "sand_dagster.models.stats": "figures about the engine",
    "sand_dagster.rows.candidates": "the columns are part of the identity on their own",
    "sand_dagster.rows.evaluation": "the columns are part of the identity on their own",
    "sand_dagster.rows.experts": "the columns are part of the identity on their own",
    "sand_dagster.rows.explorations": "the columns are part of the identity on their own",
    "sand_dagster.rows.models": "the columns are part of the identity on their own",
    "sand_dagster.rows.plain": "how rows are stored",
    "sand_dagster.rows.row": "the columns are part of the identity on their own",
    "sand_dagster.rows.search": "the columns are part of the identity on their own",
    "sand_dagster.rows.steps": "the columns are part of the identity on their own",
    "sand_dagster.rows.tasks": "the columns are part of the identity on their own",
    "sand_dagster.sand.algorithm": "calls the steps in memory; no stage uses it",
    "sand_dagster.sand.settings": "the fields themselves are part of the identity",
    "sand_dagster.scratch": "where temporary files lie",
    "sand_dagster.training.launching": "how the training's processes are started",
    "sand_dagster.training.lease": "when a training ends without its run",
    "sand_dagster.training.memory": "what fits a machine; the precision is the same in all placements",
    "sand_dagster.training.orchestrator": "whom a training tells its progress",
    "sand_dagster.training.plots": "a picture",
    "sand_dagster.training.progress": "what is shown of a training",
    "sand_dagster.training.ray_nodes": "on which machines a training's processes are started",
    "sand_dagster.training.resuming": "where a training works",
    "sand_dagster.training.saving": "when a training saves its state",
    "sand_dagster.training.settings": "the fields themselves are part of the identity",
    "sand_dagster.training.trainer": "the frame around a training; its arguments are part of the identity",
}
"""Modules that a stage imports and that do not decide its rows, with the reason. Not followed further."""


@cache
def _folder(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None, f"{name} is no ordinary package"
    return Path(spec.origin).parent.parent if spec.submodule_search_locations else Path(spec.origin).parent


def code_of(
    modules: Iterable[str],
    files: Iterable[str] = (),
    *,
    follow: bool = True,
    roots: Mapping[str, Path] | None = None,
) -> dict[str, str]:
    """Hashes by path of what `modules` (full names) and `files` are made of.

    Args:
        modules: where to begin.
        files: prompts and templates, such as `sand_dagster/prompts/critique.txt`; a name may be a pattern.
        follow: whether what they import of the packages that count is part of it.
        roots: the folders that hold the packages, where these are not the installed ones.
    """
    waiting = list(modules)
    names = sorted({*OURS, *(name.partition(".")[0] for name in waiting)})
    code = _Code({name: _folder(name) for name in names} | dict(roots or {}))
    found: dict[str, str] = {}
    while waiting:
        path = code.path(waiting.pop())
        relative = code.relative(path)
        if relative in found:
            continue
        found[relative], imported = _examined(path, code)
        waiting += [name for name in imported if follow and name not in NOT_DECISIVE]
    for pattern in files:
        for path in sorted(code.root(pattern.partition("/")[0]).glob(pattern)):
            found[code.relative(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
    return dict(sorted(found.items()))


class _Code:
    """Where the modules of the packages `roots` lie."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)

    def __hash__(self) -> int:
        return hash(tuple(self._roots.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Code) and self._roots == other._roots

    def root(self, package: str) -> Path:
        return self._roots[package]

    def owns(self, module: str) -> bool:
        return module.partition(".")[0] in self._roots

    def path(self, module: str) -> Path:
        path = self.root(module.partition(".")[0]).joinpath(*module.split("."))
        file = path.with_name(f"{path.name}.py")
        return file if file.is_file() else path / "__init__.py"

    def is_module(self, name: str) -> bool:
        return self.owns(name) and self.path(name).is_file()

    def relative(self, path: Path) -> str:
        # A package may lie below the folder of another: the nearest one counts.
        return min(
            (str(path.relative_to(r)) for r in self._roots.values() if path.is_relative_to(r)), key=len
        )


@cache
def _examined(path: Path, code: _Code) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's syntax tree, and the modules of ours that it imports."""
    tree = _Essential().visit(ast.parse(path.read_text(encoding="utf-8")))
    imported = sorted(set(_imports(tree, code)))
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:_DIGITS], tuple(imported)


def _imports(tree: ast.AST, code: _Code) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name`: the name may be a module of its own.
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in below if code.is_module(name)]
            names = modules if len(modules) == len(below) else [node.module, *modules]
        else:
            continue
        yield from (name for name in names if code.is_module(name))


class _Essential(ast.NodeTransformer):
    """Leaves out what changes nothing: docstrings, descriptions of fields, imports for type checkers."""

    def visit(self, node: ast.AST) -> ast.AST:
        node = super().visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


def _is_text(node: ast.AST) -> bool:
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)

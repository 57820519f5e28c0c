"""Imports point downwards only."""

import ast
from pathlib import Path

import pytest

import alfworld_compiled
import sand_dagster

PACKAGE = Path(sand_dagster.__file__).parent
LAYERS = (
    {"cli"},
    {"bench", "reference"},
    {"audit", "downloads", "exports"},
    {"definitions"},
    {"jobs"},
    {"assets"},
    {"resources"},
    {"estimate", "moving_line", "reports"},
    {"evaluation"},
    {"experiments"},
    {"environments", "training"},
    {"models", "recordings", "artifacts"},
    {"sand"},
    {"execution", "fingerprints", "prompts"},
    {"files", "home", "interfaces", "rows", "scratch"},
    {"errors", "ids", "outcomes", "roles", "types", "verdicts"},
)
HEIGHT = {name: -depth for depth, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sand_dagster."):
            found.add(_part(node.module))
        elif isinstance(node, ast.Import):
            found |= {_part(name.name) for name in node.names if name.name.startswith("sand_dagster.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in HEIGHT, f"{own} is a new part of the package: give it a layer"
    for other in _imported(path) - {own}:
        below = HEIGHT[other] < HEIGHT[own]
        assert below, f"{path.relative_to(PACKAGE)} imports {other}, which is not below {own}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_toys_are_plug_ins(path: Path) -> None:
    """Only the benchmarks may import it by name; all other code finds it by its entry points."""
    if path.relative_to(PACKAGE).parts[0] != "bench":
        text = path.read_text()
        assert "toy_alfworld" not in text and "toy_scienceworld" not in text


def test_the_engine_knows_nothing_of_sand() -> None:
    for path in Path(alfworld_compiled.__file__).parent.rglob("*.py"):
        assert "sand_dagster" not in path.read_text(), path


FORBIDDEN = {
    "dagster",
    "vllm",
    "trl",
    "torch",
    "transformers",
    "alfworld",
    "textworld",
    "scienceworld",
    "duckdb",
}


@pytest.mark.parametrize("path", sorted((PACKAGE / "sand").glob("*.py")), ids=lambda path: path.stem)
def test_the_algorithm_knows_only_its_interfaces(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & FORBIDDEN


CLUSTER = {"ray", "dagster_ray", "dagster_k8s", "kubernetes"}
PROGRAMS_OF_RAY = {"training/ray_nodes.py"}
"""They run in processes of their own, and nothing imports them."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_of_a_cluster_is_imported_before_it_is_used(path: Path) -> None:
    """They are extras: the project works without."""
    if str(path.relative_to(PACKAGE)) in PROGRAMS_OF_RAY:
        return
    waiting, names = [ast.parse(path.read_text()).body], set[str]()
    while waiting:
        for node in waiting.pop():
            if isinstance(node, ast.Import):
                names |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {node.module or ""} | {f"{node.module}.{name.name}" for name in node.names}
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                waiting.append(list(ast.iter_child_nodes(node)))  # type: ignore[arg-type]
    assert not {name.partition(".")[0] for name in names} & CLUSTER
    programs = {
        f"sand_dagster.{program.removesuffix('.py').replace('/', '.')}" for program in PROGRAMS_OF_RAY
    }
    assert not names & programs

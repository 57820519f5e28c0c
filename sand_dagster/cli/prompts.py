"""Printing the prompts behind rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from sand_dagster.cli.errors import FAILED
from sand_dagster.cli.output import console, print_heading, print_json

if TYPE_CHECKING:
    from sand_dagster.artifacts.lineage import Lineage


def print_prompts(
    lineage: Lineage,
    table: str,
    iteration: str | None,
    ids: Sequence[str],
    turn: int | None,
    as_rendered: bool,
    as_json: bool,
) -> None:
    """The prompts behind the rows `ids`; for a row without a prompt, the reason.

    The exit code is 1 if one is not the prompt that was given.
    """
    from sand_dagster.audit.prompts import NoPrompt, prompt_of, rendered, text_of

    printed: list[dict[str, object]] = []
    wrong = False
    to = console()
    for id in ids:
        try:
            prompt = prompt_of(lineage, lineage.node(id, table, iteration), turn)
        except NoPrompt as none:
            if len(ids) == 1:
                raise
            printed.append({"id": id, "messages": [], "verdict": str(none)})
            if not as_json:
                print_heading(f"{table} {id}")
                to.print(str(none), markup=False, soft_wrap=True)
            continue
        wrong = wrong or bool(prompt.recorded and not prompt.agrees)
        text, tokens = rendered(prompt) if as_rendered else ("", 0)
        verdict = prompt.verdict()
        if as_rendered:
            same = "" if prompt.tokens is None else f", {prompt.tokens} recorded"
            verdict += f"; {tokens} tokens by the model's tokenizer{same}"
        about: dict[str, object] = {
            "recorded": prompt.recorded,
            "rebuilt": prompt.rebuilt,
            "agrees": prompt.agrees,
        }
        printed.append({"id": id, "messages": prompt.messages, "text": text, **about, "verdict": verdict})
        if as_json:
            continue
        print_heading(f"{table} {id}")
        if as_rendered:
            to.print(text, markup=False, soft_wrap=True)
        else:
            for role, content in text_of(prompt):
                to.print(f"[{role}]", style="dim", markup=False)
                to.print(content, markup=False, soft_wrap=True)
        print_heading(verdict)
    if as_json:
        print_json(printed)
    if wrong:
        raise typer.Exit(FAILED)

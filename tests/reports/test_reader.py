"""The page in a real browser, opened from a file: what a person does who reads episodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from sand_dagster.reports.writing import write_report_about
from tests.assets.pipeline import Pipeline
from tests.e2e.ui import browser_page
from tests.reports.conftest import MARKUP
from tests.reports.episodes import episode, subject, turn

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """A page on which any error of a script fails the test."""
    with browser_page() as opened:
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        yield opened
        assert not errors


def tasks(browser: Page) -> Locator:
    return browser.locator("#tasks a")


def focused(browser: Page) -> Locator:
    return browser.locator("[role=treeitem]:focus")


def line(browser: Page) -> Locator:
    """What is in focus, without what hangs below it."""
    return focused(browser).locator(":scope > .line")


def press(browser: Page, *keys: str) -> None:
    for key in keys:
        browser.keyboard.press(key)


def test_results_and_episodes_open_from_a_file(browser: Page, page: Path) -> None:
    browser.goto(page.as_uri())
    expect(browser.get_by_role("heading", name="Average reward by iteration and split")).to_be_visible()
    expect(browser.get_by_role("img", name="Average reward by iteration")).to_be_visible()
    browser.get_by_role("link", name="Episodes", exact=True).click()
    expect(tasks(browser)).to_have_count(3)
    expect(browser.locator("#count")).to_have_text("3 of 3 tasks")
    browser.get_by_role("link", name="Results", exact=True).click()
    expect(browser.locator("#reader-view")).to_be_hidden()


def test_filters_and_search(browser: Page, tmp_path: Path) -> None:
    lettuce = turn("take lettuce 1 from fridge 1", thought="Is it in the shed?")
    refused = turn("go to the moon", valid=False)
    first = [episode(1, lettuce), episode(2, refused, reward=1.0), episode(3, lettuce)]
    later = [episode(n, lettuce, reward=r, iteration="01") for n, r in ((1, 1.0), (2, 1.0), (3, 0.0))]
    written = write_report_about([subject(tmp_path, k00=first, k01=later)], tmp_path / "report", tmp_path)
    browser.goto(f"{written.as_uri()}#episodes")

    def shown() -> list[str]:
        return [text.split()[3] for text in tasks(browser).all_inner_texts()]

    def toggle(name: str) -> None:
        browser.get_by_role("button", name=name, exact=True).click()

    expect(tasks(browser)).to_have_count(3)
    for name, expected in (("won", ["1", "2"]), ("lost", ["1", "3"]), ("won and lost", ["1"])):
        toggle(name)
        assert shown() == expected
        toggle(name)
    toggle("refused")
    assert shown() == ["2"]
    browser.locator("#run").select_option(label="household 01 (SAND 1)")
    assert shown() == []
    browser.locator("#run").select_option("")
    toggle("refused")
    browser.locator("#search").fill("lettuce 3")
    expect(browser.locator("#count")).to_have_text("1 of 3 tasks")
    browser.locator("#search").fill("in the shed")
    expect(browser.locator("#count")).to_have_text("0 of 3 tasks")
    browser.locator("#everywhere").check()
    expect(browser.locator("#count")).to_have_text("3 of 3 tasks")
    browser.locator("#search").fill("the moon")
    expect(browser.locator("#count")).to_have_text("1 of 3 tasks")


def test_iterations_stand_side_by_side(browser: Page, page: Path, pipeline: Pipeline) -> None:
    task = pipeline.store.read("eval_episodes", "01").row(0, named=True)["task_id"]
    browser.goto(f"{page.as_uri()}#{task}")
    columns = browser.locator(".column")
    expect(columns).to_have_count(2)
    expect(columns.nth(0)).to_contain_text("small 00")
    expect(columns.nth(1)).to_contain_text("small 01")
    first, second = (columns.nth(n).bounding_box() for n in (0, 1))
    assert first and second and first["y"] == second["y"] and first["x"] < second["x"]
    browser.get_by_role("button", name="small 00", exact=True).click()
    expect(columns).to_have_count(1)


def test_the_tree_of_a_demonstration_is_walked_with_the_keyboard(
    browser: Page, page: Path, pipeline: Pipeline
) -> None:
    rows = pipeline.store.read("candidate_actions", "01").filter("deliberates")
    step_id = rows.row(0, named=True)["step_id"]
    candidates = rows.filter(rows["step_id"] == step_id).rows(named=True)
    browser.goto(f"{page.as_uri()}#{step_id}")
    expect(focused(browser)).to_have_attribute("aria-level", "1")
    expect(focused(browser)).to_have_attribute("aria-expanded", "false")
    press(browser, "ArrowRight")
    expect(focused(browser)).to_have_attribute("aria-expanded", "true")
    press(browser, "ArrowRight", "ArrowDown")  # past the thought, to the first candidate
    expect(line(browser)).to_contain_text(candidates[0]["action"])
    expect(line(browser)).to_contain_text("votes")
    expect(browser.locator("#row")).to_contain_text(f"--where {candidates[0]['candidate_id']}")

    press(browser, "ArrowRight")
    while "Rollout," not in line(browser).inner_text():
        press(browser, "ArrowDown")
    rollouts = pipeline.store.read("rollouts", "01").filter(candidate_id=candidates[0]["candidate_id"])
    turns = rollouts["steps"][0]
    press(browser, "ArrowRight", "ArrowRight")
    expect(focused(browser)).to_have_attribute("aria-level", "4")
    expect(line(browser)).to_contain_text(turns[0]["action"])
    assert focused(browser).locator("xpath=../*[@role='treeitem']").count() == len(turns)
    press(browser, "ArrowLeft")
    expect(line(browser)).to_contain_text("Rollout,")
    press(browser, "ArrowLeft")
    expect(focused(browser)).to_have_attribute("aria-expanded", "false")
    press(browser, "ArrowLeft", "ArrowLeft", "ArrowLeft")
    expect(focused(browser)).to_have_attribute("aria-level", "1")
    press(browser, "*")
    assert browser.locator(".column [aria-level='1'][aria-expanded=false]").count() == 0
    press(browser, "End")
    expect(focused(browser)).to_have_count(1)
    press(browser, "Home", "Tab")
    expect(focused(browser)).to_have_count(0)  # one stop of the Tab key, not one for each item
    style = browser.locator("[role=treeitem]").first.evaluate(
        "one => { one.focus(); return getComputedStyle(one.querySelector('.line')).backgroundColor }"
    )
    assert style != "rgba(0, 0, 0, 0)"


def test_a_link_to_one_row_opens_it_whole(browser: Page, page: Path, pipeline: Pipeline) -> None:
    critique = pipeline.store.read("critiques", "01").row(-1, named=True)
    browser.goto(f"{page.as_uri()}#{critique['critique_id']}")
    expect(browser.locator(".found")).to_have_count(1)
    expect(browser.locator(".found")).to_be_in_viewport()
    assert critique["critique"] in browser.locator(".found .text").first.inner_text()
    command = f"sand lineage trace {critique['critique_id']} --experiment small"
    expect(browser.locator("#row code").last).to_have_text(command)
    browser.get_by_role("button", name=f"Copy: {command}").click()
    expect(browser.get_by_role("button", name=f"Copy: {command}")).to_have_text(re.compile("copied|selected"))

    made = pipeline.store.read("deliberation_trajectories", "01").filter("deliberated").row(0, named=True)
    browser.evaluate("id => { location.hash = id }", made["step_id"])
    expect(browser.locator(".found")).to_contain_text("Deliberation")
    browser.evaluate("location.hash = 'ffffffffffffffff'")
    expect(browser.locator("#task")).to_have_text("This report has no task and no row ffffffffffffffff.")


def test_what_a_model_wrote_is_shown_and_not_executed(browser: Page, page: Path, pipeline: Pipeline) -> None:
    episode_row = pipeline.store.read("eval_episodes", "01").row(0, named=True)
    browser.goto(f"{page.as_uri()}#{episode_row['episode_id']}")
    browser.get_by_role("button", name="open all steps").last.click()
    expect(browser.locator(".written").first).to_contain_text(MARKUP)
    assert browser.locator("#task img, #task script").count() == 0
    assert browser.title() == "SAND: small"


def test_nothing_is_wider_than_its_column(browser: Page, tmp_path: Path) -> None:
    word = "x" * 3000
    rows = [episode(1, turn(word, thought=word))]
    written = write_report_about([subject(tmp_path, k00=rows)], tmp_path / "report", tmp_path)
    browser.goto(f"{written.as_uri()}#{rows[0].episode_id}")
    press(browser, "ArrowRight")
    assert browser.locator(".column").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert word in browser.locator(".written").first.inner_text()


@pytest.mark.slow
def test_of_10000_episodes_only_what_is_seen_is_loaded(browser: Page, tmp_path: Path) -> None:
    turns = [turn(f"go to cabinet {n}", thought="I think of it. " * 20) for n in range(20)]
    about = subject(
        tmp_path,
        **{f"k0{k}": [episode(n, *turns, iteration=f"0{k}") for n in range(5000)] for k in (0, 1)},
    )
    written = write_report_about([about], tmp_path / "report", tmp_path)
    asked: list[str] = []
    browser.on("request", lambda request: asked.append(request.url))
    browser.goto(f"{written.as_uri()}#episodes")
    expect(browser.locator("#count")).to_have_text("5,000 of 5,000 tasks")
    expect(tasks(browser).first).to_be_visible()
    assert tasks(browser).count() == 200
    assert len(asked) < 10 < len(list(written.parent.rglob("*.js"))) / 20

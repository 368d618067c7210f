"""The page in a real Chromium, opened from disk: it is used as a reader would, by mouse, keyboard and screen reader.

Needs Debian's `chromium` and `chromium-driver`; axe-core finds what would shut people out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from harness.report.findings import long_frame
from harness.report.tables import csv
from harness.score.scoring import score_all
from harness.store.results import read_manifests
from tests.chromium import started
from tests.report.pages import PLANTED, ROWS, make_page, make_results

pytestmark = pytest.mark.browser
WIDE, PHONE = (1400, 900), (390, 844)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a folder of rows and its CSV file, and the same page as a single file in `single`."""
    results = make_results(tmp_path_factory.mktemp("results"))
    out = tmp_path_factory.mktemp("reports")
    make_page(results, out)
    make_page(results, out / "single", single_file=True)
    frame = long_frame(score_all(results, read_manifests(results), print))
    (out / "leaderboard.csv").write_text(csv(frame[frame["kind"] == "benchmark"]), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Browser:
    """One page in the browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, path: Path, *, size: tuple[int, int] = WIDE, dark: bool = False) -> None:
        """Open a page from disk afresh, as on a screen of this size."""
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get(path.as_uri())

    def go(self, route: str) -> None:
        """Follow a link to a view, and wait for the rows of a task."""
        self.driver.execute_script("location.hash = arguments[0]", route)
        if route:
            self.until(lambda: "Loading" not in self.one(".view:not([hidden]) .count").text)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def choose(self, name: str, text: str) -> None:
        Select(self.one(f".view:not([hidden]) form.rows [name={name}]")).select_by_visible_text(text)

    @property
    def rows(self) -> list[WebElement]:
        return self.all(".view:not([hidden]) .row")

    def count(self) -> int:
        """How many rows the row browser says it found."""
        return int(self.one(".view:not([hidden]) .count").text.split(" of ")[0])

    def until(self, done: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 20
        while not (found := done()):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)
        return found

    def column(self, table: str, cell: str) -> list[str]:
        return [element.text for element in self.all(f"{table} tbody tr:not([hidden]) {cell}")]

    def grave(self) -> list[tuple[str, str, list[str]]]:
        """What axe-core calls serious or critical in the view shown."""
        found = Axe().run(self.driver)["violations"]
        return [
            (one["id"], one["help"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture
def browser(chromium: webdriver.Chrome, folder: Path) -> Iterator[Browser]:
    """The page, wide and light; a test fails where the console shows an error."""
    page = Browser(chromium)
    page.show(folder / "index.html")
    chromium.get_log("browser")
    yield page
    assert chromium.get_log("browser") == []


def test_sorting_orders_the_tasks_by_the_column_clicked_and_then_the_other_way(browser: Browser) -> None:
    header = browser.one("#board-benchmark thead th[data-model=gpt]")
    for order, sign in (("descending", -1), ("ascending", 1)):
        header.find_element(By.TAG_NAME, "button").click()
        assert header.get_attribute("aria-sort") == order
        cells = browser.all("#board-benchmark tbody td[data-model=gpt]")
        values = [sign * float(cell.get_attribute("data-value") or "nan") for cell in cells]
        assert values == sorted(values)
    browser.one("#board-benchmark thead th:first-child button").send_keys(Keys.ENTER)
    assert browser.one("#board-benchmark thead th:first-child").get_attribute("aria-sort") == "ascending"
    assert header.get_attribute("aria-sort") is None


def test_every_score_shown_is_that_of_leaderboard_csv(browser: Browser, folder: Path) -> None:
    """The text that a reader sees on the leaderboard and in each task's table, against the file beside the page."""
    table = pd.read_csv(folder / "leaderboard.csv")
    rows = {(r.task, r.model, r.metric): r for r in table.itertuples()}
    for task in browser.column("#board-benchmark", "th a"):
        line = browser.one(f"#board-benchmark tr:has(a[href='#task/{task}/benchmark'])")
        metric = line.find_element(By.CSS_SELECTOR, "th .sub").text
        for cell in line.find_elements(By.CSS_SELECTOR, "td[data-model]"):
            expected = rows[task, cell.get_attribute("data-model"), metric]
            assert f"{expected.score:.3f}" in cell.text
    for task in set(table["task"]):
        browser.go(f"#task/{task}/benchmark")
        view = browser.one(f"#task-{task}-benchmark")
        head, *lines = view.find_element(By.CSS_SELECTOR, "table.sorted").find_elements(By.TAG_NAME, "tr")
        metrics = [cell.text for cell in head.find_elements(By.TAG_NAME, "th")]
        for line in lines:
            model = line.find_element(By.TAG_NAME, "th").text.split()[0]
            cells = dict(zip(metrics[1:], [one.text for one in line.find_elements(By.TAG_NAME, "td")], strict=True))
            for metric in {name for of, name, _ in ((t, m, k) for t, k, m in rows) if of == task}:
                expected = rows[task, model, metric]
                score = f"{expected.score:.3f} [{expected.low:.3f}, {expected.high:.3f}]"
                rests_on = "" if pd.isna(expected.rests_on) else f" ({expected.rests_on})"
                assert " ".join(cells[metric].split()).endswith(score + rests_on)
            assert cells["n"] == f"{rows[task, model, metric].n:,}"


def test_filters_hide_categories_and_models(browser: Browser) -> None:
    form = browser.one("form[data-board=benchmark]")
    Select(form.find_element(By.NAME, "category")).select_by_visible_text("classification")
    assert browser.column("#board-benchmark", "th a") == ["colours"]
    form.find_element(By.TAG_NAME, "summary").click()
    form.find_element(By.CSS_SELECTOR, "input[value=gpt]").click()
    assert not browser.one("#board-benchmark th[data-model=gpt]").is_displayed()
    assert browser.one("#board-benchmark th[data-model=tuned]").is_displayed()
    assert form.find_element(By.TAG_NAME, "output").text == "1 task, 4 models shown"


def test_the_two_models_chosen_change_the_page_and_stand_in_its_address(browser: Browser, folder: Path) -> None:
    section = browser.one("section[data-kind=benchmark]")
    assert section.find_element(By.CLASS_NAME, "verdict").text.startswith("tuned and gpt are separable on 0 of 2")
    Select(browser.one("[data-pick=against]")).select_by_visible_text("plain")
    assert section.find_element(By.CLASS_NAME, "verdict").text.startswith("tuned beats plain on 2 of 2 tasks")
    lines = browser.all("section[data-kind=benchmark] .models tbody tr")
    assert next(line.text for line in lines if line.text.startswith("plain")).count("reference") == 1
    assert "▲" in browser.one("#board-benchmark tbody td[data-model=gpt]").text
    browser.one("#board-benchmark thead th[data-model=gpt] button").click()
    address = browser.driver.current_url
    assert address.endswith("#?against=plain&sort=-gpt")
    browser.show(folder / "index.html")
    browser.driver.get(address)
    assert browser.one(".verdict").text.startswith("tuned beats plain on 2 of 2 tasks")
    assert browser.one("#board-benchmark th[data-model=gpt]").get_attribute("aria-sort") == "descending"
    browser.go("#task/colours/benchmark")
    assert browser.one("#task-colours-benchmark [data-swap=task] summary").text == "Against plain"
    Select(browser.one("#task-colours-benchmark [name=show]")).select_by_visible_text("A right, B wrong")
    browser.one("#task-colours-benchmark [name=text]").send_keys("41")
    browser.until(lambda: browser.count() == 1)
    browser.rows[0].find_element(By.TAG_NAME, "summary").click()
    browser.until(lambda: browser.rows[0].get_attribute("data-row") in browser.driver.current_url)
    address = browser.driver.current_url
    browser.show(folder / "index.html")
    browser.driver.get(address)
    browser.until(lambda: browser.all(".row[open] pre"))
    assert browser.count() == 1


def test_on_a_phone_won_lost_and_usd_are_seen_without_scrolling(browser: Browser, folder: Path) -> None:
    browser.show(folder / "index.html", size=PHONE)
    for selector in (".results .won", ".results .lost", ".versus b"):
        place = browser.one(f"section[data-kind=benchmark] {selector}").rect
        assert place["y"] + place["height"] < PHONE[1]
        assert 0 <= place["x"] <= place["x"] + place["width"] <= PHONE[0]


def test_from_the_leaderboard_to_a_task_and_back_with_the_keyboard(browser: Browser) -> None:
    browser.one("#board-benchmark a[href='#task/colours/benchmark']").send_keys(Keys.ENTER)
    view = browser.until(lambda: browser.one("#task-colours-benchmark"))
    browser.until(view.is_displayed)
    assert browser.driver.switch_to.active_element.text.startswith("Colours")
    assert browser.driver.title == "colours · Leaderboard"
    assert not browser.one("#overview").is_displayed()
    browser.driver.back()
    browser.until(browser.one("#overview").is_displayed)
    assert browser.driver.title == "Leaderboard"


def test_a_right_b_wrong_shows_these_rows_and_no_others(browser: Browser) -> None:
    browser.go("#task/colours/benchmark")
    assert browser.count() == ROWS
    assert len(browser.rows) == 25
    browser.choose("a", "tuned")
    browser.choose("b", "gpt")
    browser.choose("show", "A right, B wrong")
    # gpt is wrong on every third row; of these 20, tuned is wrong on 0 and 30 and answers row 3 with markup.
    browser.until(lambda: browser.count() == 17)
    for row in browser.rows:
        tuned, gpt = row.find_elements(By.CSS_SELECTOR, "summary .cell")[-2:]
        assert "✓" in tuned.text
        assert "✗" in gpt.text
    browser.choose("show", "B right, A wrong")
    browser.until(lambda: browser.count() == 5)
    browser.choose("show", "all rows")
    browser.choose("status", "failed")
    browser.until(lambda: browser.count() == 1)
    assert "no recorded answer for row" in browser.rows[0].text


def test_search_finds_text_in_prompts_and_answers(browser: Browser) -> None:
    browser.go("#task/stories/benchmark")
    browser.one("#task-stories-benchmark [name=text]").send_keys("THING number 41")
    browser.until(lambda: browser.count() == 1)
    assert "thing number 41" in browser.rows[0].text


def test_texts_are_compared_by_their_scores(browser: Browser) -> None:
    browser.go("#task/stories/benchmark")
    browser.choose("a", "tuned")
    browser.choose("b", "plain")
    browser.choose("show", "A scores higher")
    assert 0 < browser.count() < ROWS
    for row in browser.rows:
        high, low = (float(cell.text) for cell in row.find_elements(By.CSS_SELECTOR, "summary .cell .num"))
        assert high > low


def test_an_open_row_shows_prompt_reference_and_every_models_answer(browser: Browser) -> None:
    browser.go("#task/colours/benchmark")
    row = browser.rows[0]
    row.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    browser.until(lambda: row.find_elements(By.TAG_NAME, "pre"))
    prompt, reference = (pre.text for pre in row.find_elements(By.TAG_NAME, "pre"))
    assert prompt.startswith("Which colour has thing number ")
    assert prompt.endswith("Answer red, green or blue.")
    assert reference in ("red", "green", "blue")
    assert [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "tbody th")] == [
        "gpt", "majority", "plain", "tfidf", "tuned",
    ]  # fmt: skip
    route = row.find_element(By.CSS_SELECTOR, "p.small a").get_attribute("href")
    browser.show(Path(browser.driver.current_url.removeprefix("file://").split("#")[0]))
    browser.driver.get(route or "")
    opened = browser.until(lambda: browser.all(".row[open] pre"))
    assert opened[0].text == prompt


def test_paging_goes_through_all_rows_once(browser: Browser) -> None:
    browser.go("#task/colours/benchmark")
    seen: list[str | None] = []
    following = browser.one("#task-colours-benchmark .pages button[data-step='1']")
    while True:
        seen += [row.get_attribute("data-row") for row in browser.rows]
        if not following.is_enabled():
            break
        following.click()
    assert len(seen) == len(set(seen)) == ROWS


def test_planted_markup_is_shown_and_never_run(browser: Browser) -> None:
    browser.go("#task/colours/benchmark")
    browser.one("#task-colours-benchmark [name=text]").send_keys("window.planted")
    browser.until(lambda: browser.count() == 2)
    for row in browser.rows:
        row.find_element(By.TAG_NAME, "summary").click()
        browser.until(lambda row=row: row.find_elements(By.TAG_NAME, "pre"))
    prompts = [row.find_element(By.TAG_NAME, "pre").text for row in browser.rows]
    answers = [cell.text for cell in browser.all("#task-colours-benchmark .row td.text")]
    assert sum(PLANTED in prompt for prompt in prompts) == 1
    assert answers.count(PLANTED) == 1
    browser.one("#task-colours-benchmark [name=text]").clear()
    browser.choose("status", "failed")
    browser.until(lambda: browser.count() == 1)
    browser.rows[0].find_element(By.TAG_NAME, "summary").click()
    browser.until(lambda: "<img src=x onerror=alert(1)>" in browser.rows[0].text)
    assert browser.driver.execute_script("return window.planted === undefined && !document.querySelector('img')")


def test_labels_have_a_report_and_a_confusion_matrix(browser: Browser) -> None:
    browser.go("#task/colours/benchmark")
    Select(browser.one("#task-colours-benchmark [data-class-model]")).select_by_visible_text("gpt")
    counts = [int(cell.text) for cell in browser.all("#task-colours-benchmark .confusion td")]
    hits = [int(cell.text) for cell in browser.all("#task-colours-benchmark .confusion .hit")]
    assert (sum(counts), sum(hits)) == (60, 40)


def test_break_even_follows_the_price_of_the_server(browser: Browser) -> None:
    box = browser.one("[data-rate]")
    box.clear()
    box.send_keys("1.8")
    cells = {row.text.split()[0]: row.text.split()[-1] for row in browser.all(".breakeven tbody tr")[:2]}
    assert cells["gpt"] == "2,000"


def test_one_file_works_alone(browser: Browser, folder: Path) -> None:
    browser.show(folder / "single" / "index.html")
    browser.go("#task/small/sample")
    assert browser.count() == 21


def test_a_missing_file_of_rows_is_told(chromium: webdriver.Chrome, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes((folder / "index.html").read_bytes())
    page = Browser(chromium)
    page.show(tmp_path / "index.html")
    page.go("#task/small/sample")
    assert "data/small-sample.js is not beside this page" in page.one("#task-small-sample .count").text
    chromium.get_log("browser")  # Chromium itself reports the file


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nobody_is_shut_out(browser: Browser, folder: Path, size: tuple[int, int], dark: bool) -> None:
    browser.show(folder / "index.html", size=size, dark=dark)
    for details in browser.all("#overview details"):
        browser.driver.execute_script("arguments[0].open = true", details)
    assert browser.grave() == []
    browser.go("#task/colours/benchmark")
    browser.rows[0].find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert browser.grave() == []


@pytest.mark.parametrize("route", ["", "#task/colours/benchmark", "#task/small/sample"])
def test_a_phone_never_scrolls_sideways_but_inside_tables(browser: Browser, folder: Path, route: str) -> None:
    browser.show(folder / "index.html", size=PHONE)
    browser.go(route)
    assert browser.driver.execute_script("return document.documentElement.scrollWidth") == PHONE[0]

"""The page of `harness demo` in a real Chromium: what it shows, what it never runs, and that it asks nobody outside."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.chromium import requested
from tests.chromium import started as chromium_started
from tests.loopback import FAULTS, Loopback
from tests.serve import contest
from tests.serve.test_demo import started

pytestmark = pytest.mark.browser


class Trap(socketserver.ThreadingTCPServer):
    """Stands for the proxy to the world outside, and keeps the first line of all that is sent there."""

    daemon_threads = True

    def __init__(self) -> None:
        self.caught: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Catch)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Catch(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.server.caught.append(self.rfile.readline())  # type: ignore[attr-defined]


class Page:
    """The page in the browser."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver, self.url = driver, url

    def show(self, width: int = 1280) -> None:
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.get(self.url)
        self.until(lambda: self.text("Prompt"))

    def boxes(self, label: str) -> list[WebElement]:
        """The text boxes and lists of a label that are shown, from left to right."""
        path = f"//label[.//span[normalize-space()='{label}']]//textarea | //input[@aria-label='{label}']"
        return [one for one in self.driver.find_elements(By.XPATH, path) if one.is_displayed()]

    def text(self, label: str, place: int = 0) -> str:
        found = self.boxes(label)
        return str(found[place].get_property("value")) if len(found) > place else ""

    def write(self, label: str, text: str) -> None:
        (box,) = self.boxes(label)
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text)

    def choose(self, label: str, part: str) -> None:
        """Choose what holds this text in a list."""
        self.boxes(label)[0].click()
        options = self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, "[role=option]"))
        next(one for one in options if part in one.text).click()

    def click(self, text: str) -> None:
        path = f"//button[normalize-space()='{text}'] | //label[normalize-space()='{text}']//input"
        (found,) = self.driver.find_elements(By.XPATH, path)
        self.driver.execute_script("arguments[0].click()", found)

    def until(self, done: Callable[[], object], seconds: float = 60) -> object:
        end = time.monotonic() + seconds
        while not (found := done()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        running.answer = lambda prompt: contest.PLANTED
        yield running


@pytest.fixture(scope="module")
def folder(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("demo")
    contest.write(made, server)
    entries = json.loads((made / "models.yaml").read_text())
    entries["free"] = {**entries["served"], "price": {"input": 0, "output": 0}}
    (made / "models.yaml").write_text(json.dumps(entries))
    (made / "reports").mkdir()
    (made / "reports" / "index.html").write_text("<title>Leaderboard</title>")
    return made


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    with Trap() as running:
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def page(folder: Path, trap: Trap, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    proxies = {"http_proxy": trap.url, "https_proxy": trap.url, "all_proxy": trap.url, "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-m", "harness", "demo", "--port", "0"]
    with (
        started(command, folder, **proxies) as (process, address),
        chromium_started(tmp_path_factory.mktemp("profile")) as driver,
    ):
        yield Page(driver, address)
        process.terminate()
        out, error = process.communicate(timeout=60)
        assert (out, error) == ("", "")


def test_models_answer_side_by_side_as_plain_text_and_nothing_leaves_the_machine(page: Page, trap: Trap) -> None:
    page.show()
    page.choose("Example", "<img src=x")
    page.until(lambda: contest.PLANTED in page.text("Prompt"))
    page.click("Ask")
    page.until(lambda: all(page.text("Verdict", place) for place in range(3)))
    assert page.text("free") == contest.PLANTED
    assert page.text("Verdict", 2) == f"{'right' if page.text('Right answer') == 'red' else 'wrong'} by accuracy"
    assert "no cost" in page.text("Time, tokens, cost", 2)
    assert page.driver.find_elements(By.CSS_SELECTOR, "img, strong, a[href^=javascript]") == []
    assert page.driver.execute_script("return window.planted") is None
    assert contest.KEY not in page.driver.page_source
    asked = requested(page.driver, page.url)
    assert len(asked) > 10
    assert {address for address in asked if not address.startswith((page.url, "data:", "blob:"))} == set()
    assert trap.caught == []
    assert [line for line in page.driver.get_log("browser") if line["level"] == "SEVERE"] == []


def test_a_model_with_a_price_is_asked_only_where_it_is_chosen(page: Page, server: Loopback) -> None:
    page.show()
    assert page.boxes("served") == []
    page.click("served")
    page.until(lambda: page.boxes("served"))
    page.click("Ask")
    page.until(lambda: "USD" in page.text("Time, tokens, cost", 2))
    assert page.text("served") == contest.PLANTED


def test_a_prompt_of_ones_own_is_scored_by_the_right_answer_that_is_written(page: Page, server: Loopback) -> None:
    page.show()
    page.write("Prompt", "Which colour has the sky?")
    page.click("Ask")
    page.until(lambda: page.text("Verdict", 2))
    assert page.text("Verdict", 2) == "not scored: there is no right answer to compare it with"
    assert page.text("Rows") == "your own prompt or right answer"
    assert server.asked["Which colour has the sky?"] == 1
    page.write("Right answer", "blue")
    page.click("Ask")
    page.until(lambda: page.text("Verdict", 2) == "wrong by accuracy")
    page.write("Prompt", " ")
    page.click("Ask")
    page.until(lambda: page.text("Rows") == "the prompt is empty")


def test_who_leaves_the_page_ends_the_requests_and_others_are_answered(page: Page, server: Loopback) -> None:
    page.show()
    server.plan = lambda prompt, attempt: FAULTS["hang"] if "never" in prompt else None
    page.write("Prompt", "Which colour has what never comes?")
    page.click("Ask")
    page.until(lambda: server._in_flight == 1)
    page.show()
    page.until(lambda: server._in_flight == 0)
    page.click("Ask")
    page.until(lambda: page.text("free") == contest.PLANTED)


def test_another_task_has_its_own_examples_and_models(page: Page) -> None:
    page.show()
    page.choose("Task", "stories")
    page.until(lambda: page.text("Prompt").startswith("Tell of"))
    page.until(lambda: not page.boxes("tuned"))
    assert page.boxes("tiny")


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Page) -> None:
    page.show(390)
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    left = {box.location["x"] for label in ("tiny", "tuned", "free") for box in page.boxes(label)}
    assert len(left) == 1


def test_the_report_is_one_click_away(page: Page) -> None:
    page.show()
    link = page.driver.find_element(By.LINK_TEXT, "Leaderboard")
    page.driver.get(str(link.get_attribute("href")))
    assert page.driver.title == "Leaderboard"

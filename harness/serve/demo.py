"""`harness demo`: a page on which models answer side by side, on a row of a task or on a prompt of one's own.

The page is Gradio's, and loads nothing from elsewhere. All that a model says is shown in text boxes, as plain text.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from harness.ask.prepare import prepare_rows
from harness.errors import UserError
from harness.models.connect import Connections
from harness.models.entry import ModelEntry, load_models
from harness.models.http import Transport
from harness.models.passthrough import LOCAL, LOOPBACK, Front
from harness.models.ping import REACHED, ping
from harness.models.prices import price_of
from harness.report.words import shortened
from harness.rows.evaluation import EvaluationRow
from harness.rows.origin import locate
from harness.serve.choice import SERVED, Chosen, choose
from harness.serve.server import ServeOptions, Server
from harness.serve.side_by_side import ShownModel, candidates, right_answer, side_by_side, written_row
from harness.shipped import TaskFolders
from harness.tasks.catalog import TaskFile, load_task, task_names
from harness.tasks.pruning import frame
from harness.teach.proxy import stopped_by_signals

MOST_EXAMPLES = 50
LONGEST_PROMPT, LONGEST_ANSWER = 20_000, 2_000
"""Characters that may be sent."""
MOST_WAITING = 32
"""Requests; further ones are refused."""
SLOTS, CONTEXT = 2, 2048
"""Of llama.cpp: one request is answered at a time, and tasks with long prompts are to fit."""
REPORT = "/report"
_CSS = """
.gradio-container {max-width: 1280px !important}
textarea {overflow-wrap: anywhere}
input[role=combobox] {text-overflow: ellipsis; padding-right: 2.5rem !important}
"""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a user asks of `harness demo`. `port` 0 is any that is free."""

    models_file: Path
    models: Sequence[str] = ()
    tasks: Sequence[str] = ()
    tasks_folder: TaskFolders = None
    data: str = "sample"
    report: Path = Path("reports")
    host: str = LOOPBACK
    port: int = 7860


def gradio() -> Any:
    """Import Gradio, which then tells nobody that it is used.

    Raises:
        UserError: it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio as found
    except ImportError as error:
        raise UserError(f"{error}; install the extra: pip install 'lora-leaderboard[demo]'") from None
    return found


async def demo(options: DemoOptions, say: Callable[[str], None], stop: asyncio.Event | None = None) -> None:
    """Show the page until `stop` is set, by default by SIGINT or SIGTERM. `say` is told its address.

    Raises:
        UserError: Gradio is not installed, a model, a task or the port cannot be used, or no model can be reached.
    """
    gradio()
    tasks = [load_task(options.tasks_folder, name).name for name in options.tasks or task_names(options.tasks_folder)]
    if options.data != "sample":
        locate(load_task(options.tasks_folder, tasks[0]), options.data, strict=False)
    entries = await reachable(options, say)
    chosen = choose(options.models_file, [entry.name for entry in entries], None, tasks)
    with _bound(options.host, options.port) as bound:
        async with AsyncExitStack() as stack:
            served = ServeOptions(options.models_file, slots=SLOTS, context=CONTEXT, max_queue=MOST_WAITING)
            server = Server(served, None)
            await server.open(chosen, stack, say)
            front = await stack.enter_async_context(Front(server.answer, 0))
            transport = await stack.enter_async_context(Transport(direct=True))
            app = Page(options, tasks, entries, chosen, front.url, transport).app()
            host, port = bound.getsockname()[:2]
            say(f"http://{host}:{port} shows {', '.join(entry.name for entry in entries)}; Ctrl-C stops it")
            await _show(app, bound, stop or stopped_by_signals())


def _bound(host: str, port: int) -> socket.socket:
    """Take the port before models are loaded.

    Raises:
        UserError: it is taken, or not allowed.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen()
    except OSError as error:
        found.close()
        raise UserError(f"port {port}: {error.strerror}; choose another with --port") from None
    return found


async def _show(app: Any, bound: socket.socket, stop: asyncio.Event) -> None:
    """Answer browsers until it is to stop; pages that are still open have a second to be told."""
    import uvicorn

    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)

    async def end() -> None:
        await stop.wait()
        running.should_exit = True

    ending = asyncio.create_task(end())
    await running.serve(sockets=[bound])
    ending.cancel()


async def reachable(options: DemoOptions, say: Callable[[str], None]) -> list[ModelEntry]:
    """Return the models that can be asked now: those named, else all of the file. `say` is told which cannot and why.

    Raises:
        UserError: one that is named does not exist, or none can be asked.
    """
    entries = load_models(options.models_file, options.models, os.environ)
    if not options.models:
        entries = [entry for entry in entries if entry.ready and isinstance(entry.model, SERVED)]
    async with Connections() as connections:
        found = await asyncio.gather(*(ping(connections.transport, entry.model) for entry in entries))
    there = []
    for entry, said in zip(entries, found, strict=True):
        if said is None or said.startswith(REACHED):
            there.append(entry)
        else:
            say(f"left out: {entry.name}: {said}")
    if not there:
        raise UserError(
            f"{options.models_file}: no model can be reached; `harness models --check` says what each needs"
        )
    return there


class Page:
    """The page: its tasks, the models that answer, and what happens when it is used.

    Each of the `entries` has a column; they are served at `url` under the names of `chosen`.
    """

    def __init__(
        self, options: DemoOptions, tasks: Sequence[str], entries: Sequence[ModelEntry], chosen: Chosen, url: str,
        transport: Transport,
    ) -> None:  # fmt: skip
        self._options, self._tasks, self._entries = options, tasks, entries
        self._chosen, self._url, self._transport = chosen, url, transport
        self._rows = lru_cache(16)(self._read)

    def app(self) -> Any:
        """The page as an application of ASGI, with the report beside it where there is one."""
        from fastapi import FastAPI
        from fastapi.staticfiles import StaticFiles
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        gr = gradio()
        app = FastAPI(openapi_url=None)
        if self._options.host in LOCAL:  # a page of another site can have a name of its own resolve to this machine
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL))
        if self._has_report:
            app.mount(REPORT, StaticFiles(directory=self._options.report, html=True))
        return gr.mount_gradio_app(
            app, self._blocks(gr), path="/", footer_links=[], run_history=False, ssr_mode=False, pwa=False,
            mcp_server=False, enable_monitoring=False, max_file_size=1, show_error=False, theme="default", css=_CSS,
        )  # fmt: skip

    @property
    def _has_report(self) -> bool:
        return (self._options.report / "index.html").is_file()

    def _blocks(self, gr: Any) -> Any:
        """Lay the page out, and say what happens when it is used."""
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        with gr.Blocks(title="Models side by side", analytics_enabled=False) as blocks:
            report = f"[Leaderboard]({REPORT}/index.html)" if self._has_report else "Leaderboard: run `harness report`."
            gr.Markdown(f"# Models side by side\nChoose an example, or write a prompt of your own. {report}")
            with gr.Row():
                task = gr.Dropdown(list(self._tasks), label="Task", scale=1, min_width=280)
                example = gr.Dropdown([], label="Example", scale=3, min_width=280)
            prompt = gr.Textbox(label="Prompt", lines=6, max_lines=16, max_length=LONGEST_PROMPT)
            with gr.Row():
                gold = gr.Textbox(label="Right answer", max_lines=6, max_length=LONGEST_ANSWER, scale=3, min_width=280)
                note = gr.Textbox(label="Rows", interactive=False, max_lines=6, scale=1, min_width=280)
            models = gr.CheckboxGroup(label="Models")
            ask = gr.Button("Ask", variant="primary")
            columns, boxes = self._columns(gr)
            of_task, shown = [example, models, *columns], [prompt, gold, note, *chain(*boxes)]
            gr.on([blocks.load, task.input], self.choose_task, task, [task, *of_task, *shown], **quiet)
            example.input(self.choose_example, [task, example], shown, **quiet)
            models.input(self.choose_models, models, columns, **quiet)
            ask.click(
                self.ask, [task, example, prompt, gold, models], [note, *chain(*boxes)], concurrency_limit=1,
                trigger_mode="once", **quiet,
            )  # fmt: skip
        return blocks.queue(max_size=MOST_WAITING)

    def _columns(self, gr: Any) -> tuple[list[Any], list[list[Any]]]:
        """A column for each model, and its boxes: the answer, what the metrics say of it, and what it took."""
        columns, boxes = [], []
        with gr.Row():
            for entry in self._entries:
                with gr.Column(min_width=280, visible=False) as column:
                    answer = gr.Textbox(label=entry.name, lines=5, max_lines=14, interactive=False)
                    verdict = gr.Textbox(label="Verdict", max_lines=4, interactive=False)
                    figures = gr.Textbox(label="Time, tokens, cost", lines=2, max_lines=4, interactive=False)
                columns.append(column)
                boxes.append([answer, verdict, figures])
        return columns, boxes

    def choose_task(self, name: str | None) -> list[Any]:
        """Show a task, by default the first: its examples, the models that answer it, and the first example."""
        gr = gradio()
        task = name or self._tasks[0]
        try:
            _, rows, _ = self._rows(task)
            own = frame([row.prompt for row in rows])
            examples = [(shortened(own(row.prompt), 90) or "…", place) for place, row in enumerate(rows)]
        except UserError:
            examples = []
        there = self._candidates(task)
        names = [one.entry.name for one in there]
        asked = [one.entry.name for one in there if (priced := price_of(one.entry.model, task)) is None or priced.free]
        example = gr.Dropdown(examples, value=0 if examples else None)
        models = gr.CheckboxGroup(names, value=asked)
        return [task, example, models, *self.choose_models(asked), *self.choose_example(task, 0)]

    def choose_example(self, task: str, place: int) -> list[Any]:
        """Show an example of a task, without answers."""
        try:
            _, rows, source = self._rows(task)
            row = rows[place]
            shown = [row.prompt, right_answer(row), source]
        except UserError as error:
            shown = ["", "", str(error)]
        return [*shown, *([""] * 3 * len(self._entries))]

    def choose_models(self, names: Sequence[str]) -> list[Any]:
        """Show the columns of these models only."""
        return [gradio().Column(visible=entry.name in names) for entry in self._entries]

    async def ask(
        self, task: str, place: int | None, prompt: str, gold: str, names: Sequence[str]
    ) -> AsyncGenerator[list[str], None]:
        """Ask the chosen models; yield the note and each column's boxes as answers come."""
        asked = [one for one in self._candidates(task) if one.entry.name in names]
        try:
            file, rows, source = await asyncio.to_thread(self._rows, task)
            example = rows[place or 0]
            row = written_row(example, prompt, gold)
            _check(asked, row, example)
        except UserError as error:
            yield [str(error), *([""] * 3 * len(self._entries))]
            return
        note = source if row is example else "your own prompt or right answer"
        async with aclosing(side_by_side(asked, file, row, self._transport)) as states:
            async for answers in states:
                shown = zip(asked, answers, strict=True)
                said = {one.entry.name: [found.text, found.verdict, found.figures] for one, found in shown}
                yield [note, *chain(*(said.get(entry.name, [""] * 3) for entry in self._entries))]

    def _candidates(self, task: str) -> list[ShownModel]:
        return candidates(self._entries, task, self._chosen, self._url)

    def _read(self, task: str) -> tuple[TaskFile, tuple[EvaluationRow, ...], str]:
        """A task with the rows that are its examples, and where these are from."""
        file = load_task(self._options.tasks_folder, task)
        most = min(MOST_EXAMPLES, file.task.evaluation.rows)
        data = None if self._options.data == "sample" and file.task.dataset.files else self._options.data
        prepared, rows = prepare_rows(file, data, 0, most, strict=False)
        return file, rows, prepared.origin.label(len(rows))


def _check(asked: Sequence[ShownModel], row: EvaluationRow, example: EvaluationRow) -> None:
    """See to it that there is something to ask, and that what a user has written is short enough.

    Raises:
        UserError: no model is chosen, or a text is empty or too long.
    """
    if not asked:
        raise UserError("choose a model")
    if not row.prompt.strip():
        raise UserError("the prompt is empty")
    written = (("prompt", row.prompt, LONGEST_PROMPT), ("right answer", right_answer(row), LONGEST_ANSWER))
    for name, text, most in written if row is not example else ():
        if len(text) > most:
            raise UserError(f"the {name} has {len(text):,} characters; at most {most:,} are sent")

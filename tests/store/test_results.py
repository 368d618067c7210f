"""Nothing that was answered is lost or asked again, and what cannot be read is said by name."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import BusyError, HarnessWarning, UserError
from harness.hashing import digest
from harness.rows.evaluation import EvaluationRow
from harness.store.results import (
    Manifest,
    Response,
    ResponseLog,
    ResponseStatus,
    answered_rows,
    chosen_runs,
    completions,
    drop_rows,
    forget,
    keyed_rows,
    last_served,
    lost_in_all,
    read_manifests,
    read_responses,
    read_rows,
    response_key,
    rows_path,
    write_manifest,
    write_rows,
)
from harness.tasks.task import Task
from tests.scored import scored

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from harness.store.results import Response, ResponseLog

with ResponseLog(Path(sys.argv[1])) as log:
    print("open", flush=True)
    for number in range(int(sys.argv[2]), 1_000_000):
        log.append(Response(f"k{number}", f"r{number}", "ok", "für " * 500))
        print(number, flush=True)
"""
HOLDER = """
import sys
from pathlib import Path
from harness.store.results import ResponseLog

with ResponseLog(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""

# What stands for itself in JSON: every text but one with two halves of a pair side by side, which JSON makes one.
texts = st.text(st.characters() | st.sampled_from('\u2028\u2029\x85\r\n\x00\ud800\udfff"\\{}')).map(
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a pair of task and model, not made yet."""
    return tmp_path / "results" / "jigsaw" / "m"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a program that uses the store, and wait until it holds its log."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def answer(number: int, **changes: Any) -> Response:
    return Response(**{"key": f"k{number}", "row": f"r{number}", "status": "ok", "completion": "yes", **changes})


def record(folder: Path, *responses: Response) -> None:
    with ResponseLog(folder) as log:
        for response in responses:
            log.append(response)


def keys(folder: Path) -> list[str]:
    return [response.key for response in read_responses(folder)]


class TestResponses:
    FULL = Response("k", "r", "truncated", "y", "m-0613", 12, 3, 0.25, 0.1, 0.05, 4, "2024-05-01T00:00:00Z", "too long")

    def test_are_read_as_they_were_written_in_the_order_they_arrived(self, folder: Path) -> None:
        written = [answer(2), self.FULL, answer(1, status="refused", completion="")]
        record(folder, *written)
        assert list(read_responses(folder)) == written

    @given(completion=texts, error=st.none() | texts)
    @example(completion="a\u2028b\ud800", error="\udfff")
    def test_whatever_their_text(
        self, tmp_path_factory: pytest.TempPathFactory, completion: str, error: str | None
    ) -> None:
        folder = tmp_path_factory.mktemp("log")
        written = answer(1, completion=completion, error=error)
        record(folder, written)
        assert list(read_responses(folder)) == [written]

    def test_take_one_line_each_that_people_and_other_programs_can_read(self, folder: Path) -> None:
        record(folder, answer(1, completion="für\n\u2028"), self.FULL)
        first, second = (folder / "responses.jsonl").read_bytes().splitlines()
        assert json.loads(first) == {
            "key": "k1", "row": "r1", "status": "ok", "completion": "für\n\u2028", "attempts": 1, "at": "",
        }  # fmt: skip
        assert "für" in first.decode()
        assert json.loads(second) == {name: value for name, value in asdict(self.FULL).items() if name != "lost"}

    def test_of_a_pair_that_was_never_asked_are_none(self, folder: Path) -> None:
        assert list(read_responses(folder)) == []

    def test_are_known_by_model_settings_and_prompt(self) -> None:
        found = {response_key(settings, prompt) for settings in "ab" for prompt in ("x", "y", "\ud800")}
        assert len(found) == 6
        assert response_key("a", "x") == response_key("a", "x")


class TestAnswered:
    def test_is_what_has_an_answer_in_this_run_or_an_earlier_one(self, folder: Path) -> None:
        record(folder, answer(1))
        with ResponseLog(folder) as log:
            assert "k1" in log
            assert "k2" not in log
            log.append(answer(2))
            assert "k2" in log

    @pytest.mark.parametrize("status", ["truncated", "refused"])
    def test_is_also_what_the_model_refused_or_did_not_finish(self, folder: Path, status: str) -> None:
        record(folder, answer(1, status=status))
        with ResponseLog(folder) as log:
            assert "k1" in log

    def test_is_not_what_failed_until_it_is_answered(self, folder: Path) -> None:
        record(folder, answer(1, status="failed", error="deadline"))
        with ResponseLog(folder) as log:
            assert "k1" not in log
            log.append(answer(1, status="failed"))
            assert "k1" not in log
            log.append(answer(1))
            assert "k1" in log
        with ResponseLog(folder) as log:
            assert "k1" in log

    def test_stays_what_was_answered_when_a_later_line_says_failed(self, folder: Path) -> None:
        record(folder, answer(1), answer(1, status="failed"))
        with ResponseLog(folder) as log:
            assert "k1" in log


class TestHalfWrittenLine:
    WHOLE = b'{"key": "k1", "row": "r1", "status": "ok"}\n'

    # In the middle of a word, of a character of two bytes, before the closing brace, and after it.
    @pytest.mark.parametrize(
        "tail", [b'{"key": "k2", "ro', b'{"key": "k2\xc3', b'{"key": "k2"', b'{"key": "k2"}', b"{"]
    )
    def test_is_dropped_and_its_row_asked_again(self, folder: Path, tail: bytes) -> None:
        record(folder, answer(1))
        path = folder / "responses.jsonl"
        before = path.read_bytes()
        path.write_bytes(before + tail)
        with ResponseLog(folder) as log:
            assert ("k1" in log, "k2" in log) == (True, False)
            assert path.read_bytes() == before
            log.append(answer(2))
        assert keys(folder) == ["k1", "k2"]

    @pytest.mark.parametrize("tail", [b'{"key": "k2", "ro', b'{"key": "k2", "completion": "f\xc3', b"\xff\xfe"])
    def test_does_not_trouble_who_only_reads(self, folder: Path, tail: bytes) -> None:
        """`harness report` may look while `harness bench` is writing."""
        record(folder, answer(1))
        with (folder / "responses.jsonl").open("ab") as file:
            file.write(tail)
        assert keys(folder) == ["k1"]
        assert (folder / "responses.jsonl").read_bytes().endswith(tail)

    def test_may_be_the_only_one(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "responses.jsonl").write_bytes(b'{"key"')
        with ResponseLog(folder) as log:
            assert "k1" not in log
        assert (folder / "responses.jsonl").read_bytes() == b""

    def test_that_is_empty_is_no_damage(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "responses.jsonl").write_bytes(self.WHOLE + b"\n" + self.WHOLE.replace(b"k1", b"k2"))
        assert keys(folder) == ["k1", "k2"]


def line(**changes: Any) -> bytes:
    return json.dumps({"key": "k9", "row": "r9", "status": "ok", **changes}).encode() + b"\n"


class TestDamagedLine:
    """One line that is no answer costs no other, and is named with its file and number."""

    @pytest.mark.parametrize(
        ("damaged", "reason"),
        [
            (b"{}\n", "key: Field required"),
            (b"[]\n", "Input should be a dictionary"),
            (b"5\n", "Input should be a dictionary"),
            (b"nonsense\n", "not valid JSON"),
            (b"\xff\n", "can't decode byte"),
            (b'{"key": "k9", "colour": 1}\n', "row: Field required"),
            (line(completion=5), "completion: Input should be a valid string"),
            (line(key=[1]), "key: Input should be a valid string"),
            (
                line(status="fine"),
                "status: Input should be 'ok', 'truncated', 'truncated_prompt', 'refused' or 'failed'",
            ),
            (line(latency_s="x"), "latency_s: Input should be a valid number"),
            (line(latency_s=-1), "latency_s: Input should be greater than or equal to 0"),
            (line(latency_s=float("nan")), "latency_s: Input should be"),
            (line(output_tokens=10**400), "output_tokens: "),
            (line(input_tokens=-5), "input_tokens: Input should be greater than or equal to 0"),
            (b"[" * 100_000 + b"]" * 100_000 + b"\n", "its values are nested too deeply"),
            (line(error=0).replace(b": 0", b": " + b"9" * 5_000), "integer string conversion"),
        ],
    )
    def test_is_left_out_and_named(self, folder: Path, damaged: bytes, reason: str) -> None:
        folder.mkdir(parents=True)
        path = folder / "responses.jsonl"
        path.write_bytes(TestHalfWrittenLine.WHOLE + damaged + TestHalfWrittenLine.WHOLE.replace(b"k1", b"k2"))
        with pytest.warns(HarnessWarning) as found:
            assert keys(folder) == ["k1", "k2"]
        (said,) = [str(warning.message) for warning in found]
        assert said.startswith(f"{path}:2: ")
        assert reason in said
        assert said.endswith("; this line is left out, and a row without another answer counts as failed")
        with pytest.warns(HarnessWarning, match=f"{path}:2: "), ResponseLog(folder) as log:
            assert ("k1" in log, "k2" in log, "k9" in log) == (True, True, False)

    def test_of_several_the_first_is_named_and_the_others_are_counted(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "responses.jsonl").write_bytes(b"{}\n[]\n" + TestHalfWrittenLine.WHOLE + b"5\n")
        with pytest.warns(HarnessWarning, match="jsonl:1: .*; this line and 2 more of the file are left out"):
            assert keys(folder) == ["k1"]

    def test_is_not_one_that_has_keys_of_a_newer_version(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "responses.jsonl").write_bytes(line(completion="yes", mood={"of": "the server"}))
        assert [(one.key, one.completion) for one in read_responses(folder)] == [("k9", "yes")]
        record(folder, answer(1))
        assert b"of the server" not in (folder / "responses.jsonl").read_bytes().splitlines()[1]
        assert b'"mood"' in (folder / "responses.jsonl").read_bytes()


class TestKilled:
    def test_at_any_moment_no_complete_line_is_lost_and_each_row_is_written_once(
        self, folder: Path, start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        acknowledged = -1
        for lines in (1, 3, 10, 30, 100):
            writer = start(WRITER, folder, acknowledged + 1)
            assert writer.stdout is not None
            for _ in range(lines):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            # What it had said before it died counts too; a number cut short was not yet said.
            rest = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
            acknowledged = int(rest[-1]) if rest else acknowledged
            written = keys(folder)
            assert written[: acknowledged + 1] == [f"k{number}" for number in range(acknowledged + 1)]
            # The line of which it died before saying so may be there or not.
            assert len(written) - (acknowledged + 1) in (0, 1)
            acknowledged = len(written) - 1
        with ResponseLog(folder) as log:
            assert all(f"k{number}" in log for number in range(acknowledged + 1))

    def test_holds_nothing_any_more(self, folder: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
        holder = start(HOLDER, folder)
        holder.kill()
        holder.wait()
        with ResponseLog(folder) as log:
            log.append(answer(1))
        assert keys(folder) == ["k1"]


class TestTwoProcesses:
    def test_the_second_on_the_same_pair_is_told_so(
        self, folder: Path, start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        start(HOLDER, folder)
        with pytest.raises(BusyError) as found, ResponseLog(folder):
            pass
        assert str(found.value) == f"{folder}: another process is asking this model; wait for it or stop it"

    def test_may_work_on_two_pairs(self, folder: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
        start(HOLDER, folder)
        record(folder.with_name("other"), answer(1))
        assert keys(folder.with_name("other")) == ["k1"]

    def test_one_may_read_while_the_other_writes(
        self, folder: Path, start: Callable[..., subprocess.Popen[str]]
    ) -> None:
        record(folder, answer(1))
        start(HOLDER, folder)
        assert keys(folder) == ["k1"]

    def test_one_that_is_done_writes_no_more(self, folder: Path) -> None:
        with ResponseLog(folder) as log:
            pass
        with pytest.raises(OSError, match="Bad file descriptor"):
            log.append(answer(1))

    def test_the_next_gets_the_pair_when_the_first_is_done(self, folder: Path) -> None:
        record(folder, answer(1))
        record(folder, answer(2))
        assert keys(folder) == ["k1", "k2"]


class TestReserve:
    def test_is_on_disk_while_the_log_is_open(self, folder: Path) -> None:
        with ResponseLog(folder):
            assert (folder / ".reserve").stat().st_size == 1 << 16
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "responses.jsonl"]

    def test_is_given_up_where_nothing_can_be_written(self, folder: Path) -> None:
        with ResponseLog(folder) as log:
            (folder / "responses.jsonl").unlink()
            for _ in range(2):
                with pytest.raises(FileNotFoundError):
                    log.append(answer(1))
                assert not (folder / ".reserve").exists()


class TestAdopted:
    def test_answers_are_recorded_under_their_new_keys_too(self, folder: Path) -> None:
        """Once each, of those that are answers; what has no new key, or is there, is left as it is."""
        written = [answer(number) for number in range(3)]
        record(folder, *written, answer(3, status="failed"))
        with ResponseLog(folder) as log:
            assert log.adopt({"k0": "n0", "k1": "k2", "k3": "n3"}) == 1
            assert log.adopt({"k0": "n0"}) == 0
            assert log.adopt({}) == 0
            assert ("n0" in log, "n3" in log) == (True, False)
        assert keys(folder) == ["k0", "k1", "k2", "k3", "n0"]
        assert list(read_responses(folder))[-1] == answer(0, key="n0")


class TestForgotten:
    def test_is_all_that_is_recorded_of_a_pair(self, folder: Path) -> None:
        record(folder, answer(1))
        record(folder.with_name("other"), answer(1))
        for name in ("a", "run.json", "x."):
            (folder / name).touch()
        assert forget(folder.parents[1], "jigsaw", "m") == [
            folder / name for name in ("a", "responses.jsonl", "run.json", "x.")
        ]
        assert not folder.exists()
        assert keys(folder.with_name("other")) == ["k1"]

    def test_is_not_what_else_is_there(self, folder: Path) -> None:
        record(folder, answer(1))
        (folder / "mine").mkdir()
        (folder / ".hidden").touch()
        forget(folder.parents[1], "jigsaw", "m")
        assert sorted(path.name for path in folder.iterdir()) == [".hidden", "mine"]

    @pytest.mark.parametrize(
        ("task", "model", "message"),
        [
            ("jigsaw", "n", r"of model 'n' on jigsaw \(choose from: m\)"),
            ("jigsav", "m", "of task 'jigsav' in .*did you mean 'jigsaw'"),
            ("boolq", "m", "of model 'm' on boolq"),
        ],
    )
    def test_is_nothing_of_a_pair_that_there_is_not(self, folder: Path, task: str, model: str, message: str) -> None:
        record(folder, answer(1))
        record(folder.parents[1] / "boolq" / "n", answer(1))
        before = sorted(folder.parents[1].rglob("*"))
        with pytest.raises(UserError, match=f"nothing is recorded {message}"):
            forget(folder.parents[1], task, model)
        assert sorted(folder.parents[1].rglob("*")) == before


class TestCannotBeWritten:
    """A file stands where a folder should: no account, not even root, can write there."""

    def test_a_log_is_an_error_that_names_its_folder(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True)
        folder.touch()
        with pytest.raises(UserError, match=f"{folder}: cannot be written: "), ResponseLog(folder):
            pass

    def test_a_log_whose_file_is_a_folder_too(self, folder: Path) -> None:
        (folder / "responses.jsonl").mkdir(parents=True)
        with pytest.raises(UserError, match=f"{folder}: cannot be written: Is a directory"), ResponseLog(folder):
            pass

    def test_rows_and_manifests_too(self, tmp_path: Path, manifest: Manifest) -> None:
        (tmp_path / "jigsaw").touch()
        with pytest.raises(UserError, match=f"{tmp_path}/jigsaw/_rows/.*jsonl: cannot be written: "):
            write_rows(tmp_path, "jigsaw", ())
        with pytest.raises(UserError, match=f"{tmp_path}/jigsaw/m/run.json: cannot be written: "):
            write_manifest(tmp_path, manifest)

    def test_a_log_that_was_deleted_meanwhile_is_not_written_into_nothing(self, folder: Path) -> None:
        with ResponseLog(folder) as log:
            (folder / "responses.jsonl").unlink()
            with pytest.raises(FileNotFoundError, match="the file has been deleted"):
                log.append(answer(1))
            assert "k1" not in log


class TestRows:
    ROW = EvaluationRow("id", "Is this fine?", ("yes", "y"), {"topic": 1, "table": {"header": ["a"], "rows": [[1]]}})

    def test_are_read_as_they_were_written(self, tmp_path: Path) -> None:
        rows = (self.ROW, EvaluationRow("other", "", ("",), {}))
        fingerprint = write_rows(tmp_path, "jigsaw", rows)
        assert tuple(read_rows(tmp_path, "jigsaw", fingerprint)) == rows

    @given(prompt=texts, reference=texts, field=st.none() | st.booleans() | st.integers() | texts)
    @example(prompt="a\u2028b", reference="\ud800", field="\udfff\x85")
    def test_whatever_their_text(
        self, tmp_path_factory: pytest.TempPathFactory, prompt: str, reference: str, field: object
    ) -> None:
        rows = (EvaluationRow("id", prompt, (reference,), {"field": field}), self.ROW)
        results = tmp_path_factory.getbasetemp() / "any"
        assert tuple(read_rows(results, "t", write_rows(results, "t", rows))) == rows

    def test_are_kept_under_a_hash_of_them_so_that_old_runs_keep_theirs(self, tmp_path: Path) -> None:
        first = write_rows(tmp_path, "jigsaw", (self.ROW,))
        assert write_rows(tmp_path, "jigsaw", (self.ROW,)) == first
        second = write_rows(tmp_path, "jigsaw", (self.ROW, self.ROW))
        assert first != second
        assert {path.name for path in (tmp_path / "jigsaw" / "_rows").iterdir()} == {
            f"{first}.jsonl",
            f"{second}.jsonl",
        }

    @pytest.mark.parametrize("content", [None, '{"id": "a"', '{"id": "a"}\n', "[]\n", "5\n", "\ud800"])
    def test_that_cannot_be_read_are_an_error_that_names_the_file_and_the_way_out(
        self, tmp_path: Path, content: str | None
    ) -> None:
        path = rows_path(tmp_path, "jigsaw", "abc")
        path.parent.mkdir(parents=True)
        if content is not None:
            path.write_bytes(content.encode("utf-8", "surrogatepass"))
        with pytest.raises(UserError, match=f"{path}(:1)?: cannot be read .*; run bench again to write it"):
            list(read_rows(tmp_path, "jigsaw", "abc"))

    @pytest.mark.parametrize(
        "edit",
        [
            lambda text: text[: text.index("\n") + 1],
            lambda text: text + text.splitlines(keepends=True)[0],
            lambda text: text.replace('"yes"', '"no"'),
            lambda text: "",
            lambda text: "\n".join(reversed(text.splitlines())) + "\n",
        ],
        ids=["cut", "longer", "edited", "emptied", "in another order"],
    )
    def test_that_are_not_those_that_were_asked_are_not_believed(
        self, tmp_path: Path, edit: Callable[[str], str]
    ) -> None:
        fingerprint = write_rows(tmp_path, "t", (self.ROW, EvaluationRow("other", "p", ("\ud800",), {})))
        path = rows_path(tmp_path, "t", fingerprint)
        path.write_text(edit(path.read_text()))
        with pytest.raises(UserError, match=r"lines are not the rows that were asked \(the file was cut or edited\)"):
            list(read_rows(tmp_path, "t", fingerprint))

    @pytest.mark.parametrize("row", [{"id": 5}, {"prompt": None}, {"references": "yes"}, {"fields": []}])
    def test_of_another_form_are_an_error_though_their_hash_is_right(self, tmp_path: Path, row: dict[str, Any]) -> None:
        text = json.dumps(asdict(self.ROW) | row, ensure_ascii=False)
        path = rows_path(tmp_path, "t", digest(text))
        path.parent.mkdir(parents=True)
        path.write_text(text + "\n")
        (key,) = row
        with pytest.raises(UserError, match=rf"{path}:1: cannot be read \({key}: Input should be"):
            list(read_rows(tmp_path, "t", digest(text)))


class TestAnsweredRows:
    """The one join of a run's rows with the answers to them."""

    @staticmethod
    def run(results: Path, rows: Sequence[EvaluationRow]) -> Manifest:
        return scored("t", "m", [0.0] * len(rows), rows=write_rows(results, "t", rows)).manifest

    @staticmethod
    def answer(row: EvaluationRow, manifest: Manifest, status: ResponseStatus, text: str = "") -> Response:
        return Response(response_key(manifest.settings, row.prompt), row.id, status, text)

    def test_come_in_the_order_asked_with_the_last_answer_to_each(self, tmp_path: Path) -> None:
        rows = [EvaluationRow(f"r{n}", f"prompt {n}", ("yes",), {}) for n in range(4)]
        manifest = self.run(tmp_path, rows)
        with ResponseLog(tmp_path / "t" / "m") as log:
            log.append(self.answer(rows[2], manifest, "ok", "two"))
            log.append(self.answer(rows[0], manifest, "failed"))
            log.append(self.answer(rows[3], manifest, "failed"))
            log.append(Response("the key of other settings", "r1", "ok", "not of this run"))
            log.append(self.answer(rows[0], manifest, "truncated", "zero"))
        found = [
            (row.id, line and (line.status, line.completion)) for row, (line,) in answered_rows(tmp_path, manifest)
        ]
        assert found == [("r0", ("truncated", "zero")), ("r1", None), ("r2", ("ok", "two")), ("r3", ("failed", ""))]

    def test_rows_with_the_same_prompt_share_an_answer(self, tmp_path: Path) -> None:
        rows = [EvaluationRow(name, "the same", (name,), {}) for name in "ab"]
        manifest = self.run(tmp_path, rows)
        with ResponseLog(tmp_path / "t" / "m") as log:
            log.append(self.answer(rows[0], manifest, "ok", "yes"))
        assert [line and line.completion for _, (line,) in answered_rows(tmp_path, manifest)] == ["yes", "yes"]

    def test_before_the_first_answer_no_row_has_one(self, tmp_path: Path) -> None:
        rows = [EvaluationRow("a", "p", ("yes",), {})]
        assert list(answered_rows(tmp_path, self.run(tmp_path, rows))) == [(rows[0], (None,))]

    def test_a_line_that_cannot_be_read_leaves_its_row_with_the_answer_before_it(self, tmp_path: Path) -> None:
        rows = [EvaluationRow("a", "p", ("yes",), {}), EvaluationRow("b", "q", ("yes",), {})]
        manifest = self.run(tmp_path, rows)
        with ResponseLog(tmp_path / "t" / "m") as log:
            log.append(self.answer(rows[0], manifest, "ok", "first"))
        with (tmp_path / "t" / "m" / "responses.jsonl").open("a") as file:
            file.write('{"key": "' + response_key(manifest.settings, "p") + '", "status"\n')
        with pytest.warns(HarnessWarning), ResponseLog(tmp_path / "t" / "m") as log:
            log.append(self.answer(rows[1], manifest, "ok", "second"))
        with pytest.warns(HarnessWarning, match=r"jsonl:2: .* left out"):
            answered = [line and line.completion for _, (line,) in answered_rows(tmp_path, manifest)]
        assert answered == ["first", "second"]

    def test_must_be_as_many_as_the_manifest_says(self, tmp_path: Path) -> None:
        rows = [EvaluationRow("a", "p", ("yes",), {}), EvaluationRow("b", "q", ("yes",), {})]
        manifest = self.run(tmp_path, rows).model_copy(update={"n": 24})
        with pytest.raises(UserError, match=r"run.json: benchmark.n is 24, but the run has 2 rows; it was edited"):
            list(answered_rows(tmp_path, manifest))

    def test_memory_does_not_grow_with_the_answers(self, tmp_path: Path) -> None:
        rows = [EvaluationRow(f"{n}", f"prompt {n}", ("yes",), {}) for n in range(1_000)]
        manifest = self.run(tmp_path, rows)
        with ResponseLog(tmp_path / "t" / "m") as log:
            for row in rows:
                log.append(self.answer(row, manifest, "ok", "a long answer " * 2_000))
        assert (tmp_path / "t" / "m" / "responses.jsonl").stat().st_size > 25_000_000
        tracemalloc.start()
        try:
            assert sum(line is not None for _, (line,) in answered_rows(tmp_path, manifest)) == 1_000
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5_000_000


@pytest.fixture
def manifest() -> Manifest:
    """A manifest of a benchmark run."""
    task = Task.model_validate(
        {
            "title": "t",
            "category": "classification",
            "prompt": "{{ a }}",
            "target": "{{ b }}",
            "answer": {"type": "label", "labels": ["yes", "no"]},
            "metrics": ["accuracy", {"rouge_l": {"stemmer": True}}],
            "max_tokens": 4,
        }
    )
    return Manifest(
        task="jigsaw", model="m", kind="benchmark", place="mirror", source="benchmark (mirror)", spec=task,
        task_sha256="1", prompt_hash="2", settings="3", model_settings={"backend": "baseline"}, dataset={"hub": "a/b"},
        rows="0123456789abcdef", n=2, seed=0, versions={"python": "3"}, git={}, started="", finished="", seconds=0.5,
        asked=2, trouble={"429": 1}, note="für \ud800",
    )  # fmt: skip


class TestManifests:
    @pytest.mark.parametrize(
        ("settings", "asked_for"),
        [
            ({"backend": "openai", "model": "lora-{task}"}, "lora-jigsaw"),
            ({"backend": "anthropic", "model": "m"}, "m"),
            ({"backend": "openai"}, ""),
            ({"backend": "local", "model": "m"}, ""),
        ],
    )
    def test_say_which_name_a_server_was_asked_for(
        self, manifest: Manifest, settings: dict[str, Any], asked_for: str
    ) -> None:
        assert manifest.model_copy(update={"model_settings": settings}).asked_for == asked_for

    def test_say_how_often_each_row_was_asked(self, manifest: Manifest) -> None:
        assert [manifest.model_copy(update={"model_settings": one}).samples for one in ({}, {"samples": 3})] == [1, 3]

    def test_say_what_the_server_said_of_its_weights_last(self, tmp_path: Path, manifest: Manifest) -> None:
        folder = tmp_path / "jigsaw" / "m"
        assert last_served(folder) is None
        runs = [("benchmark", "2026-02-01", "new"), ("sample", "2026-01-01", "old")]
        for kind, finished, served in runs:
            write_manifest(tmp_path, manifest.model_copy(update={"kind": kind, "finished": finished, "served": served}))
        assert last_served(folder) == "new"
        write_manifest(tmp_path, manifest.model_copy(update={"kind": "sample", "finished": "2026-03-01"}))
        assert last_served(folder) is None
        (folder / "run.json").write_text("{}")
        assert last_served(folder) is None

    def test_are_read_as_they_were_written(self, tmp_path: Path, manifest: Manifest) -> None:
        write_manifest(tmp_path, manifest)
        assert list(read_manifests(tmp_path)) == [manifest]

    @pytest.mark.parametrize(
        ("settings", "answer", "said"),
        [
            ({"backend": "local", "decode": "labels"}, {"type": "label", "labels": ["yes", "no"]}, True),
            ({"backend": "local"}, {"type": "label", "labels": ["yes", "no"]}, False),
            ({"backend": "local", "decode": "labels"}, {"type": "label", "labels": ["yes", "no"], "many": True}, False),
            ({"backend": "local", "decode": "labels"}, {"type": "text"}, False),
        ],
    )
    def test_say_whether_no_answer_but_a_label_was_allowed(
        self, manifest: Manifest, settings: dict[str, Any], answer: dict[str, Any], said: bool
    ) -> None:
        spec = Task.model_validate(manifest.spec.model_dump(mode="json") | {"answer": answer})
        assert manifest.model_copy(update={"spec": spec, "model_settings": settings}).labels_only is said

    def test_of_sample_and_benchmark_runs_stand_beside_each_other(self, tmp_path: Path, manifest: Manifest) -> None:
        sample = manifest.model_copy(update={"kind": "sample", "place": "sample", "n": 24})
        for written in (manifest, sample):
            write_manifest(tmp_path, written)
        assert list(read_manifests(tmp_path)) == [manifest, sample]

    def test_take_the_place_of_the_last_of_their_kind(self, tmp_path: Path, manifest: Manifest) -> None:
        sample = manifest.model_copy(update={"kind": "sample", "n": 24})
        again = manifest.model_copy(update={"n": 3})
        for written in (manifest, sample, again):
            write_manifest(tmp_path, written)
        assert list(read_manifests(tmp_path)) == [again, sample]

    def test_are_read_by_task_and_model(self, tmp_path: Path, manifest: Manifest) -> None:
        names = [("b", "x"), ("a", "y"), ("a", "x")]
        for task, model in names:
            write_manifest(tmp_path, manifest.model_copy(update={"task": task, "model": model}))
        write_rows(tmp_path, "a", ())
        assert [(run.task, run.model) for run in read_manifests(tmp_path)] == sorted(names)

    def test_of_no_results_are_none(self, tmp_path: Path) -> None:
        assert list(read_manifests(tmp_path / "absent")) == []

    @pytest.mark.parametrize(
        "content",
        [b"{", b"", b"[]", b'{"benchmark": {}}', b'{"benchmark": 5}', b"\xff", b"null", b'{"benchmark":' * 50_000],
    )
    def test_that_cannot_be_read_are_left_out_and_named_with_the_way_out(
        self, tmp_path: Path, manifest: Manifest, content: bytes
    ) -> None:
        for model in ("m", "other"):
            write_manifest(tmp_path, manifest.model_copy(update={"model": model}))
        path = tmp_path / "jigsaw" / "m" / "run.json"
        path.write_bytes(content)
        with pytest.warns(HarnessWarning) as found:
            assert [run.model for run in read_manifests(tmp_path)] == ["other"]
        (said,) = [str(warning.message) for warning in found]
        assert said.startswith(f"{path}: ")
        assert said.endswith("; run bench again to write it")
        assert "left out: " in said
        assert "\n" not in said

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"task": "../../elsewhere"}, "task is '../../elsewhere', but the folder is named 'jigsaw'"),
            ({"model": "../n"}, "model is '../n', but the folder is named 'm'"),
            ({"rows": "../../../secret"}, "rows: expected the 16 hex digits of a hash"),
            ({"model_settings": {"thinking": 5}}, "Input should be a valid dictionary"),
        ],
    )
    def test_that_name_other_files_than_their_own_are_left_out(
        self, tmp_path: Path, manifest: Manifest, change: dict[str, Any], reason: str
    ) -> None:
        write_manifest(tmp_path, manifest)
        path = tmp_path / "jigsaw" / "m" / "run.json"
        document = json.loads(path.read_bytes())
        document["benchmark"] |= change
        path.write_text(json.dumps(document))
        with pytest.warns(HarnessWarning, match=f"{path}: benchmark: left out: {reason}"):
            assert list(read_manifests(tmp_path)) == []

    def test_keep_what_a_newer_version_says(self, tmp_path: Path, manifest: Manifest) -> None:
        write_manifest(tmp_path, manifest)
        path = tmp_path / "jigsaw" / "m" / "run.json"
        document = json.loads(path.read_bytes())
        document["benchmark"]["mood"] = "good"
        document["rehearsal"] = {"of": "another kind"}
        path.write_text(json.dumps(document))
        (read,) = read_manifests(tmp_path)
        write_manifest(tmp_path, read)
        assert json.loads(path.read_bytes()) == document

    @pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff", b"null"])
    def test_that_cannot_be_read_are_replaced_by_the_next_run(
        self, tmp_path: Path, manifest: Manifest, content: bytes
    ) -> None:
        path = tmp_path / "jigsaw" / "m" / "run.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        write_manifest(tmp_path, manifest)
        assert list(read_manifests(tmp_path)) == [manifest]

    def test_are_whole_or_not_there(self, tmp_path: Path, manifest: Manifest) -> None:
        write_manifest(tmp_path, manifest)
        assert [path.name for path in (tmp_path / "jigsaw" / "m").iterdir()] == ["run.json"]


def test_what_attempts_lost_on_a_row_is_summed_over_all_that_is_recorded_of_it(tmp_path: Path) -> None:
    assert lost_in_all((1, 2, 0.5), (3, 4, 0.25)) == (4, 6, 0.75)
    run = scored("jigsaw", "m", [1.0]).manifest
    row = EvaluationRow("r", "prompt", ("yes",), {})
    run = run.model_copy(update={"rows": write_rows(tmp_path, "jigsaw", [row])})
    key = response_key(run.settings, "prompt")
    with ResponseLog(tmp_path / "jigsaw" / "m") as log:
        log.append(Response(key, "r", "failed", lost=(1, 2, 0.5)))
        log.append(Response(key, "r", "failed", lost=(3, 4, 0.25)))
        log.append(Response(key, "r", "ok", "yes"))
    [(_, (found,))] = answered_rows(tmp_path, run)
    assert found is not None
    assert (found.status, found.lost) == ("ok", (4, 6, 0.75))


def test_rows_that_no_run_names_are_dropped(tmp_path: Path) -> None:
    prints = [write_rows(tmp_path, "jigsaw", [EvaluationRow(name, name, ("yes",), {})]) for name in "ab"]
    write_manifest(tmp_path, scored("jigsaw", "m", [1.0]).manifest.model_copy(update={"rows": prints[0]}))
    drop_rows(tmp_path, "jigsaw", [*prints, "0" * 16])  # the last is not there
    assert [rows_path(tmp_path, "jigsaw", one).is_file() for one in prints] == [True, False]


def test_runs_are_chosen_by_task_and_model_together(tmp_path: Path) -> None:
    for task, model in (("jigsaw", "a"), ("boolq", "b")):
        write_manifest(tmp_path, scored(task, model, [1.0], rows="0" * 16).manifest)
    assert [run.model for run in chosen_runs(tmp_path, ["jigsaw"], [])] == ["a"]
    assert [run.task for run in chosen_runs(tmp_path, [], ["b"])] == ["boolq"]
    with pytest.raises(UserError, match="none of these models has run one of these tasks"):
        chosen_runs(tmp_path, ["jigsaw"], ["b"])


def test_each_row_has_a_key_for_each_time_it_is_asked(tmp_path: Path) -> None:
    rows = write_rows(tmp_path, "t", [EvaluationRow("r", "prompt", ("yes",), {})])
    [(row, keys_of_row)] = keyed_rows(tmp_path, "t", rows, "settings")
    assert (row.id, keys_of_row) == ("r", [response_key("settings", "prompt")])
    [(_, several)] = keyed_rows(tmp_path, "t", rows, "settings", 3)
    assert several == [response_key("settings", "prompt", sample) for sample in range(3)]
    assert len(set(several)) == 3


@pytest.mark.parametrize(
    ("statuses", "text"),
    [
        (["ok"], "<a>"),
        (["failed"], None),
        ([None], None),
        (["ok", "truncated"], "[answer 1 of 2] <a>\n[answer 2 of 2] <b>"),
        (["failed", "refused", None], "[answer 2 of 3] <b>"),
        (["failed", None], None),
    ],
)
def test_the_completions_of_a_row_are_one_text_numbered_where_they_are_several(
    statuses: list[ResponseStatus | None], text: str | None
) -> None:
    answers = tuple(
        None if status is None else answer(1, status=status, completion=letter)
        for status, letter in zip(statuses, "abc", strict=False)
    )
    assert completions(answers, lambda one: f"<{one}>") == text


def test_counts_of_tokens_are_below_2_to_the_53(tmp_path: Path) -> None:
    """Above it a number of JSON is another one after it was read."""
    folder = tmp_path / "t" / "m"
    folder.mkdir(parents=True)
    (folder / "responses.jsonl").write_bytes(line(key="a", input_tokens=2**53 - 1) + line(key="b", input_tokens=2**53))
    with pytest.warns(HarnessWarning, match="jsonl:2: input_tokens: "):
        assert keys(folder) == ["a"]

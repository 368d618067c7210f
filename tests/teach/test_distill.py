"""Distilling: the order of its steps, what each leaves out, and the folder that training tools read."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from tests.commands.conftest import Command
from tests.loopback import FAULTS, Loopback
from tests.runs import TASK
from tests.teach.conftest import LEARNED, Taught, own_text

STEPS = [
    "valid answers", "agreement with the human label", "the teacher's agreement with itself", "duplicates",
    "evaluated rows", "balance",
]  # fmt: skip


def line(number: int, answer: str = "yes", *, text: str | None = None, **changes: Any) -> dict[str, Any]:
    """A line of a collected folder, of the row with this number."""
    prompt = f"Is {text or own_text(number)} fine? Answer with one word."
    return {
        "id": f"row-{number}", "request": {"messages": [{"role": "user", "content": prompt}]}, "prompt": prompt,
        "prediction": answer, "status": "ok", "reading": answer, "reference": [("yes", "no")[number % 2]], "slices": {},
        "usage": {"input_tokens": 10, "output_tokens": 1}, "model": "gpt-4", "at": "", **changes,
    }  # fmt: skip


def request(number: int, answer: str = "yes", **changes: Any) -> dict[str, Any]:
    """A line of recorded requests."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    messages = [{"role": "user", "content": f"Classify for me: {own_text(number)}"}]
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    return {
        "input": {"model": "gpt-4", "messages": messages},
        "output": {"model": "gpt-4", "choices": [choice], "usage": usage},
        "tags": {}, "status": 200, "at": "", "latency_s": 0.1, "ttft_s": None, **changes,
    }  # fmt: skip


def written(folder: Path, lines: list[dict[str, Any]], name: str = "answers.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in path.read_text().splitlines()]


@pytest.fixture
def distil(taught: Taught, harness: Command) -> Any:
    """Runs `harness distill` on folders and gives the folder it wrote, with what it printed as JSON."""

    def run(*folders: Path, options: tuple[str, ...] = ()) -> tuple[Path, dict[str, Any]]:
        out = taught.folder / f"out-{len(list(taught.folder.glob('out-*')))}"
        given = [part for folder in folders for part in ("--from", str(folder))]
        shared = ["--tasks", str(taught.folder / "tasks"), "--data", "sample", "--json"]
        code, printed, err = harness("distill", "small", *given, "--out", str(out), *options, *shared)
        assert code == 0, err
        return out, json.loads(printed)

    return run


def refused(taught: Taught, harness: Command, *arguments: str) -> str:
    code, _, err = harness("distill", "small", *arguments, "--tasks", str(taught.folder / "tasks"), "--data", "sample")
    assert code == 2
    assert "Traceback" not in err
    return err


class TestSteps:
    def test_each_step_counts_and_names_what_it_leaves_out(self, taught: Taught, distil: Any) -> None:
        evaluated = own_text(LEARNED)
        lines = [
            line(0), line(1, "no"), line(2, "no"),  # the last is wrong
            line(4, "perhaps"), line(6, None, status="failed", error="HTTP 500"),  # type: ignore[arg-type]
            line(8), line(8, id="row-8b"), line(8, text=own_text(8) + " x", id="row-8c"),
            line(10, text=own_text(10) + " " + " ".join(evaluated.split()[:13])),
            line(12, text=evaluated),
            line(14), line(3, "no"),
        ]  # fmt: skip
        folder = written(taught.folder / "teacher", lines)
        out, made = distil(folder, options=("--agree", "human", "--balance"))
        assert made["read"] == 12
        assert list(made["steps"]) == STEPS
        assert list(made["steps"].values()) == [10, 9, 9, 7, 5, 4]
        dropped = {one["id"]: (one["step"], one["why"]) for one in read(out / "dropped.jsonl")}
        assert len(dropped) == 8
        assert dropped["row-4"] == (STEPS[0], "unparsed")
        assert dropped["row-6"] == (STEPS[0], "failed: HTTP 500")
        assert dropped["row-2"] == (STEPS[1], "it is not the right answer of the data")
        assert dropped["row-8b"] == (STEPS[3], f"the same prompt as {folder}/answers.jsonl:6")
        assert dropped["row-8c"] == (STEPS[3], f"nearly the same as {folder}/answers.jsonl:6")
        assert dropped["row-10"] == (STEPS[4], "it shares 13 words in sequence with an evaluated row")
        assert dropped["row-12"] == (STEPS[4], "its prompt is that of an evaluated row")
        assert sum(step == STEPS[5] for step, _ in dropped.values()) == 1
        learned = [*read(out / "train.jsonl"), *read(out / "validation.jsonl")]
        assert sorted(one["completion"] for one in learned) == [" no", " no", " yes", " yes"]

    def test_short_texts_of_their_own_are_kept_apart_too(self, taught: Taught, distil: Any) -> None:
        rows = [{"text": f"Row {n}", "label": "yes", "_split": "test"} for n in range(4)]
        taught.rows([*rows, {"text": "other", "label": "no", "_split": "train"}])
        lines = [line(0, text="ROW 2!"), line(2, text="row 9"), line(4, text="row 10")]
        out, _ = distil(written(taught.folder / "teacher", lines))
        assert [one["id"] for one in read(out / "dropped.jsonl")] == ["row-0"]

    def test_a_row_stays_when_enough_of_its_answers_agree(self, taught: Taught, distil: Any) -> None:
        said = {0: "yes yes yes no yes", 2: "yes yes no no yes", 4: "no no no no no", 6: "yes yes yes yes perhaps"}
        lines = [
            line(number, answer, repeat=turn)
            for number, answers in said.items()
            for turn, answer in enumerate(answers.split(), start=1)
        ]
        out, made = distil(written(taught.folder / "t", lines), options=("--agree", "repeats=0.8", "--validation", "0"))
        assert {one["prompt"].split()[1][:2]: one["completion"] for one in read(out / "train.jsonl")} == {
            "a0": " yes", "e4": " no", "g6": " yes",
        }  # fmt: skip
        assert made["steps"][STEPS[2]] == 3
        assert "3 of 5 answers to it agree" in {one["why"] for one in read(out / "dropped.jsonl")}

    def test_agreement_needs_answers_that_could_differ(self, taught: Taught, harness: Command) -> None:
        folder = written(taught.folder / "t", [line(0)])
        arguments = ("--from", str(folder), "--out", str(taught.folder / "o"), "--agree")
        assert "collect with --repeat" in refused(taught, harness, *arguments, "repeats=0.5")
        assert "expected a share" in refused(taught, harness, *arguments, "repeats=7")
        assert "expected human, or repeats=" in refused(taught, harness, *arguments, "humans")

    def test_the_split_is_by_hash_and_the_same_with_and_without_the_frame(self, taught: Taught, distil: Any) -> None:
        lines = [line(number) for number in range(0, LEARNED, 2)]
        whole, _ = distil(written(taught.folder / "a", lines), options=("--validation", "0.3"))
        pruned, _ = distil(
            written(taught.folder / "b", lines[::-1]), options=("--validation", "0.3", "--prune", "frame")
        )
        held = {one["prompt"] for one in read(whole / "validation.jsonl")}
        assert 0 < len(held) < len(lines)
        assert {f"Is {one['prompt']} fine? Answer with one word." for one in read(pruned / "validation.jsonl")} == held

    def test_a_share_that_holds_out_all_rows_is_refused(self, taught: Taught, harness: Command) -> None:
        folder = written(taught.folder / "t", [line(number) for number in range(4)])
        out = taught.folder / "o"
        err = refused(taught, harness, "--from", str(folder), "--out", str(out), "--validation", "0.9999")
        assert "--validation 0.9999 would hold out all 4 rows" in err
        assert not out.exists()

    def test_answers_to_one_row_under_two_prompts_are_refused(self, taught: Taught, harness: Command) -> None:
        old = written(taught.folder / "old", [line(0)])
        new = written(taught.folder / "new", [line(0, prompt="Fine? Answer.")])
        err = refused(taught, harness, "--from", str(old), "--from", str(new), "--out", str(taught.folder / "o"))
        assert f"{new}/answers.jsonl:1: row row-0 was answered under another prompt in {old}/answers.jsonl:1" in err


class TestFolder:
    def test_datasets_opens_it(self, taught: Taught, distil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        out, made = distil(written(taught.folder / "t", [line(number) for number in range(LEARNED)]))
        cache = str(taught.folder / "cache")
        loaded = datasets.load_dataset(str(out), cache_dir=cache)
        assert {name: split.num_rows for name, split in loaded.items()} == made["rows"]
        assert sum(made["rows"].values()) == LEARNED
        assert loaded["train"].column_names == ["prompt", "completion"]
        chats = datasets.load_dataset(str(out), "chat", cache_dir=cache)
        assert chats["train"][0]["messages"][-1] == {"role": "assistant", "content": "yes"}

    def test_its_forms_hold_the_same_rows(self, taught: Taught, distil: Any) -> None:
        import csv

        out, _ = distil(written(taught.folder / "t", [line(number) for number in range(9)]))
        with (out / "ludwig.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        for split, name in (("0", "train"), ("1", "validation")):
            pairs = read(out / f"{name}.jsonl")
            assert [(row["prompt"], row["completion"]) for row in rows if row["split"] == split] == [
                (pair["prompt"], pair["completion"]) for pair in pairs
            ]
            chats = read(out / "chat" / f"{name}.jsonl")
            assert [chat["messages"][0]["content"] for chat in chats] == [pair["prompt"] for pair in pairs]

    def test_earlier_turns_of_the_assistant_have_no_weight(self, taught: Taught, distil: Any) -> None:
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                 {"role": "assistant", "content": "Hello"}, {"role": "user", "content": own_text(3)}]  # fmt: skip
        folder = written(taught.folder / "log", [request(3, input={"model": "m", "messages": turns})], "log.jsonl")
        out, _ = distil(folder, options=("--validation", "0"))
        (chat,) = read(out / "chat" / "train.jsonl")
        assert [one.get("weight") for one in chat["messages"]] == [None, None, 0, None, None]
        (pair,) = read(out / "train.jsonl")
        assert pair["prompt"] == f"Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: {own_text(3)}\n\nAssistant:"

    def test_the_card_names_teacher_cost_and_terms(self, taught: Taught, loopback: Loopback, harness: Command) -> None:
        taught.model("m", loopback.openai_url, price={"input": 100, "output": 200})
        assert harness("collect", "small", "--teacher", "m", *taught.arguments())[0] == 0
        out = taught.folder / "student"
        shared = ("--tasks", str(taught.folder / "tasks"), "--data", "sample")
        assert harness("distill", "small", "--from", str(taught.teacher()), "--out", str(out), *shared)[0] == 0
        about, card = json.loads((out / "distill.json").read_text()), (out / "README.md").read_text()
        tokens = about["input_tokens"], about["output_tokens"]
        assert tokens == (LEARNED * 26, LEARNED)
        assert about["usd"] == pytest.approx((100 * tokens[0] + 200 * tokens[1]) / 1e6)
        assert about["teachers"] == ["m"]
        for part in ("Teacher: m.", "may forbid training", "| valid answers | 40 | 0 |", f"{about['usd']:.4f} USD"):
            assert part in card

    def test_what_is_there_is_not_overwritten(self, taught: Taught, harness: Command) -> None:
        out = taught.folder / "o"
        folder = written(taught.folder / "t", [line(0), line(1, "no")])
        written(out, [], "mine.txt")
        assert "it is not empty" in refused(taught, harness, "--from", str(folder), "--out", str(out))
        assert [path.name for path in out.iterdir()] == ["mine.txt"]

    def test_an_interrupted_distill_leaves_no_folder(
        self, taught: Taught, harness: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from harness.teach import folder as writing

        def stopped(*given: object) -> str:
            os._exit(9)

        folder = written(taught.folder / "t", [line(0), line(1, "no")])
        out = taught.folder / "o"
        child = os.fork()
        if child == 0:  # killed while it writes
            monkeypatch.setattr(writing, "_readme", stopped)
            shared = ["--tasks", str(taught.folder / "tasks"), "--data", "sample"]
            sys.argv = ["harness", "distill", "small", "--from", str(folder), "--out", str(out), *shared]
            main()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert not out.exists()
        (left,) = taught.folder.glob(".o.*")
        code, _, err = harness(
            "train", "small", "--base", "x", "--train-on", str(left), "--tasks", str(taught.folder / "tasks"),
            "--data", "sample", "--dry-run", "--engine", "peft",
        )  # fmt: skip
        assert code == 2
        assert "not a finished folder of `harness distill`" in err


class TestRecorded:
    def test_requests_of_an_application_are_learned(self, taught: Taught, distil: Any) -> None:
        lines = [request(number) for number in range(6)]
        lines += [request(7, status=429, output={"error": {"message": "slow down"}}), request(8, "perhaps")]
        folder = written(taught.folder / "log", lines, "requests.jsonl")
        out, made = distil(folder, options=("--validation", "0"))
        assert made["rows"] == {"train": 6, "validation": 0}
        assert read(out / "train.jsonl")[0] == {"prompt": f"Classify for me: {own_text(0)}", "completion": " yes"}
        assert json.loads((out / "distill.json").read_text())["usd"] is None
        assert {one["why"] for one in read(out / "dropped.jsonl")} == {
            "failed: the request failed (status 429)", "unparsed",
        }  # fmt: skip

    def test_an_evaluated_row_is_found_in_another_frame(self, taught: Taught, distil: Any) -> None:
        folder = written(taught.folder / "log", [request(number) for number in (0, 2, LEARNED + 1)], "a.jsonl")
        out, _ = distil(folder)
        (dropped,) = read(out / "dropped.jsonl")
        assert dropped["from"] == f"{folder}/a.jsonl:3"
        assert dropped["step"] == "evaluated rows"

    def test_requests_that_failed_before_they_were_sent_whole_are_counted(self, taught: Taught, distil: Any) -> None:
        lost = request(0, input=None, output=None, status=None, error="the client hung up")
        log = written(taught.folder / "log", [lost, *(request(number) for number in (1, 2, 3))], "requests.jsonl")
        out, made = distil(log, options=("--validation", "0"))
        assert (made["read"], made["steps"][STEPS[0]], made["rows"]["train"]) == (4, 3, 3)
        assert [one["why"] for one in read(out / "dropped.jsonl")] == ["failed: the request failed (status None)"]

    def test_several_choices_are_several_answers(self, taught: Taught, distil: Any) -> None:
        one = request(0)
        one["output"]["choices"] = [
            {"message": {"content": said}, "finish_reason": "stop"} for said in ("no", "yes", "yes")
        ]
        folder = written(taught.folder / "log", [one, request(1), request(1)], "a.jsonl")
        out, _ = distil(folder, options=("--agree", "repeats=0.6", "--validation", "0"))
        assert [pair["completion"] for pair in read(out / "train.jsonl")] == [" yes", " yes"]

    def test_a_request_with_an_image_is_refused_and_not_learned_without_it(
        self, taught: Taught, harness: Command
    ) -> None:
        one = request(0)
        text = {"type": "text", "text": one["input"]["messages"][-1]["content"]}
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        one["input"]["messages"][-1]["content"] = [text, image]
        folder = written(taught.folder / "log", [one], "a.jsonl")
        err = refused(taught, harness, "--from", str(folder), "--out", str(taught.folder / "o"))
        assert f"{folder}/a.jsonl:1: a message holds more than text" in err

    def test_tool_calls_are_kept_in_a_json_task_and_refused_in_another(
        self, taught: Taught, distil: Any, harness: Command
    ) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        one = request(0)
        one["input"] |= {"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": False}
        one["output"]["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
        folder = written(taught.folder / "log", [one], "a.jsonl")
        err = refused(taught, harness, "--from", str(folder), "--out", str(taught.folder / "o"))
        assert f"{folder}/a.jsonl:1: the answer is a tool call" in err
        taught.task(
            text=TASK.replace("{type: label, labels: [yes, no]}", "{type: json}")
            .replace("[accuracy, macro_f1]", "[json_match]")
            .replace('"{{ label }}"', '"{{ label | tojson }}"')
        )
        out, _ = distil(folder, options=("--validation", "0"))
        (chat,) = read(out / "chat" / "train.jsonl")
        assert chat["messages"][-1]["tool_calls"] == [call]
        assert chat["parallel_tool_calls"] is False
        assert chat["tools"][0]["function"]["name"] == "f"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"input": {}}\n', ":1: no input.messages"),
            ('{"input": {"messages": []}, "output": {}}\n', ":1: no input.messages"),
            ("[1]\n", ":1: expected a JSON object, found list"),
            (json.dumps(request(0)) + '\n{"input": {"mess', ":2: not valid JSON"),
            *(
                (json.dumps(request(0, output=output)) + "\n", ":1: not a recorded request and its answer")
                for output in ({"choices": [None]}, {"choices": "x"}, {"choices": [], "usage": "x"})
            ),
            (json.dumps({**line(0), "status": "weird"}) + "\n", ":1: not a line of `harness collect`"),
        ],
    )
    def test_a_line_that_cannot_be_used_is_named(
        self, taught: Taught, harness: Command, text: str, message: str
    ) -> None:
        folder = written(taught.folder / "log", [], "a.jsonl")
        (folder / "a.jsonl").write_text(text)
        err = refused(taught, harness, "--from", str(folder), "--out", str(taught.folder / "o"))
        assert f"{folder}/a.jsonl{message}" in err
        assert "delete the line" in err or "collect again" in err

    def test_a_folder_without_answers_is_named(self, taught: Taught, harness: Command) -> None:
        taught.teacher("gpt-4").mkdir(parents=True)
        folder = taught.teacher("gpt4")
        err = refused(taught, harness, "--from", str(folder), "--out", str(taught.folder / "o"))
        assert "there is no folder of collected or recorded answers (did you mean 'gpt-4'?)" in err
        (taught.teacher("gpt-4") / "responses.jsonl").write_text("")
        err = refused(taught, harness, "--from", str(taught.teacher("gpt-4")), "--out", str(taught.folder / "o"))
        assert "collecting has not ended here" in err


def test_ten_thousand_rows_are_distilled(taught: Taught, distil: Any) -> None:
    import random

    draw = random.Random(0)
    words = [f"word{number}" for number in range(3000)]
    lines = [line(number, text=" ".join(draw.choices(words, k=80))) for number in range(10_000)]
    folder = written(taught.folder / "t", lines)
    began = time.process_time()
    _, made = distil(folder)
    print(f"{time.process_time() - began:.1f} CPU-s")
    assert sum(made["rows"].values()) == 10_000


def test_a_log_of_harness_record_becomes_a_students_rows(taught: Taught, loopback: Loopback, distil: Any) -> None:
    """Whole and streamed answers alike; what an evaluated row would give away, and a failed request, are left out."""
    from openai import APIStatusError, OpenAI

    from tests.teach.recording import Recording

    loopback.answer = lambda prompt: "Yes."
    loopback.plan = lambda prompt, attempt: FAULTS["invalid"] if own_text(5) in prompt else None
    recording = Recording(loopback.openai_url, taught.folder / "log")
    client = OpenAI(base_url=recording.url, api_key="none", max_retries=0)
    for number in (*range(6), LEARNED):  # the last one is an evaluated row's text
        question = f"Is {own_text(number)} fine? Answer with one word."
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": question}]}
        if number == 5:
            with pytest.raises(APIStatusError):
                client.chat.completions.create(**asked)
        elif number % 2:
            client.chat.completions.create(**asked)
        else:
            list(client.chat.completions.create(**asked, stream=True))
    assert len(recording.lines(7)) == 7
    assert recording.stop()[0] == 0
    folder, made = distil(taught.folder / "log", options=("--validation", "0"))
    assert [row["completion"] for row in read(folder / "train.jsonl")] == [" yes"] * 5
    assert [one["step"] for one in read(folder / "dropped.jsonl")] == ["valid answers", "evaluated rows"]
    assert made["read"] == 7

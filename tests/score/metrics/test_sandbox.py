"""A model's program is run where it can do no harm.

Each test runs the real thing, in every sandbox that works on the machine; where none does, only the refusal is tested.
"""

from __future__ import annotations

import itertools
import os
import socket
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.errors import UserError
from harness.score.metrics import sandbox
from harness.score.metrics.base import FloatArray
from harness.score.metrics.code import unbiased_pass_at_k
from harness.score.metrics.sandbox import Mechanism, execute
from tests.score.metrics.rows import example, metric, spec

CODE = spec("code", program="{{ completion }}")


def _works(mechanism: Mechanism) -> bool:
    return sandbox.available(mechanism) and execute("pass", mechanism, 60)


WORKING = [mechanism for mechanism in ("bubblewrap", "namespaces") if _works(mechanism)]


def test_a_sandbox_works_here() -> None:
    """Without one, none of the tests below runs: that must be seen."""
    assert WORKING, "install bubblewrap, or allow user namespaces"


@pytest.fixture(scope="module", params=WORKING)
def mechanism(request: pytest.FixtureRequest) -> Mechanism:
    """Each way that works on this machine."""
    found: Mechanism = request.param
    return found


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any sandbox."""
    monkeypatch.setattr(sandbox, "available", lambda mechanism: False)
    sandbox.working_mechanism.cache_clear()
    yield
    sandbox.working_mechanism.cache_clear()


def passes(program: str, mechanism: Mechanism, seconds: float = 60) -> bool:
    return execute(textwrap.dedent(program), mechanism, seconds)


def test_a_program_passes_when_it_runs_to_its_end(mechanism: Mechanism) -> None:
    assert passes("import math, dataclasses, json, re\nassert math.gcd(12, 18) == 6", mechanism)
    assert passes("print('x' * 1_000_000)\nassert input.__name__ == 'input'", mechanism)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 + 1 == 3",
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "exit()",
        "input()",
        "def f(:",
        "\ud800",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nimport time\ntime.sleep(1)\nassert False",
    ],
)
def test_a_program_fails_that_does_not_reach_its_end(program: str, mechanism: Mechanism) -> None:
    assert not passes(program, mechanism)


def test_an_endless_loop_is_stopped(mechanism: Mechanism) -> None:
    assert not passes("while True: pass", mechanism, 1)
    assert not passes("import time\ntime.sleep(1000)", mechanism, 1)


def test_a_fork_bomb_ends_with_its_program(mechanism: Mechanism) -> None:
    before = _processes()
    assert not passes("import os\nwhile True: os.fork()", mechanism, 5)
    assert _processes() - before < 50


def _processes() -> int:
    return sum(name.name.isdigit() for name in Path("/proc").iterdir())


def test_what_a_program_leaves_running_is_ended(mechanism: Mechanism) -> None:
    mark = f"harness-sandbox-test-{os.getpid()}"
    program = f"""
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)", "{mark}"], start_new_session=True)
    """
    passes(program, mechanism)
    # The kernel ends what is left in a namespace a moment after its first process, which we wait for.
    for _ in range(200):
        left = [line for line in _command_lines() if mark.encode() in line]
        if not left:
            break
        time.sleep(0.05)
    assert not left


def _command_lines() -> Iterator[bytes]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                yield (folder / "cmdline").read_bytes()
            except OSError:
                continue


def test_ten_gigabytes_are_not_had(mechanism: Mechanism) -> None:
    assert not passes("x = bytearray(10 << 30)", mechanism)
    assert passes(
        "try:\n    x = bytearray(10 << 30)\nexcept MemoryError:\n    pass\nelse:\n    raise SystemExit(1)", mechanism
    )


def test_removing_everything_removes_nothing(mechanism: Mechanism, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("here")
    program = f"""
        import os, shutil, subprocess
        shutil.rmtree("/", ignore_errors=True)
        shutil.rmtree({str(tmp_path)!r}, ignore_errors=True)
        os.system("rm -rf / --no-preserve-root")
    """
    passes(program, mechanism)
    assert kept.read_text() == "here"
    assert Path(os.__file__).exists()
    assert passes("import json", mechanism)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/proc/1/environ", "/var/log", str(Path.home() / ".profile"), __file__]
)
def test_no_file_of_the_machine_is_seen(path: str, mechanism: Mechanism) -> None:
    assert not passes(f"import os\nos.stat({path!r})", mechanism)


def test_only_the_temporary_folder_can_be_written(mechanism: Mechanism) -> None:
    assert passes("open('x', 'w').write('1')\nassert open('/tmp/x').read() == '1'", mechanism)
    assert not Path("/tmp/x").exists() or Path("/tmp/x").read_text() != "1"  # the machine's own
    for path in ("/x", "/usr/lib/x", str(Path(os.__file__).with_name("x.py"))):
        assert not passes(f"open({path!r}, 'w')", mechanism)
    assert not passes("open('x', 'wb').write(bytes(1 << 28))", mechanism)


def test_there_is_no_network(mechanism: Mechanism) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)"
        assert execute(connect, "none", 60)  # the program is right, and reaches the server without a sandbox
        assert not passes(connect, mechanism)


def test_the_environment_is_empty(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    # Python sets its own LC_CTYPE, bubblewrap PWD.
    assert passes("import os\nassert set(os.environ) <= {'LC_CTYPE', 'PWD'}, os.environ", mechanism)


def test_a_program_is_nobody_and_cannot_become_root(mechanism: Mechanism) -> None:
    program = """
        import os
        assert os.getuid() != 0
        for change in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.kill(1, 9), lambda: os.chroot("/tmp")):
            try:
                change()
            except OSError:
                continue
            raise SystemExit(1)
    """
    assert passes(program, mechanism)


def test_the_one_that_works_is_found(mechanism: Mechanism) -> None:
    assert sandbox.working_mechanism() != "none"
    assert sandbox.run("assert True")
    assert not sandbox.run("assert False")


@pytest.mark.usefixtures("nothing_works")
def test_without_a_sandbox_code_is_refused_unless_the_user_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_unsafe_allowed", False)
    with pytest.raises(UserError, match="--unsafe-code"):
        sandbox.run("pass")
    sandbox.allow_unsafe()
    assert sandbox.run("pass")
    assert not sandbox.execute("while True: pass", "none", 1)


def test_a_program_is_run_as_a_module(mechanism: Mechanism) -> None:
    assert passes("if __name__ == '__main__':\n    print(int(input()))", mechanism)
    assert passes(
        """
        from __future__ import annotations
        import dataclasses, pickle, typing

        @dataclasses.dataclass
        class A:
            x: int

        assert pickle.loads(pickle.dumps(A(1))) == A(1)
        assert typing.get_type_hints(A) == {"x": int}
        """,
        mechanism,
    )


@pytest.mark.parametrize(
    ("samples", "passed", "k", "expected"),
    [
        (1, 1, 1, 1),
        (1, 0, 1, 0),
        (5, 2, 1, 2 / 5),
        (5, 2, 2, 1 - 3 / 10),
        (5, 2, 4, 1),
        (5, 0, 5, 0),
        (200, 1, 100, 0.5),
    ],
)
def test_pass_at_k_is_unbiased(samples: int, passed: int, k: int, expected: float) -> None:
    assert unbiased_pass_at_k(samples, passed, k) == pytest.approx(expected)
    draws = list(itertools.combinations([True] * passed + [False] * (samples - passed), k)) if samples < 9 else []
    if draws:
        assert unbiased_pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("samples", "passed", "k"), [(2, 1, 3), (2, 3, 1), (2, -1, 1), (2, 1, 0)])
def test_pass_at_k_needs_as_many_samples(samples: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="is not defined"):
        unbiased_pass_at_k(samples, passed, k)


@pytest.mark.usefixtures("mechanism")
def test_pass_at_k_is_estimated_from_all_answers_to_a_row() -> None:
    def passed(*programs: str | None) -> FloatArray:
        return pass_at_2.table([example(CODE, "pass", "pass", fields={"program": program}) for program in programs])

    pass_at_2 = metric("pass_at_k", CODE, k=2)
    answers = np.array([passed("pass", "assert False", None, "pass"), passed("assert False", None, None, None)])
    assert pass_at_2.of_samples(answers).tolist() == [[pytest.approx(1 - 1 / 6)], [0.0]]
    assert metric("pass_at_k", CODE, k=1).score([example(CODE, "x = 1", "x", fields={"program": "pass"})]) == 1
    assert pass_at_2.samples == 2
    with pytest.raises(UserError, match="k must be at least 1"):
        metric("pass_at_k", CODE, k=0)


@pytest.mark.usefixtures("mechanism")
def test_pass_at_1_is_the_share_of_programs_that_pass() -> None:
    program = "def f(x):\n    return x + 1\n\nassert f(1) == {}"
    rows = [example(CODE, "def f", "def f", fields={"program": program.format(value)}) for value in (2, 3)]
    unanswered = example(CODE, "", "def f", fields={"program": program.format(2)})
    assert metric("pass_at_1", CODE).score([*rows, rows[0], unanswered]) == 0.5

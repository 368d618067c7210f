"""Mutants: whether the tests notice small changes of the code, one at a time.

python -m benchmarks.mutation                                        20 mutants of each file that figures rest on
python -m benchmarks.mutation --file harness/ask/limiter.py --sample 0       all mutants of one file
python -m benchmarks.mutation --again survivors.txt                  those that a former run has listed

The tests run in a copy of the project, which holds one mutant at a time. They run once as the code is, to know how long
each takes and which lines it executes; a mutant meets those that execute its line, those of its own file first, up to
the first that fails. One in a function replaces the function's code in a fork of a process that has all tests loaded;
one outside (a constant, a default) needs a new process. Programs that the tests start read the mutant's file.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *(f"harness/ask/{name}.py" for name in ("limiter", "attempts", "fanout", "scope", "budget")),
    *(f"harness/store/{name}.py" for name in ("atomic", "results", "history", "provenance", "running")),
    *(f"harness/score/{name}.py" for name in ("scoring", "rules", "predictions", "doubts")),
    *(f"harness/compare/{name}.py" for name in ("paired", "intervals", "gate", "power", "standings")),
    "harness/plan/plan.py",
    "harness/commands/gate.py",
]
TESTED = ("ask", "store", "score", "compare", "plan", "commands", "models/test_batch.py", "test_api.py")
TESTS = [f"tests/{name}" for name in TESTED]
UNMARKED = "not local and not index and not cluster and not browser"
COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.LtE], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn], ast.NotIn: [ast.In],
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
SKIPPED_FIELDS = {"annotation", "returns", "decorator_list"}
SKIPPED_KEYWORDS = {"strict", "slots", "frozen", "ensure_ascii", "indent"}
WORDING = {"print", "echo", "secho", "debug", "info", "warn", "warning"}
Place = tuple[ast.AST, str, int | None]
"""Where a node stands: its parent, the field, and the index where the field is a list."""


@dataclass(frozen=True)
class Mutant:
    """A file with one change."""

    file: str
    lines: range
    change: str
    source: str
    function: tuple[str, int] | None
    code: CodeType | None
    """The changed code of that function: its qualified name and first line."""

    def __str__(self) -> str:
        return f"{self.file}:{self.lines.start}: {self.change}"


def mutants(file: str) -> list[Mutant]:
    """All mutants of a file that compile to something else than the file does."""
    text = (ROOT / file).read_text("utf-8")
    tree = ast.parse(text)
    lines = text.splitlines()
    path = str(ROOT / file)
    original = compile(tree, path, "exec")
    found = []
    for (parent, field, index), new, span, function in list(_changes(tree)):
        if any("pragma" in line for line in lines[span.start - 1 : span.stop - 1]):
            continue
        old = getattr(parent, field) if index is None else getattr(parent, field)[index]
        _put(parent, field, index, ast.fix_missing_locations(ast.copy_location(new, old)))
        try:
            code = compile(tree, path, "exec")
            if code != original:
                change = f"{_line(old)} → {_line(new)}"
                if isinstance(old, ast.Constant) and isinstance(parent, ast.expr):
                    change += f"  in {_line(parent)}"
                inside = _code_of(code, function) if function else None
                found.append(Mutant(file, span, change, ast.unparse(tree), function, inside))
        except (SyntaxError, ValueError):
            pass  # `break` outside a loop, say
        finally:
            _put(parent, field, index, old)
    return found


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _line(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:89]}…"


def _code_of(code: CodeType, function: tuple[str, int]) -> CodeType | None:
    for inner in (const for const in code.co_consts if isinstance(const, CodeType)):
        if (inner.co_qualname, inner.co_firstlineno) == function:
            return inner
        if (found := _code_of(inner, function)) is not None:
            return found
    return None


def _changes(tree: ast.Module) -> Iterator[tuple[Place, ast.AST, range, tuple[str, int] | None]]:
    """Each place with what may stand there instead, the lines that execute it, and the function around it."""

    def visit(
        node: ast.AST, above: tuple[ast.AST, ...], names: tuple[str, ...], function: tuple[str, int] | None
    ) -> Iterator[tuple[Place, ast.AST, range, tuple[str, int] | None]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = (*names, node.name)
        for field, value in ast.iter_fields(node):
            if field in SKIPPED_FIELDS:
                continue
            inside = function
            if field == "body" and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and function is None:
                inside = ".".join(names), min([node.lineno, *(one.lineno for one in node.decorator_list)])
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or _skipped(child, node):
                    continue
                statement = child if isinstance(child, ast.stmt) else next(
                    (one for one in reversed(above) if isinstance(one, ast.stmt)), child
                )  # fmt: skip
                for new in _instead(child, node, above):
                    end = getattr(child, "end_lineno", None) or getattr(statement, "lineno", 1)
                    start = getattr(child, "lineno", getattr(statement, "lineno", 1))
                    yield (node, field, index), new, range(start, max(start, end) + 1), inside
                if not isinstance(child, ast.Raise):
                    yield from visit(child, (*above, child), names, inside)

    yield from visit(tree, (tree,), (), None)


def _skipped(node: ast.AST, parent: ast.AST) -> bool:
    """Texts, types, assertions, and what only words something."""
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Expr(value=ast.Constant()):
            return True
        case ast.FunctionDef(name="__repr__" | "__str__"):
            return True
        case ast.keyword(arg=name):
            return name in SKIPPED_KEYWORDS
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
            return name in WORDING
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.If(test=ast.Compare(left=ast.Attribute(value=ast.Name(id="sys"), attr="platform"))):
            return True  # another platform's code, which is not executed here
        case ast.IfExp(body=body, orelse=orelse):
            return _is_text(body) and _is_text(orelse)
        case ast.BinOp(left=left, op=op, right=right):
            types = isinstance(op, ast.BitOr) and isinstance(parent, ast.Subscript)
            return types or _is_text(left) or _is_text(right)
    return False


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _instead(node: ast.AST, parent: ast.AST, above: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """What may stand in place of a node."""
    if isinstance(parent, (ast.If, ast.IfExp)) and node is parent.test and not isinstance(node, ast.Constant):
        yield from (ast.Constant(True), ast.Constant(False))
    if isinstance(parent, ast.While) and node is parent.test and not isinstance(node, ast.Constant):
        yield ast.Constant(False)
    if isinstance(parent, ast.comprehension) and node in parent.ifs:
        yield ast.Constant(True)
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                for swapped in COMPARISONS[type(op)]:
                    yield _with(node, ops=[*ops[:place], swapped(), *ops[place + 1 :]])
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.And() if isinstance(op, ast.Or) else ast.Or())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield _with(node, op=ARITHMETIC[type(op)]())
        case ast.Call(func=ast.Name(id="min" | "max" as name) as function):
            yield _with(node, func=_with(function, id="min" if name == "max" else "max"))
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 2 or 1.0)
        case ast.Constant(value=str(value)) if _is_compared(parent, above):
            yield ast.Constant(f"{value}*")
        case ast.Return(value=value) if value is not None and not (isinstance(value, ast.Constant) and not value.value):
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete() | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


def _is_compared(parent: ast.AST, above: Sequence[ast.AST]) -> bool:
    listed = isinstance(parent, (ast.Tuple, ast.Set, ast.List)) and isinstance(above[-2], ast.Compare)
    return listed or isinstance(parent, (ast.Compare, ast.MatchValue))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


class Mutation:
    """A plugin of pytest that meets mutants with the tests in place of running them once."""

    def __init__(self, given: argparse.Namespace, out: int) -> None:
        self.given, self.out = given, out
        self.seconds: dict[str, float] = {}
        self.covering: dict[str, dict[int, set[str]]] = {}
        self.failed = False
        self._writes = 0

    def say(self, line: str = "") -> None:
        """Print a line past the capture of pytest."""
        os.write(self.out, f"{line}\n".encode())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All mutants of all files."""
        self.items = {item.nodeid: item for item in session.items}
        self.live: defaultdict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
        for one in gc.get_objects():
            if isinstance(one, FunctionType):
                code = one.__code__
                self.live[code.co_filename, code.co_qualname, code.co_firstlineno].append(one)
        self._first_run(session)
        again = Path(self.given.again).read_text("utf-8").splitlines() if self.given.again else []
        for seed in self.given.seed:
            self.say(f"\nseed {seed}\n\n| file | mutants | killed | timed out | survived | not covered |")
            self.say("|---|--:|--:|--:|--:|--:|")
            self._meet_all(seed, again)
        return True

    def _meet_all(self, seed: str, again: Sequence[str]) -> None:
        """A sample of each file's mutants, as a table, and those that no test has noticed."""
        survivors: list[str] = []
        total: Counter[str] = Counter()
        for file in self.given.file:
            chosen = mutants(file)
            if self.given.again:
                chosen = [one for one in chosen if any(line and str(one).startswith(line) for line in again)]
            elif 0 < self.given.sample < len(chosen):
                chosen = random.Random(f"{seed} {file}").sample(chosen, self.given.sample)
            found: Counter[str] = Counter()
            for mutant in sorted(chosen, key=lambda one: one.lines.start):
                came = self._meet(mutant)
                found[came] += 1
                if came in {"survived", "not covered"}:
                    survivors.append(str(mutant))
                    if self.given.list:
                        with self.given.list.open("a", encoding="utf-8") as listed:
                            listed.write(f"{mutant}\n")
            total += found
            self.say(f"| {file} {_cells(found)}")
        self.say(f"| all {_cells(total)}\n")
        self.say("\n".join(survivors))

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a failure, and how long a test takes."""
        self.failed |= report.failed
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def _first_run(self, session: pytest.Session) -> None:
        """Run all tests in a fork: what each takes, and which lines it executes. Those that fail are left out."""
        folder = Path(tempfile.mkdtemp())
        started = ROOT / "sitecustomize.py"
        settings = {"include": [str(ROOT / file) for file in self.given.file], "data_file": str(folder / "lines")}
        started.write_text(
            "import contextlib, os\nwith contextlib.suppress(ImportError):\n    import coverage\n"
            "    test = os.environ.get('PYTEST_CURRENT_TEST', '').rpartition(' ')[0]\n"
            f"    coverage.Coverage(**{settings!r}, context=test, auto_data=True, data_suffix=True, config_file=False)"
            ".start()\n"
        )
        if (child := os.fork()) == 0:
            _Recorder(self, session, settings).run(folder / "tests.json")
        os.waitpid(child, 0)
        started.unlink()
        self.seconds, broken = json.loads((folder / "tests.json").read_text())
        from coverage import Coverage

        data = Coverage(data_file=settings["data_file"], config_file=False)
        data.combine([str(folder)], strict=True)
        for name in broken:
            self.say(f"left out, fails as the code is: {name}")
            self.items.pop(name, None)
        shared: defaultdict[str, set[str]] = defaultdict(set)
        for name, item in self.items.items():
            for fixture in getattr(item, "fixturenames", ()):
                shared[fixture].add(name)
        for file in self.given.file:
            self.covering[file] = {}
            for line, contexts in data.get_data().contexts_by_lineno(str(ROOT / file)).items():
                tests = self.covering[file][line] = set()
                for context in contexts:
                    within, is_fixture, fixture = context.partition(" fixture ")
                    users = (name for name in shared[fixture] if name.startswith(within)) if is_fixture else [context]
                    tests.update(name for name in users if name in self.items)
        shutil.rmtree(folder)

    def _meet(self, mutant: Mutant) -> str:
        """What becomes of a mutant."""
        lines = self.covering[mutant.file]
        function = mutant.function and self.live.get((str(ROOT / mutant.file), *mutant.function))
        at = mutant.lines if mutant.function else lines
        tests = self._in_order(mutant.file, set().union(*(lines.get(line, ()) for line in at)))
        if not tests:
            return "not covered"
        path = ROOT / mutant.file
        original, as_it_was = path.read_bytes(), path.stat()
        path.write_text(mutant.source, "utf-8")
        self._writes += 1  # a second of its own, by which Python knows that compiled code is out of date
        os.utime(path, (as_it_was.st_mtime + self._writes,) * 2)
        try:
            if function and mutant.code and len(mutant.code.co_freevars) == len(function[0].__code__.co_freevars):
                return self._in_fork(function, mutant.code, tests)
            return self._in_process(tests)
        finally:
            path.write_bytes(original)
            os.utime(path, (as_it_was.st_atime, as_it_was.st_mtime))

    def _in_order(self, file: str, names: set[str]) -> list[str]:
        """All tests of the file's own, then others, the quickest first, as many as the time allows.

        Its own are there whatever they execute: what is cached runs in the first of them only.
        """
        folder, _, name = file.removeprefix("harness/").rpartition("/")
        own = f"tests/{folder}/test_{name}"
        chosen, left = [], self.given.seconds
        tests = {test for test in self.items if names and test.startswith(own)} | names
        for test in sorted(tests, key=lambda test: (not test.startswith(own), self.seconds[test])):
            if not test.startswith(own):
                left -= self.seconds[test]
            if left < 0:
                break
            chosen.append(test)
        return chosen

    def _in_fork(self, functions: Sequence[FunctionType], code: CodeType, tests: Sequence[str]) -> str:
        if (child := os.fork()) == 0:
            os.setpgid(0, 0)
            for function in functions:
                function.__code__ = code
            os._exit(self._first_failure([self.items[name] for name in tests]))
        _, status = os.waitpid(child, 0)
        _end_group(child)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            return "timed out"
        return "killed" if status else "survived"

    def _first_failure(self, items: Sequence[pytest.Item]) -> int:
        config = items[0].config
        config.pluginmanager.unregister(name="terminalreporter")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self.failed = False
        usual = dict(self.seconds)
        for item, following in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_REAL, 10 + 5 * usual[item.nodeid])
            try:
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            except BaseException:  # noqa: BLE001  whatever a mutant does
                return 1
            if self.failed:
                return 1
        return 0

    def _in_process(self, tests: Sequence[str]) -> str:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
        limit = 30 + 5 * sum(self.seconds[test] for test in tests)
        with subprocess.Popen(command, cwd=ROOT, stdout=-3, stderr=-3, process_group=0) as process:
            try:
                return "killed" if process.wait(limit) else "survived"
            except subprocess.TimeoutExpired:
                return "timed out"
            finally:
                _end_group(process.pid)


class _Recorder:
    """Runs all tests as the code is, each under its name; a fixture that several share under its own."""

    def __init__(self, mutation: Mutation, session: pytest.Session, settings: dict[str, object]) -> None:
        from coverage import Coverage

        self.mutation, self.session = mutation, session
        self.lines = Coverage(**settings, data_suffix=True, config_file=False)  # type: ignore[arg-type]
        self.test = ""

    def run(self, out: Path) -> None:
        """Run them, write down what each took and which failed, and end this process."""
        config, broken = self.session.config, []
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(self)
        self.lines.start()
        for item, following in zip(self.session.items, [*self.session.items[1:], None], strict=True):
            self.test = item.nodeid
            self.mutation.failed = False
            self.lines.switch_context(self.test)
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.mutation.failed:
                broken.append(item.nodeid)
        self.lines.stop()
        self.lines.save()
        out.write_text(json.dumps([self.mutation.seconds, broken]))
        os._exit(0)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[object]:
        """Record what a fixture of several tests executes under its own name."""
        if fixturedef.scope == "function":
            return (yield)
        self.lines.switch_context(f"{fixturedef.baseid} fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.lines.switch_context(self.test)


def _end_group(leader: int) -> None:
    """End what a test had started and a mutant has left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _cells(found: Counter[str]) -> str:
    counts = (found[name] for name in ("killed", "timed out", "survived", "not covered"))
    return f"| {found.total()} | {' | '.join(map(str, counts))} |"


def main() -> None:
    """Copy the project and run the mutants there."""
    parser = argparse.ArgumentParser(description="Whether the tests notice small changes of the code.")
    parser.add_argument("--file", nargs="+", default=FILES)
    parser.add_argument("--tests", nargs="+", default=TESTS, help="the tests that mutants meet")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each file; 0 for all")
    parser.add_argument("--seed", nargs="+", default=["0"], help="of the sample; several make a table each")
    parser.add_argument("--seconds", type=float, default=30.0, help="what tests of other files may take for a mutant")
    parser.add_argument("--list", type=Path, help="a file that survivors are added to as they are found")
    parser.add_argument("--again", type=Path, help="a file of survivors: only those")
    parser.add_argument("--copied", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.copied:
        out = os.dup(1)
        arguments = ["-n", "0", "-p", "no:cacheprovider", "-q", "-q", "-m", UNMARKED, *given.tests]
        raise SystemExit(pytest.main(arguments, plugins=[Mutation(given, out)]))
    paths = [f"--{name}={path.resolve()}" for name in ("list", "again") if (path := getattr(given, name))]
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "project"
        shutil.copytree(ROOT, copied, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
        command = [sys.executable, "-m", "benchmarks.mutation", *sys.argv[1:], *paths, "--copied"]
        kept = os.environ.get("PYTHONPATH", "").replace(str(ROOT), "")
        environment = os.environ | {
            "PYTHONPATH": f"{copied}{os.pathsep}{kept}", "CI": "1", "OPENBLAS_NUM_THREADS": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(Path(folder) / "examples"),
        }  # fmt: skip
        raise SystemExit(subprocess.run(command, cwd=copied, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()

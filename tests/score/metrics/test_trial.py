"""An answer passes by meeting its tests and in no other way; what it uses is bounded in total.

Each test runs the real thing, in every sandbox that works on the machine.
"""

from __future__ import annotations

import textwrap

import pytest

from harness.score.metrics.sandbox import Mechanism, Program, execute
from harness.score.scoring import _program
from tests.score.metrics.rows import spec
from tests.score.metrics.test_sandbox import WORKING

TESTS = """
    def check(candidate):
        assert candidate(2) == 4
        assert candidate([1]) == [1, 1]
        assert abs(candidate(0.1) - 0.2) < 1e-9

    check(double)
"""
ANYWHERE = """
    import os, sys, gc, socket
    for number in range(64):
        try:
            os.write(number, b"passed")
        except OSError:
            pass
"""


@pytest.fixture(scope="module", params=WORKING)
def mechanism(request: pytest.FixtureRequest) -> Mechanism:
    """Each way that works on this machine."""
    found: Mechanism = request.param
    return found


def passes(answer: str, mechanism: Mechanism, tests: str = TESTS, seconds: float = 30) -> bool:
    return execute(Program(textwrap.dedent(answer), textwrap.dedent(tests)), mechanism, seconds)


ATTACKS = {
    "a wrong answer": "def double(x): return 5",
    "exit": "import os\ndef double(x): os._exit(0)",
    "exit when loaded": "import os\nos._exit(0)",
    "exit politely": "import sys\ndef double(x): sys.exit(0)",
    "exit at the end": "import atexit, os\natexit.register(os._exit, 0)\ndef double(x): return 5",
    "the verdict on every descriptor": ANYWHERE + "\n    def double(x): return 5",
    "the verdict from within the test": (
        "def double(x):\n    import os\n    for number in range(64):\n        try: os.write(number, b'passed')\n"
        "        except OSError: pass\n    os._exit(0)"
    ),
    "what stands in the file": "print(open('/program.py').read())\ndef double(x): return check",
    "the frames": (
        "import sys\ndef double(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for name in ('check', 'candidate', 'verdict'):\n            frame.f_globals[name] = lambda *_: None\n"
        "        frame = frame.f_back\n    return 5"
    ),
    "the collector": (
        "import gc, types\ndef double(x):\n    for one in gc.get_objects():\n"
        "        if getattr(one, '__name__', '') == 'check': one.__code__ = (lambda c: 0).__code__\n"
        "    return 5"
    ),
    "builtins": (
        "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.AssertionError = type('A', (Exception,), {})\n"
        "def double(x): return 4 if x == 2 else [1, 1] if x == [1] else 99.0"
    ),
    "an own abs": "def abs(x): return 0\ndef double(x): return 4 if x == 2 else [1, 1] if x == [1] else 99.0",
    "what equals everything": (
        "class Any:\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\n"
        "    __rsub__ = __sub__\n    def __abs__(self): return 0\ndef double(x): return Any()"
    ),
    "a number that equals everything": (
        "class Any(int):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\n"
        "    __hash__ = int.__hash__\ndef double(x): return Any(7)"
    ),
    "a list that equals everything": (
        "class Any(list):\n    def __eq__(self, other): return True\ndef double(x): return Any() if x == [1] else x * 2"
    ),
    "a number that is infinitely small": (
        "class Any(float):\n    def __sub__(self, other): return 0.0\n    def __float__(self): return 0.2\n"
        "def double(x): return Any(9) if x == 0.1 else x * 2"
    ),
    "a forged reply": (
        "import os, json, sys\ndef double(x):\n    for number in range(3, 64):\n"
        '        try: os.write(number, b\'["done", 4, [], ""]\\n\' * 3)\n        except OSError: pass\n    return 5'
    ),
    "names that nobody asked for": (
        "import sys\nmain = sys.modules['__main__']\n"
        "main.Names.__call__ = lambda self, wanted: {'__builtins__': {}, 'check': lambda f: None, 'double': 1}\n"
        "def double(x): return 5"
    ),
    "a module of its own": "import sys\nsys.modules['program'].check = lambda f: None\ndef double(x): return 5",
    "other processes": "import os, signal\nfor n in range(1, 99):\n    try: os.kill(n, 9)\n    except OSError: pass",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_answer_that_is_wrong_does_not_pass_by(attack: str, mechanism: Mechanism) -> None:
    assert not passes(ATTACKS[attack], mechanism)


def test_a_module_of_the_tests_is_not_the_answers_to_replace(mechanism: Mechanism) -> None:
    tests = "assert math.isclose(half(3), 1.5)"
    assert passes("import math\ndef half(x): return x / 2", mechanism, tests)
    fake = "class math:\n    isclose = staticmethod(lambda *_: True)\ndef half(x): return 9"
    assert not passes(fake, mechanism, tests)
    assert not passes("def half(x): return x / 2", mechanism, tests)  # as it has not imported it


def test_a_function_named_as_one_of_pythons_is_tested(mechanism: Mechanism) -> None:
    assert passes("def sum(a, b): return a + b", mechanism, "assert sum(10, 15) == 25")
    assert not passes("def sum(a, b): return a", mechanism, "assert sum(10, 15) == 25")


PASSING = {
    "plain data": ("def f(*x): return x",
                   "v = (None, True, 1, -2 ** 80, 1.5, 'a\\ud800\\n', b'x', [1, (2,)], {1: {2}}, 2j)\n"
                   "assert f(*v) == v and [type(one) for one in f(*v)] == [type(one) for one in v]"),
    "numbers that are none": ("def f(x): return [x, float('nan')]", "import math\nassert f(math.inf)[0] == math.inf\n"
                              "assert math.isnan(f(1)[1])"),
    "values of modules": (
        "import fractions, decimal, datetime, collections\ndef f(x): return x",
        "from fractions import Fraction\nfrom decimal import Decimal\nimport datetime as d\nfrom collections import *\n"
        "for v in (Fraction(1, 3), Decimal('0.10'), d.date(2020, 2, 3), d.datetime(2020, 1, 2, 3, 4, 5, 6),\n"
        "          d.time(1), d.timedelta(1, 2), deque([1]), Counter('aab'), OrderedDict(a=1)): assert f(v) == v, v",
    ),
    "a list that is changed": ("def f(x, y): x.append(3); y['k'] = 1; x.sort()", "a, b = [2, 1], {}\n"
                               "assert f(a, b) is None\nassert (a, b) == ([1, 2, 3], {'k': 1})"),
    "an exception": (
        "class Odd(ValueError): pass\ndef f(x): raise Odd(f'not {x}')",
        "try:\n    f(3)\nexcept ValueError as error:\n    assert str(error) == 'not 3'\nelse:\n    assert False",
    ),
    "a function of the tests": ("def f(g, x): return [g(one) for one in x]",
                                "assert f(lambda n: n * 2, [1, 2]) == [2, 4]\n"
                                "assert f(str, [1]) == ['1']"),
    "a function that is returned": ("def f(n): return lambda x: x + n", "g = f(2)\nassert g(3) == 5 and g(x=1) == 3"),
    "a generator": ("def f(n):\n    while True:\n        yield n; n += 1",
                    "g = f(1)\nassert [next(g), next(g)] == [1, 2]\n"
                    "assert list(zip('ab', f(0))) == [('a', 0), ('b', 1)]"),
    "an object": (
        "class Stack:\n    size = 0\n    def __init__(self, *x): self.x = list(x)\n"
        "    def push(self, x): self.x.append(x)\n"
        "    def __len__(self): return len(self.x)\n    def __getitem__(self, i): return self.x[i]\n"
        "    def __eq__(self, o): return self.x == o.x\n    def __add__(self, o): return Stack(*self.x, *o.x)\n"
        "    def __repr__(self): return 'Stack'\n    def __contains__(self, x): return x in self.x",
        "s = Stack(1)\ns.push(2)\nassert s.x == [1, 2] and len(s) == 2 and s[1] == 2 and 2 in s and list(s) == [1, 2]\n"
        "assert s == Stack(1, 2) and s != Stack() and (s + s).x == [1, 2, 1, 2] and str(s) == 'Stack'\n"
        "assert isinstance(s, Stack) and not isinstance(5, Stack)\ns.size = 3\nassert s.size == 3 and Stack.size == 0",
    ),
    "what is printed": (
        "def f(x): print('hello', x)",
        "import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n    f(1)\n"
        "assert out.getvalue() == 'hello 1\\n'",
    ),
    "no annotations of the harness": ("def f(x: int): pass", "assert f.__annotations__['x'] is not str"),
    "an answer with a future": ("from __future__ import annotations\ndef f(x: Unheard): return 1", "assert f(1) == 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_tests_call_an_answer_as_if_it_were_beside_them(name: str, mechanism: Mechanism) -> None:
    answer, tests = PASSING[name]
    assert passes(answer, mechanism, tests)
    assert not passes(answer, mechanism, tests + "\nassert False")
    assert not passes(answer, mechanism, tests + "\nimport os\nos._exit(0)")


def test_memory_of_all_processes_together_is_bounded(mechanism: Mechanism) -> None:
    """One process of 500 MB is well, ten of them are not."""
    family = """
        import os, time
        for number in range({children}):
            if os.fork() == 0:
                held = bytearray(b"x") * (500 << 20)
                time.sleep(20)
                os._exit(0)
        time.sleep(5)
        def double(x): return x * 2
    """
    assert passes(family.format(children=1), mechanism)
    assert not passes(family.format(children=10), mechanism)


def test_what_forked_processes_share_counts_once(mechanism: Mechanism) -> None:
    answer = """
        import os, time
        held = bytearray(b"x") * (400 << 20)
        for number in range(6):
            if os.fork() == 0:
                time.sleep(20)
        time.sleep(1)
        def double(x): return x * 2
    """
    assert passes(answer, mechanism)


HIDDEN = {
    "memfd": "import os\nf = os.memfd_create('x')",
    "shared memory of System V": (
        "import ctypes\nassert ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) >= 0"
    ),
    "files in /dev/shm": "for name in 'xy': open(f'/dev/shm/{name}', 'wb').write(bytes(15 << 20))",
    "a file beside the devices": "open('/dev/x', 'wb')",
    "a mount of its own": (
        "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.unshare(0x10020000) == 0\n"
        "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0"
    ),
    "the temporary folder": "\n".join(f"open('{n}', 'wb').write(bytes(16 << 20))" for n in range(5)),
}  # fmt: skip


def test_what_those_need_is_there(mechanism: Mechanism) -> None:
    assert passes("import ctypes\nassert ctypes.CDLL(None).getpid()", mechanism, "")


@pytest.mark.parametrize("place", HIDDEN)
def test_memory_that_counts_for_no_process_is_bounded_or_refused(place: str, mechanism: Mechanism) -> None:
    assert not passes(HIDDEN[place], mechanism, "")


@pytest.mark.parametrize(
    ("template", "answer", "tests"),
    [
        ("{{ completion }}\n\n{{ setup }}\n{{ test }}", "ANSWER", "\n\nSETUP\nTEST"),
        ("{{ setup }}\n{{ completion }}\n{{ test }}", "SETUP\nANSWER", "\nTEST"),
        ("{% if 'def' in completion %}{{ setup }}{{ completion }}{% else %}{{ completion }}{% endif %}\n{{ test }}",
         "ANSWER", "\nTEST"),
        ("{% set body = completion %}{{ body }}\n{{ test }}", "ANSWER\nTEST", ""),
        ("def f():\n    {{ completion }}\n    return 1\n{{ test }}", "def f():\n    ANSWER\n    return 1\nTEST", ""),
        ("{{ test }}", "", "TEST"),
    ],
)  # fmt: skip
def test_a_program_is_parted_behind_the_answer(template: str, answer: str, tests: str) -> None:
    from harness.rows.evaluation import EvaluationRow

    row = EvaluationRow("r", "", ("",), {"setup": "SETUP", "test": "TEST"})
    made = _program(spec("code", program=template), row, "ANSWER")
    if "set body" in template:  # where the text of the answer ends cannot be seen: what follows runs in its process
        assert (made.answer + made.tests).strip() == "ANSWER\nTEST"
    else:
        assert (made.answer, made.tests) == (answer, tests)

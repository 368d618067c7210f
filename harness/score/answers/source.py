"""Python source out of a text, without fences and prose."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from harness.score.answers.fences import MOST_BLOCKS, Block, fenced_blocks, only_block, string_after

_PYTHON = frozenset({"", "python", "py", "python3", "python2", "pycon", "ipython"})
# A line that begins code and no sentence.
_CODE_LINE = re.compile(
    r"(?:async[ \t]++)?def[ \t]++\w++[ \t]*+[(\[]|class[ \t]++\w++[ \t]*+[(:\[]|import[ \t]++[\w., \t]++(?:#.*)?\Z"
    r"|from[ \t]++[\w.]++[ \t]++import\b|@\w"
)
_LIKE_CODE = re.compile(
    r"^(?:[ \t]+\S|(?:def|class|import|from|return|for|while|if|try|with|print|lambda)\b|@\w|\w+[ \t]*=)", re.MULTILINE
)
_CLAUSE_LINE = re.compile(r"(?:elif|else|except|finally)\b|[)\]}]")
_SIGNS = re.compile(r"[=(\[{.\"'@]|\b(?:import|pass)\b")
MOST_CHARACTERS = 30_000
"""A longer program is not read, where parts of a text must be told from others."""
_BUILTINS = frozenset(dir(builtins))
_ACTS = ast.Call | ast.Await | ast.NamedExpr | ast.Yield | ast.YieldFrom
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINES = re.compile(r"^[ \t]*(?:(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|(\w+)[ \t]*=[ \t]*lambda\b)", re.MULTILINE)


def read_code(text: str) -> str | None:
    """Return the Python source in a text; None when there is none, or when one of its blocks is broken or cut off.

    One fenced block is the source as it stands. Of several, it is all those that define functions or classes, in their
    order, without a draft whose definitions a later complete block has again, and without blocks of tests; further
    blocks count when they define a name that is needed, only import, or do something in front of the definitions that
    needs none of them. A broken block counts as the draft only of what a later block defines. In a text without fences
    the prose around the source is left out. A function's body alone keeps its indentation.
    """
    blocks = fenced_blocks(text)
    if len(blocks) == 1:
        return _trimmed(blocks[0].text)
    if sum(len(block.text) for block in blocks) > MOST_CHARACTERS or len(blocks) == MOST_BLOCKS:
        return None
    if blocks:
        return _together(blocks)
    return _trimmed(_without_prose(text) or "") if len(text) <= MOST_CHARACTERS else None


def gold_code(text: str) -> str:
    """Return the source that a right answer is: the whole text, or its only fenced block.

    Raises:
        ValueError: it is not Python, or empty.
    """
    source = _trimmed(only_block(text))
    if source is None or not (parses(source) or _parses_as_body(source)):
        raise ValueError("it is not Python source")
    return source


def _trimmed(source: str) -> str | None:
    source = source.strip("\r\n").rstrip()
    return source if source.strip() else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A block that parses: the functions and classes that it defines in full, those it only sketches (with `...` for a
    body), every name that it binds, and the names that it uses without binding them; whether it is a test, whether it
    does nothing but import, and whether it does nothing but import and call."""

    source: str
    defined: frozenset[str]
    sketched: frozenset[str]
    bound: frozenset[str]
    used: frozenset[str]
    is_test: bool
    imports: bool
    prepares: bool


def _together(blocks: Sequence[Block]) -> str | None:
    """The source of several blocks that belong to one program; None when a part of it is broken."""
    python = [block for block in blocks if block.language in _PYTHON] or list(blocks)
    parts: list[_Part] = []
    broken: list[tuple[int, str]] = []
    """Each with the number of the parts before it."""
    for block in python:
        part = _part(block.text)
        if part is not None:
            parts.append(part)
        elif _DEFINES.search(block.text):
            broken.append((len(parts), block.text))
    if any(set(_names(source)) - _defined(parts[place:]) for place, source in broken):
        return _trimmed(broken[0][1]) if not _defined(parts) and len(broken) == 1 else None
    main = [part for part in parts if part.defined]
    main = [part for part in main if not part.is_test] or main
    main = main or [part for part in parts if not part.imports][:1] or parts[:1]
    if not main:
        return _trimmed(python[0].text)
    chosen = [part for number, part in enumerate(main) if not _superseded(part, main[number + 1 :])]
    others = [part for part in parts if part not in main and not part.is_test]
    chosen += _framing(parts[: parts.index(main[0])], others, main)
    others = [part for part in others if part not in chosen]
    return _trimmed("\n\n".join(part.source.strip("\r\n").rstrip() for part in _with_needed(parts, chosen, others)))


def _defined(parts: Sequence[_Part]) -> frozenset[str]:
    return frozenset(name for part in parts for name in part.defined)


def _superseded(part: _Part, later: Sequence[_Part]) -> bool:
    return bool(part.defined) and part.defined | part.sketched <= _defined(later)


def _framing(front: Sequence[_Part], others: Sequence[_Part], main: Sequence[_Part]) -> list[_Part]:
    """The other parts that only import, but not what is defined here, and those in front that prepare something."""
    found: list[_Part] = []
    known: frozenset[str] = frozenset()
    for part in others:
        if part.bound & _defined(main):
            continue
        if part.imports or (part in front and part.prepares and part.used <= known):
            found.append(part)
            known |= part.bound
    return found


def _with_needed(parts: Sequence[_Part], chosen: list[_Part], others: list[_Part]) -> list[_Part]:
    """The chosen parts and those of the others that bind a name that is needed, in their order."""
    while True:
        missing = {name for part in chosen for name in part.used} - {name for part in chosen for name in part.bound}
        needed = next((part for part in others if part.bound & missing), None)
        if needed is None:
            return [part for part in parts if part in chosen]
        chosen.append(needed)
        others.remove(needed)


def _names(source: str) -> list[str]:
    return [match[1] or match[2] for match in _DEFINES.finditer(source)]


def _part(source: str) -> _Part | None:
    tree = _parsed(source)
    if tree is None:
        source = textwrap.dedent(source)
        tree = _parsed(source)
    if tree is None:
        return None
    definitions = [node for node in tree.body if isinstance(node, _Definition)]
    lambdas = frozenset(
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda)
        for target in node.targets
        if isinstance(target, ast.Name)
    )
    sketched = frozenset(node.name for node in definitions if _is_sketch(node))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    defined = lambdas | frozenset(node.name for node in definitions)
    bound = defined | stored | imported
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)} - bound - arguments - _BUILTINS
    is_test = bool(definitions) and not lambdas and all(_is_test(node) for node in definitions)
    kinds = {type(node.value if isinstance(node, ast.Expr) else node) for node in tree.body}
    imports = bool(kinds) and kinds <= {ast.Import, ast.ImportFrom}
    prepares = bool(kinds) and kinds <= {ast.Import, ast.ImportFrom, ast.Call}
    return _Part(source, defined - sketched, sketched, bound, frozenset(used), is_test, imports, prepares)


def _is_sketch(node: _Definition) -> bool:
    """Whether its body, the docstring aside, is only `...`."""
    values = [one.value for one in node.body if isinstance(one, ast.Expr)]
    constants = [value.value for value in values if isinstance(value, ast.Constant)]
    return len(constants) == len(node.body) and ... in constants


def _is_test(node: _Definition) -> bool:
    if isinstance(node, ast.ClassDef):
        return any("TestCase" in ast.dump(base) for base in node.bases) or node.name.startswith("Test")
    return node.name.startswith("test")


def _without_prose(text: str) -> str | None:
    """The source in a text without fences: its top-level statements from the first line that is code.

    Each statement is parsed by itself, so that the time grows with the text. Prose between them is left out; behind it
    calls, as in an example of use, do not count. A definition that does not parse keeps all in, for the program to fail
    as it must.
    """
    tree = _parsed(text)
    if tree is not None and not any(_is_prose(node) for node in tree.body):
        return text
    if tree is None and not _LIKE_CODE.search(text):
        return None
    lines = text.splitlines()
    if not lines or lines[0][:1].isspace() or (tree is None and _parses_as_body(text)):
        return text
    kept: list[str] = []
    after_prose = False
    for chunk in _chunks(lines):
        parsed = _parsed("\n".join(chunk)) if len(chunk) > 1 or _SIGNS.search(chunk[0]) else None
        is_code = _CODE_LINE.match(chunk[0]) is not None
        if parsed is None and is_code:
            first = next(number for number, line in enumerate(lines) if _CODE_LINE.match(line))
            return "\n".join(lines[first:])
        if parsed is None or any(_is_prose(node) for node in parsed.body):
            after_prose = True
        elif is_code or not after_prose or not any(isinstance(node, ast.Expr) for node in parsed.body):
            after_prose = after_prose and not is_code
            kept += chunk
    return "\n".join(kept) if kept else text


def _is_prose(node: ast.stmt) -> bool:
    """Whether a statement does nothing, as words do that happen to parse: "Sure", "Note: this", "- It is so"."""
    if isinstance(node, ast.Expr):
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return not is_text and not any(isinstance(part, _ACTS) for part in ast.walk(node))
    return isinstance(node, ast.AnnAssign) and node.value is None


def _chunks(lines: Sequence[str]) -> list[list[str]]:
    """The lines by top-level statement, each from a line that is not indented and continues no bracket or string."""
    chunks: list[list[str]] = []
    depth, string, decorated = 0, "", False
    for line in lines:
        starts = line[:1].strip() != "" and not string and not decorated and not _CLAUSE_LINE.match(line)
        if starts and (depth <= 0 or _CODE_LINE.match(line)):
            chunks.append([])
            depth = 0
        if not chunks:
            chunks.append([])
        chunks[-1].append(line)
        if not string:
            bare = re.sub(r"\"[^\"]*+\"|'[^']*+'|#.*", "", line)
            depth += sum(bare.count(one) for one in "([{") - sum(bare.count(one) for one in ")]}")
            decorated = line.startswith("@")
        string = string_after(line, string)
    return chunks


def _parses_as_body(text: str) -> bool:
    """Whether it is a function's body, also when the first line's indentation was lost on the way."""
    return parses("def f():\n" + text) or parses("def f():\n    " + text.lstrip())


def parses(source: str) -> bool:
    """Return whether a text is Python source."""
    return _parsed(source) is not None


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the model's source may deserve warnings; they are not the user's
            return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None

"""Imports keep to the order that `docs/design.md` draws, wherever in a file they stand, and there is no circle."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
FOLDER = re.compile(r"(?P<name>[\w/]+/)(?: {2,}\S.*)?")
FILE = re.compile(r"(?P<indent> *)(?P<name>[\w/]+\.py) {2,}\S.*")


def drawn() -> dict[str, int]:
    """The files that the page lists, by path in the package, with the place of their folder; a single file is one."""
    text = PAGE.read_text(encoding="utf-8")
    block = text[text.index("## The files") :].split("```")[1]
    found: dict[str, int] = {}
    folder, place = "", -1
    for line in filter(str.strip, block.splitlines()):
        if match := FOLDER.fullmatch(line):
            folder, place = match["name"], place + 1
            continue
        match = FILE.fullmatch(line)
        assert match, f"{PAGE.name}: neither a folder nor a file with what it is: {line!r}"
        if not match["indent"]:
            folder, place = "", place + 1
        path = folder + match["name"]
        assert path not in found, f"{PAGE.name}: {path} is listed twice"
        found[path] = place
    return found


def files() -> dict[str, ast.Module]:
    """The files of the package with something in them, by path."""
    package = ROOT / "harness"
    trees = {path.relative_to(package).as_posix(): ast.parse(path.read_bytes()) for path in package.rglob("*.py")}
    return {name: tree for name, tree in sorted(trees.items()) if not _only_says_what_it_is(tree)}


def _only_says_what_it_is(tree: ast.Module) -> bool:
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    """The files of the package that a file imports anywhere in it, each with the line."""
    found: dict[tuple[str, int], None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("harness.") and name != "harness.__version__":
                found[_file(name), node.lineno] = None
    return list(found)


def _file(name: str) -> str:
    """The file in which a module, or a name in one, is defined."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return "/".join(parts[1:end]) + ".py"
        if (path / "__init__.py").is_file():
            return "/".join(parts[1:end]) + "/__init__.py"
    raise AssertionError(f"{name} is not in the package")


@pytest.fixture(scope="module")
def order() -> dict[str, int]:
    return drawn()


@pytest.fixture(scope="module")
def package() -> dict[str, ast.Module]:
    return files()


def test_the_page_lists_each_file_once(order: dict[str, int], package: dict[str, ast.Module]) -> None:
    assert package.keys() - order.keys() == set(), f"add these to {PAGE.name} with what they are"
    assert order.keys() - package.keys() == set(), f"{PAGE.name} lists files that are not there"


def test_the_path_of_a_row_names_files_that_are_there(package: dict[str, ast.Module]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^ *([\w/]+\.py)", text[text.index("## The path") :].split("```")[1], re.MULTILINE)
    assert len(named) > 20
    assert set(named) - package.keys() == set()


def test_a_file_imports_only_its_own_folder_and_what_is_above_it(
    order: dict[str, int], package: dict[str, ast.Module]
) -> None:
    wrong = [
        f"{name}:{line} imports {target}, which is below it in {PAGE.name}"
        for name, tree in package.items()
        for target, line in imports(tree)
        if order.get(target, -1) > order[name]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_imports_itself_through_others(package: dict[str, ast.Module]) -> None:
    try:
        TopologicalSorter({name: {target for target, _ in imports(tree)} for name, tree in package.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_command_imports_another(package: dict[str, ast.Module]) -> None:
    commands = {name for name, tree in package.items() if name.startswith("commands/") and _is_command(tree)}
    assert "commands/bench.py" in commands
    wrong = [
        f"{name}:{line}: {target}" for name in commands for target, line in imports(package[name]) if target in commands
    ]
    assert not wrong, "\n".join(wrong)


def _is_command(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "command" for node in tree.body)


def test_evaluation_imports_nothing_of_training(package: dict[str, ast.Module]) -> None:
    faces = ("train/", "sweep/", "studies/", "commands/", "api.py", "__init__.py")
    above = {name for name in package if not name.startswith(faces)}
    wrong = [
        f"{name}:{line}" for name in above for target, line in imports(package[name]) if target.startswith("train/")
    ]
    assert not wrong, "\n".join(wrong)

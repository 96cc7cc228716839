"""The text the demo searches: Python's language reference and its standard library's docstrings.

Every Python 3.11 carries both, so nothing is downloaded. Sources are parsed, not imported.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import sysconfig
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

MIN_DOCSTRING_CHARS = 40

# What some distributions leave out, and what CPython writes for its own use.
SKIPPED = {
    "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "tkinter", "turtledemo",
}  # fmt: skip

# Modules with docstrings in C, which cannot be parsed. Importing them is quick and has no effects.
COMPILED = {
    "array", "atexit", "binascii", "builtins", "cmath", "collections", "contextvars", "csv", "decimal", "faulthandler",
    "fcntl", "gc", "grp", "hashlib", "io", "itertools", "marshal", "math", "mmap", "os", "pickle", "pwd", "resource",
    "select", "signal", "socket", "sqlite3", "struct", "sys", "termios", "time", "unicodedata", "zlib",
}  # fmt: skip


def write_corpus(directory: Path) -> list[Path]:
    """Write one text file per topic of the language reference and per standard-library module.

    :param directory: Where the files go; created when missing. A topic becomes `topic.<name>.txt`,
        a module `module.<name>.txt`.
    :return: The files written, in alphabetical order.
    """
    directory.mkdir(parents=True, exist_ok=True)
    texts = {f"topic.{name}": text.strip() for name, text in topics.items()}
    texts.update({f"module.{name}": text for name, text in _modules().items() if text})
    paths = []
    for stem, text in sorted(texts.items()):
        path = directory / f"{stem}.txt"
        path.write_text(f"{text}\n", encoding="utf-8")
        paths.append(path)
    return paths


def _modules() -> dict[str, str]:
    """Return the documentation of every module by its dotted name."""
    sources = dict(_sources())
    documents = {}
    for name in sources.keys() | COMPILED:
        entries: list[tuple[str, str]] = []
        if name in sources:
            entries += _parse(ast.parse(sources[name].read_bytes()), name)
        if name in COMPILED:
            entries += _inspect(importlib.import_module(name))
        documents[name] = _document(entries)
    return documents


def _document(entries: Iterable[tuple[str, str]]) -> str:
    """Lay out headings and docstrings as text, dropping trivial and repeated docstrings."""
    headings: dict[str, str] = {}
    for heading, docstring in entries:
        if len(docstring) >= MIN_DOCSTRING_CHARS:
            headings.setdefault(docstring, heading)
    return "\n\n".join(f"{heading}\n{docstring}" for docstring, heading in headings.items())


def _sources() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the source file of every public module that has one."""
    library = Path(sysconfig.get_path("stdlib"))
    for top in sys.stdlib_module_names:
        for path in [library / f"{top}.py", *(library / top).rglob("*.py")]:
            parts = path.relative_to(library).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            private = any(part.startswith("_") or part in SKIPPED for part in parts)
            if path.is_file() and not private:
                yield ".".join(parts), path


def _parse(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, str]]:
    """Yield the docstrings of a module or class, and of everything public it defines."""
    yield name, ast.get_docstring(node) or ""
    for child in _public_definitions(node.body):
        if isinstance(child, ast.ClassDef):
            yield from _parse(child, f"{name}.{child.name}")
        else:
            signature = f"({ast.unparse(child.args)})"
            yield f"{name}.{child.name}{signature}", ast.get_docstring(child) or ""


def _public_definitions(
    body: Iterable[ast.AST],
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield constructors, public functions and public classes, also under a condition."""
    for node in body:
        if isinstance(node, (ast.If, ast.Try)):
            yield from _public_definitions(ast.iter_child_nodes(node))
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        elif node.name == "__init__" or not node.name.startswith("_"):
            yield node


def _inspect(owner: ModuleType | type, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the docstrings of an imported module or class, and of its public members."""
    name = name or owner.__name__
    yield name, inspect.cleandoc(owner.__doc__ or "")
    public = [attribute for attribute in vars(owner) if not attribute.startswith("_")]
    for attribute in sorted(getattr(owner, "__all__", public)):
        member = getattr(owner, attribute)
        if inspect.isclass(member) and inspect.ismodule(owner):
            yield from _inspect(member, f"{name}.{attribute}")
        elif inspect.isroutine(member):
            docstring = inspect.cleandoc(member.__doc__ or "")
            yield f"{name}.{attribute}{_signature(member)}", docstring


def _signature(routine: object) -> str:
    """Return the arguments of a function or method as they are written in its definition."""
    try:
        return str(inspect.signature(routine))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # much C code does not tell its signature
        return "(...)"

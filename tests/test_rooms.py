"""The rooms of the package: what each may import. Dependencies point one way; read from the import statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import fastrag_quant
from fastrag_quant.engines import ENGINE_KINDS

ROOT = Path(fastrag_quant.__file__).parent

# What any room may import, and which imports no room.
GROUND = ("errors", "arguments")

# Each room and the rooms that it imports, all of which stand above it. A name with a star is what a room holds besides
# the module of the same name: the table of engines is there for the configuration, which the engines themselves read.
ROOMS: dict[str, tuple[str, ...]] = {
    "host.*": (),
    "text_files": (),
    "fastrag_quant": ("host.*",),
    "model.*": (),
    "vectors.output": (),
    "engines": ("host.*", "model.*"),
    "config": ("model.*", "vectors.output", "engines"),
    "engines.*": ("host.*", "model.*", "engines", "config"),
    "vectors.*": ("model.*", "vectors.output", "engines"),
    "embedder": ("host.*", "model.*", "vectors.output", "engines", "config", "engines.*", "vectors.*"),
    "shared": ("host.*", "model.*", "config", "embedder"),
    "quantization.*": (
        *("host.*", "text_files", "model.*", "vectors.output", "engines", "config", "engines.*", "embedder"),
    ),
    "nodes.*": ("host.*", "config", "vectors.*", "shared", "quantization.*"),
    "components.*": ("host.*", "config", "vectors.*", "embedder", "shared", "quantization.*"),
    "pipelines": ("host.*", "nodes.*"),
    "bench.*": (
        *("host.*", "text_files", "model.*", "vectors.output", "engines", "config", "engines.*", "embedder"),
        *("components.*", "pipelines"),
    ),
    "commands.*": (
        *("host.*", "text_files", "model.*", "engines", "engines.*", "config", "embedder", "quantization.*", "bench.*"),
    ),
}

# Packages that take long to import or that not every user has: imported where they are used, never with a module.
HEAVY = {
    *("aim", "datasets", "faiss", "intel_extension_for_pytorch", "matplotlib", "mteb", "neural_compressor", "nncf"),
    *("openvino", "optimum", "sentence_transformers", "torch", "transformers"),
}


@dataclass(frozen=True)
class Import:
    """An import statement of a module, save for those that only type checkers read.

    :param imported: a module, or a name inside one.
    :param deferred: whether it stands in a function.
    """

    importer: str
    imported: str
    deferred: bool


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module, by its name."""
    paths = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for name, path in paths.items()}


def imports_in(importer: str, node: ast.AST, deferred: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.orelse:
                yield from imports_in(importer, ast.Module([statement], []), deferred)
        elif isinstance(child, ast.Import):
            yield from (Import(importer, alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module, f"{importer} imports relatively"
            yield from (Import(importer, f"{child.module}.{alias.name}", deferred) for alias in child.names)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(importer, child, deferred or is_function)


MODULES = modules()
IMPORTS = [found for name, tree in MODULES.items() for found in imports_in(name, tree)]


def module_of(name: str) -> str:
    """Return the module that an imported name is, or is in."""
    return name if name in MODULES else name.rpartition(".")[0]


def room_of(module: str) -> str:
    """Return the row of the table that a module belongs to."""
    inside = module.removeprefix("fastrag_quant.")
    return inside if inside in ROOMS or inside in GROUND else f"{inside.partition('.')[0]}.*"


INSIDE = sorted(
    {
        (found.importer, module_of(found.imported))
        for found in IMPORTS
        if found.imported.startswith("fastrag_quant") and not found.imported.endswith("__version__")
    }
)


def importers_of(*prefixes: str, deferred: bool | None = None) -> set[str]:
    """Return the modules that import a package or module, at their top, in functions or (None) anywhere."""
    return {
        found.importer
        for found in IMPORTS
        if any(f"{found.imported}.".startswith(f"{prefix}.") for prefix in prefixes)
        and deferred in (None, found.deferred)
    }


def rooms_imported_by(room: str) -> set[str]:
    return {room_of(imported) for importer, imported in INSIDE if room_of(importer) == room} - {room}


def test_every_module_has_a_room():
    assert {room_of(module) for module in MODULES} == {*ROOMS, *GROUND}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_table_says(room: str):
    assert rooms_imported_by(room) - set(GROUND) == set(ROOMS[room])


def test_the_ground_stands_on_itself_alone():
    assert rooms_imported_by("errors") == set()
    assert rooms_imported_by("arguments") == {"errors"}


def test_dependencies_point_one_way():
    above: set[str] = set()
    for room, imported in ROOMS.items():
        assert set(imported) <= above, room
        above.add(room)


def test_no_module_imports_itself_by_a_detour():
    imported_by = {module: {imported for importer, imported in INSIDE if importer == module} for module in MODULES}
    left = dict(imported_by)
    while free := {module for module, imported in left.items() if not imported & set(left)}:
        left = {module: imported for module, imported in left.items() if module not in free}

    assert left == {}


def test_no_engine_imports_another():
    engines = {kind.module for kind in ENGINE_KINDS.values()}
    rooms = {module: module.removesuffix(".engine") for module in engines}  # a folder, where an engine is one

    def is_in(room: str, module: str) -> bool:
        return f"{module}.".startswith(f"{room}.")

    assert [
        (importer, imported)
        for importer, imported in INSIDE
        for room in rooms.values()
        if is_in(room, imported) and importer.startswith("fastrag_quant.engines.") and not is_in(room, importer)
    ] == []


def test_padding_is_known_to_engines_that_pad_and_to_what_quantizes_and_measures_alone():
    importers = importers_of("fastrag_quant.engines.padded")

    assert "fastrag_quant.engines.openvino" in importers
    allowed = ("fastrag_quant.engines.", "fastrag_quant.quantization.nncf", "fastrag_quant.bench.")
    assert {name for name in importers if not name.startswith(allowed)} == set()


def test_haystack_is_imported_by_nodes_and_components_alone():
    of_haystack = ("fastrag_quant.nodes", "fastrag_quant.components")

    assert {name for name in importers_of("haystack", deferred=False) if not name.startswith(of_haystack)} == set()
    also = {name for name in importers_of("haystack") if not name.startswith(of_haystack)}
    assert also <= {
        "fastrag_quant.pipelines",
        "fastrag_quant.bench.pipeline_haystack1",
        "fastrag_quant.bench.pipeline_haystack2",
    }


def test_no_module_imports_a_heavy_package_before_it_is_needed():
    assert importers_of("torch", deferred=True), "the statements inside functions are not found"
    assert importers_of(*HEAVY, deferred=False) == set()


def test_imports_of_type_checkers_do_not_count():
    tree = ast.parse("if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    from c import d\n")

    assert list(imports_in("m", tree)) == [Import("m", "b", False), Import("m", "c.d", True)]

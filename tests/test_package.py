"""The package is quick to import, silent, and leaves the process that uses it as it found it."""

from __future__ import annotations

import ast
import configparser
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import fastrag_quant
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import MissingExtraError
from fastrag_quant.host.extras import is_installed

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "fastrag_quant"
HAYSTACK_1 = is_installed("farm-haystack")
HEAVY = ("torch", "haystack", "transformers", "datasets", "optimum", "intel_extension_for_pytorch")
PUBLIC_NAMES = {
    "EmbedderQuantizer",
    "QuantizedBiEncoderRanker",
    "QuantizedBiEncoderRetriever",
    "QuantizedEmbedder",
    "load_pipeline",
    "quantize",
    "verify",
}
COMPONENT_NAMES = {"QuantizedDocumentEmbedder", "QuantizedTextEmbedder"}


def run_python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported_by(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    tree = ast.walk(ast.parse(path.read_text()))
    names: set[str] = set()
    for node in tree:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


# Importing


@pytest.mark.parametrize(
    "module",
    [
        *(
            "fastrag_quant",
            "fastrag_quant.embedder",
            "fastrag_quant.quantization.quantizer",
            "fastrag_quant.commands.quantize",
        ),
        *("fastrag_quant.engines.ipex", "fastrag_quant.engines.torch", "fastrag_quant.pipelines"),
    ],
)
def test_importing_loads_nothing_heavy_and_says_nothing(module: str):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"

    process = run_python(code)

    assert (process.stdout, process.stderr) == ("[]\n", "")


def test_every_public_name_is_listed_and_can_be_imported():
    names = PUBLIC_NAMES | COMPONENT_NAMES
    assert set(dir(fastrag_quant)) >= names
    assert set(fastrag_quant.__all__) == names | {"__version__"}
    assert set(fastrag_quant._MODULE_OF) == names
    importable = PUBLIC_NAMES if HAYSTACK_1 else names
    assert all(getattr(fastrag_quant, name).__name__ == name for name in importable)


@pytest.mark.parametrize("name", ["EmbedderQuantizer", "QuantizedBiEncoderRanker", "QuantizedBiEncoderRetriever"])
def test_the_names_of_both_generations_are_of_the_haystack_that_is_installed(name: str):
    home = "fastrag_quant.nodes" if HAYSTACK_1 else "fastrag_quant.components"

    assert getattr(fastrag_quant, name).__module__.startswith(f"{home}.")


@pytest.mark.skipif(not HAYSTACK_1, reason="Haystack 2 and 3 have them")
@pytest.mark.parametrize("name", sorted(COMPONENT_NAMES))
def test_haystack_1_has_no_components_and_says_what_brings_them(name: str):
    needs_haystack = r"needs haystack-ai: pip install 'fastrag-quant\[haystack\]'"
    with pytest.raises(AttributeError, match=needs_haystack):
        getattr(fastrag_quant, name)
    assert not hasattr(fastrag_quant, name)
    with pytest.raises(MissingExtraError, match=needs_haystack):
        exec(f"from fastrag_quant import {name}", {})


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastrag_quant' has no attribute 'Embedder'"):
        fastrag_quant.Embedder  # noqa: B018
    with pytest.raises(ImportError):
        from fastrag_quant import Embedder  # noqa: F401


def test_the_version_is_the_distributions():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")

    assert fastrag_quant.__version__ == setup["metadata"]["version"]


def test_the_type_hints_are_shipped():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")

    assert (resources.files("fastrag_quant") / "py.typed").is_file()
    assert "py.typed" in setup["options.package_data"]["fastrag_quant"]


# What depends on what


def test_only_what_stands_on_haystack_imports_it():
    importing = {path for path in modules() if any(name.split(".")[0] == "haystack" for name in imported_by(path))}

    rooms = {path.relative_to(PACKAGE).parts[0] for path in importing}
    assert rooms <= {"nodes", "components", "bench", "pipelines.py"}


@pytest.mark.parametrize("engine", ENGINE_KINDS)
def test_no_engine_imports_another(engine: str):
    others = {kind.module for name, kind in ENGINE_KINDS.items() if name != engine}

    own = Path(*ENGINE_KINDS[engine].module.split(".")[1:])
    assert not imported_by(PACKAGE / own.with_suffix(".py")) & others


def test_a_type_checker_knows_every_public_name():
    [block] = [node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    typed = {alias.name for node in block.body for alias in node.names}

    assert typed == PUBLIC_NAMES | COMPONENT_NAMES


def test_nothing_but_the_command_line_prints():
    printing = {
        path.name
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "print"
    }

    assert printing == {"running.py"}


# Using a model in a fresh process

USE_A_MODEL = """
import json, logging, os, subprocess, sys, threading

def affinities():
    tell = "import os; print(sorted(os.sched_getaffinity(0)))"
    child = subprocess.run([sys.executable, "-c", tell], capture_output=True, check=True).stdout
    of_new_thread = []
    thread = threading.Thread(target=lambda: of_new_thread.extend(sorted(os.sched_getaffinity(0))))
    thread.start()
    thread.join()
    return {"main": sorted(os.sched_getaffinity(0)), "thread": of_new_thread, "child": json.loads(child)}

def state():
    return {
        "affinities": affinities(),
        "settings": {
            name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_", "TOKENIZERS_"))
        },
        "log handlers": len(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
    }

def pinned_threads():
    tasks = map(int, os.listdir("/proc/self/task"))
    return sum(len(os.sched_getaffinity(task)) == 1 for task in tasks)

def child_processes():
    stats = [open(f"/proc/{name}/stat").read() for name in os.listdir("/proc") if name.isdigit()]
    return sum(int(stat.rpartition(")")[2].split()[1]) == os.getpid() for stat in stats)

# Applications tokenize too, and a fork afterwards makes tokenizers warn.
from tokenizers import Tokenizer
Tokenizer.from_file(sys.argv[1] + "/tokenizer.json").encode_batch(["a text", "another text"] * 20)

report = {"before": state()}
from fastrag_quant import QuantizedEmbedder
for pin in (False, True):
    embedder = QuantizedEmbedder(sys.argv[1], sys.argv[2], pin_threads=pin)
    embedder.warm_up([16])
    embedder.embed_documents(["a document", "and a longer document"] * 20, batch_size=4)
    embedder.embed_queries(["a query"])
    report[f"pin_threads={pin}"] = state()
    report[f"pinned with pin_threads={pin}"] = pinned_threads()
report["engine"] = embedder.engine
report["child processes"] = child_processes()
report["cores"] = len(os.sched_getaffinity(0))
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def use(
    minilm_int8: Path, engine: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A process that loaded an int8 model twice, the second time pinned, and used it; and where it ran."""
    directory = tmp_path_factory.mktemp("cwd")
    return run_python(USE_A_MODEL, str(minilm_int8), engine, cwd=directory), directory


@pytest.fixture(scope="module")
def report(use: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, Any]:
    """What that process saw of itself."""
    return json.loads(use[0].stdout.splitlines()[-1])


def test_loading_and_using_a_model_says_nothing(use: tuple[subprocess.CompletedProcess[str], Path]):
    process, _ = use

    assert process.returncode == 0
    assert process.stderr == ""
    assert len(process.stdout.splitlines()) == 1


def test_loading_and_using_a_model_writes_nothing_to_the_working_directory(
    use: tuple[subprocess.CompletedProcess[str], Path],
):
    assert list(use[1].iterdir()) == []


@pytest.mark.parametrize("pinned", ["pin_threads=False", "pin_threads=True"])
def test_the_process_its_new_threads_and_its_children_may_run_where_they_could_before(
    report: dict[str, Any], pinned: str
):
    assert report[pinned]["affinities"] == report["before"]["affinities"]


def test_inference_threads_are_pinned_only_on_request(report: dict[str, Any], engine: str):
    if report["cores"] == 1:
        pytest.skip("on one core every thread is bound to it")
    if report["engine"] == "openvino":
        pytest.skip("OpenVINO binds its threads for as long as they compute")
    assert report["pinned with pin_threads=False"] == 0
    if engine == "ipex":  # OpenVINO binds its threads while they run a batch, and lets go of them then
        assert report["pinned with pin_threads=True"] >= report["cores"]


def test_no_process_is_started(report: dict[str, Any]):
    assert report["child processes"] == 0


@pytest.mark.parametrize("thing", ["settings", "log handlers", "log level"])
def test_the_process_is_left_as_it_was(report: dict[str, Any], thing: str):
    assert report["pin_threads=True"][thing] == report["before"][thing]

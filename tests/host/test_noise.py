"""Harmless messages of third parties stay off the terminal, and nothing else does."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrag_quant.host.noise import import_quietly, quiet_logs

HARMLESS = """\
[W1122 17:06:45.444348705 OperatorEntry.cpp:218] Warning: Warning only once for all operators.
  Overriding a previously registered kernel for the same operator and the same dispatch key
  operator: aten::_addmm_activation(Tensor self) -> Tensor
    registered at /pytorch/build/aten/src/ATen/RegisterSchema.cpp:6
       new kernel: registered at /opt/workspace/ipex-cpu-dev/csrc/cpu/autocast/autocast_mode.cpp:112
2025-01-01 12:00:00 [INFO][auto_accelerator.py:454] Auto detect accelerator: CPU_Accelerator.
huggingface/tokenizers: The current process just got forked, after parallelism has already been used. Disabling \
parallelism to avoid deadlocks...
To disable this warning, you can either:
\t- Avoid using `tokenizers` before the fork if possible
\t- Explicitly set the environment variable TOKENIZERS_PARALLELISM=(true | false)
"""


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Writes a module that runs some code when it is imported, under a name of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(code: str) -> str:
        name = f"noisy_{request.node.name}_{len(made)}"
        (tmp_path / f"{name}.py").write_text(code)
        made.append(name)
        return name

    request.addfinalizer(lambda: [sys.modules.pop(name, None) for name in made])
    return make


def writing_to_stderr(text: str) -> str:
    """Code that writes past sys.stderr, as C++ does."""
    return f"import os; os.write(2, {text.encode()!r})"


def test_a_harmless_message_is_dropped(make_module: Callable[[str], str], capfd: pytest.CaptureFixture):
    import_quietly(make_module(writing_to_stderr(HARMLESS)))

    assert capfd.readouterr() == ("", "")


def test_every_other_message_is_passed_on(make_module: Callable[[str], str], capfd: pytest.CaptureFixture):
    import_quietly(make_module(writing_to_stderr(f"before\n{HARMLESS}after\n")))

    assert capfd.readouterr().err == "before\nafter\n"


def test_an_import_that_fails_still_tells_why(make_module: Callable[[str], str], capfd: pytest.CaptureFixture):
    name = make_module(writing_to_stderr("the reason\n") + "; raise ImportError('no such library')")

    with pytest.raises(ImportError, match="no such library"):
        import_quietly(name)

    os.write(2, b"and later messages\n")
    assert capfd.readouterr().err == "the reason\nand later messages\n"


def test_a_module_is_imported_once(make_module: Callable[[str], str], capfd: pytest.CaptureFixture):
    name = make_module(writing_to_stderr("imported\n"))

    import_quietly(name)
    import_quietly(name)

    assert capfd.readouterr().err == "imported\n"


def test_two_threads_that_import_at_once_give_standard_error_back(make_module: Callable[[str], str]):
    before = os.fstat(2)
    # The first import ends after the second has begun, unless the second waits for it.
    meanwhile = threading.Event()
    threading.meanwhile = meanwhile  # type: ignore[attr-defined]
    first = make_module("import threading; threading.meanwhile.wait(0.5)")
    second = make_module("import threading, time; threading.meanwhile.set(); time.sleep(0.1)")
    threads = [threading.Thread(target=import_quietly, args=(name,)) for name in (first, second)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    del threading.meanwhile  # type: ignore[attr-defined]
    assert meanwhile.is_set()
    assert os.path.samestat(os.fstat(2), before)


def test_importing_leaves_logging_to_the_application(make_module: Callable[[str], str]):
    root = logging.getLogger()
    before = list(root.handlers), root.level

    meddling = "import logging as l; l.getLogger().addHandler(l.StreamHandler()); l.getLogger().setLevel(7)"
    import_quietly(make_module(meddling))

    assert (root.handlers, root.level) == before


def test_warnings_and_messages_below_errors_are_silenced_and_then_as_before(caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("neural_compressor")
    before = logger.level

    with quiet_logs(), warnings.catch_warnings(record=True) as seen:
        logger.warning("deprecated")
        logger.error("broken")

    assert seen == []
    assert [record.getMessage() for record in caplog.records] == ["broken"]
    assert logger.level == before


def test_python_warnings_are_silenced_inside_and_shown_outside():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet_logs():
            warnings.warn("inside", stacklevel=1)
        warnings.warn("outside", stacklevel=1)

    assert [str(warning.message) for warning in seen] == ["outside"]


def test_silence_lasts_until_the_last_thread_that_asked_for_it():
    logger = logging.getLogger("neural_compressor")
    before = logger.level
    filters = list(warnings.filters)
    first, second = quiet_logs(), quiet_logs()

    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # out of the order in which one thread could leave
    assert logger.level == logging.ERROR
    second.__exit__(None, None, None)

    assert logger.level == before
    assert warnings.filters == filters


def test_the_package_logs_as_it_did_inside(caplog: pytest.LogCaptureFixture):
    with quiet_logs():
        logging.getLogger("fastrag_quant.embedder").warning("3 of 5 texts were cut")

    assert [record.getMessage() for record in caplog.records] == ["3 of 5 texts were cut"]

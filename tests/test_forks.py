"""A forked child, as of a preloading web server, serves what its parent opened, whatever its parent is doing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.host import forks
from fastrag_quant.host.forks import no_fork_meanwhile
from fastrag_quant.host.noise import quiet_logs

# Each state forks a child, which ends as a program ends: what ends with it is torn down.
FORKS = """
import json, os, shutil, signal, sys, threading
from pathlib import Path
import numpy as np
from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.shared import SharedEmbedder

engine, model, weights = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
MANY = ["a text", "another text, of more words"] * 40
ended = {}

def fork(state, more=lambda: None):
    child = os.fork()
    if child:
        ended[state] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return
    signal.alarm(120)  # rather than hang for ever
    more()
    for embedder in (used, unused):
        assert np.allclose(embedder.embed_documents(["a text"]), one, atol=1e-5), "one text"
        assert np.allclose(embedder.embed_documents(MANY, batch_size=4), many, atol=1e-2), "many texts"
    sys.exit()

def replace(change):
    # Puts another directory in the place of the one that was opened.
    other = model.with_name("other")
    shutil.copytree(model, other)
    change(other / weights)
    model.rename(model.with_name(f"before-{change.__name__}"))
    if other.exists():
        other.rename(model)

def other_numbers(path):
    content = bytearray(path.read_bytes())
    size = len(content)
    start, end = size - min(900_000, size // 2), size - min(100_000, size // 20)
    content[start:end] = bytes(end - start)
    path.write_bytes(content)

def none(path):
    shutil.rmtree(path.parent)

os.chdir(model.parent)
used, unused = (QuantizedEmbedder(model.name, engine) for _ in range(2))
os.chdir("/")
one, many = used.embed_documents(["a text"]), used.embed_documents(MANY, batch_size=4)

fork("used")

def fork_in_thread():
    try:
        fork("forked by a thread")
    except SystemExit:
        os._exit(0)  # the thread's end would not be the process's exit status

thread = threading.Thread(target=fork_in_thread)
thread.start()
thread.join()

def grandchild():
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        sys.exit()

fork("grandchild", grandchild)

def close():
    used.close()
    unused.close()
    sys.exit()

fork("closed in the child", close)

stop = threading.Event()
def run():
    while not stop.is_set():
        used.embed_documents(MANY, batch_size=4)
threads = [threading.Thread(target=run) for _ in range(3)]
for thread in threads:
    thread.start()
fork("used by other threads")
stop.set()
for thread in threads:
    thread.join()

begun = threading.Event()
def load():
    shared = SharedEmbedder(EmbedderConfig(model, engine, max_seq_len=60))
    begun.set()
    shared.embedder

thread = threading.Thread(target=load)
thread.start()
begun.wait()
fork("while another thread loads", lambda: SharedEmbedder(EmbedderConfig(model, engine, max_seq_len=50)).embedder)
thread.join()

replace(other_numbers)
fork("overwritten")
replace(none)
fork("moved")
assert np.allclose(used.embed_documents(["a text"]), one, atol=1e-6)
print(json.dumps(ended))
"""
STATES = (
    *("used", "forked by a thread", "grandchild", "closed in the child", "used by other threads"),
    *("while another thread loads", "overwritten", "moved"),
)


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], subprocess.CompletedProcess[str]]:
    """A function that runs the program above on an engine, once."""
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(engine: str, model: Path) -> subprocess.CompletedProcess[str]:
        if engine not in done:
            copy = tmp_path_factory.mktemp("forks") / "model"
            shutil.copytree(model, copy)
            weights = (ENGINE_KINDS[engine].weights or ("model.safetensors",))[-1]
            done[engine] = subprocess.run(
                [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, engine, str(copy), weights],
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
                # Else tokenizers tells of each fork that it cuts texts one by one in the child.
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            )
        return done[engine]

    return run


@pytest.mark.parametrize("state", STATES)
def test_a_forked_child_serves_what_its_parent_opened_and_ends_well(
    state: str,
    engine_and_model: tuple[str, Path],
    forked: Callable[[str, Path], subprocess.CompletedProcess[str]],
):
    process = forked(*engine_and_model)

    assert process.stderr == ""
    assert json.loads(process.stdout)[state] == 0


# What forks wait for


def fork_and_wait() -> int:
    """Return the exit status of a child that ends at once."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_a_fork_waits_until_other_threads_have_loaded():
    begun, events = threading.Event(), []

    def load() -> None:
        with no_fork_meanwhile():
            begun.set()
            time.sleep(0.3)
            events.append("loaded")

    thread = threading.Thread(target=load)
    thread.start()
    begun.wait()
    fork_and_wait()
    events.append("forked")
    thread.join()

    assert events == ["loaded", "forked"]


def test_a_fork_by_the_thread_that_loads_waits_for_nothing():
    with no_fork_meanwhile(), no_fork_meanwhile():
        assert fork_and_wait() == 0
    assert fork_and_wait() == 0


def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(forks, "LONGEST_WAIT", 0.01)
    begun, forked = threading.Event(), threading.Event()

    def load() -> None:
        with no_fork_meanwhile():
            begun.set()
            forked.wait(60)

    thread = threading.Thread(target=load)
    thread.start()
    begun.wait()
    assert fork_and_wait() == 0
    forked.set()
    thread.join()

    assert "forked while another thread loaded a model for more than 0.01 s" in caplog.text
    assert fork_and_wait() == 0


def test_silence_that_another_thread_asked_for_ends_in_the_child():
    import warnings

    begun, forked = threading.Event(), threading.Event()
    before = list(warnings.filters)

    def quietly() -> None:
        with quiet_logs():
            begun.set()
            forked.wait(60)

    thread = threading.Thread(target=quietly)
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if warnings.filters == before else 1)
    status = os.waitpid(child, 0)[1]
    forked.set()
    thread.join()

    assert status == 0

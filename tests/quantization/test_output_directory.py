"""An output directory appears whole or not at all, and nothing that was there is lost: killed, raced or linked."""

from __future__ import annotations

import errno
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.errors import OutputError, OutputExistsError
from fastrag_quant.model.manifest import MANIFEST_NAME
from fastrag_quant.quantization import output_directory, renaming
from fastrag_quant.quantization.output_directory import whole_or_not_at_all

# A process that writes a model of two files, each of which holds what the caller says.
WRITER = f"""
import sys, time
from pathlib import Path
from fastrag_quant.errors import OutputExistsError
from fastrag_quant.quantization.output_directory import whole_or_not_at_all

def write(output, overwrite, content, pause=0.0):
    with whole_or_not_at_all(Path(output), overwrite) as directory:
        (directory / "weights.bin").write_text(content)
        time.sleep(pause)
        (directory / "{MANIFEST_NAME}").write_text(content)
"""


def start(code: str, *arguments: Any, **settings: Any) -> subprocess.Popen[str]:
    """Start a process that has the function ``write``, with its output in pipes."""
    command = [sys.executable, "-c", WRITER + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def write(output: Path, content: str = "new", overwrite: bool = False) -> None:
    with whole_or_not_at_all(output, overwrite) as directory:
        (directory / "weights.bin").write_text(content)
        (directory / MANIFEST_NAME).write_text(content)


def content_of(output: Path) -> str:
    """Return what both files of a model hold, which is the same if it is whole."""
    [content] = {(output / name).read_text() for name in ("weights.bin", MANIFEST_NAME)}
    return content


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A path in an empty directory."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "int8"


@pytest.fixture
def old(output: Path) -> Path:
    """A model that is there already."""
    write(output, "old")
    return output


@pytest.fixture(params=["one step", "two steps"])
def each_rename(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system that this is, and one that cannot exchange two directories in one step."""
    if request.param == "two steps":
        monkeypatch.setattr("fastrag_quant.quantization.renaming._renameat2", lambda *_: False)


def refused(message: str) -> Any:
    """Expect this refusal."""
    return pytest.raises(OutputError, match=message)


# What appears while the work is done


@pytest.mark.usefixtures("each_rename")
@pytest.mark.parametrize("appeared", ["model", "empty directory", "file"])
def test_what_appears_meanwhile_is_kept_without_overwrite(output: Path, appeared: str):
    def appear() -> None:
        if appeared == "file":
            output.write_text("theirs")
            return
        output.mkdir()
        if appeared == "model":
            (output / MANIFEST_NAME).write_text("theirs")

    with pytest.raises(OutputExistsError, match="appeared while"), whole_or_not_at_all(output, False):
        appear()

    assert names_in(output.parent) == ["int8"]
    if appeared == "file":
        assert output.read_text() == "theirs"
    else:
        assert names_in(output) == ([MANIFEST_NAME] if appeared == "model" else [])


def test_what_appears_meanwhile_and_is_no_model_is_kept_with_overwrite_too(output: Path):
    with pytest.raises(OutputExistsError, match="not a model directory"), whole_or_not_at_all(output, True):
        output.mkdir()
        (output / "thesis.tex").write_text("years of work")

    assert (output / "thesis.tex").read_text() == "years of work"
    assert names_in(output.parent) == ["int8"]


# Two at a time


def test_of_two_processes_one_writes_and_the_other_says_so(output: Path):
    code = """
for line in sys.stdin:
    path, content, pause = line.split()
    try:
        write(path, False, content, float(pause))
        print("wrote", content, flush=True)
    except OutputExistsError as error:
        print(error, flush=True)
"""
    both = {content: start(code, stdin=subprocess.PIPE) for content in ("one", "two")}
    for attempt in range(20):
        path = output.with_name(f"int8-{attempt}")
        for content, process in both.items():
            print(path, content, (0, 0.001, 0.05)[attempt % 3], file=process.stdin, flush=True)
        said = {content: process.stdout.readline() for content, process in both.items() if process.stdout}

        [winner] = [content for content, line in said.items() if line == f"wrote {content}\n"]
        [loser] = [line for line in said.values() if not line.startswith("wrote")]
        assert re.search("Another process is quantizing|exists: choose another|appeared while", loser)
        assert content_of(path) == winner
    for process in both.values():
        process.communicate()
    assert len(names_in(output.parent)) == 20


def test_the_second_is_refused_before_its_work(output: Path):
    with (
        whole_or_not_at_all(output, False),
        pytest.raises(OutputExistsError, match="wait for it, or choose another output path"),
        whole_or_not_at_all(output, False),
    ):
        pytest.fail("it was begun")


def test_two_threads_exclude_each_other_as_processes_do(output: Path):
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with whole_or_not_at_all(output, False):
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        with pytest.raises(OutputExistsError):
            write(output)
    finally:
        done.set()
        thread.join()
    assert output.is_dir()


def test_a_fork_meanwhile_does_not_keep_the_lock(output: Path):
    ends, wakes = os.pipe()
    with whole_or_not_at_all(output, False) as directory:
        (directory / MANIFEST_NAME).write_text("old")
        child = os.fork()
        if not child:
            os.close(wakes)
            os.read(ends, 1)
            os._exit(0)
    try:
        write(output, overwrite=True)
    finally:
        os.close(wakes)
        os.close(ends)
        os.waitpid(child, 0)


def test_other_outputs_are_written_at_the_same_time(output: Path):
    with whole_or_not_at_all(output, False):
        write(output.with_name("int8-other"))

    assert names_in(output.parent) == ["int8", "int8-other"]


# Overwriting


@pytest.mark.usefixtures("each_rename")
def test_overwriting_leaves_the_new_model_and_nothing_else(old: Path):
    write(old, "new", overwrite=True)

    assert content_of(old) == "new"
    assert names_in(old.parent) == ["int8"]


@pytest.mark.parametrize("one_step", [True, False])
def test_a_failure_while_replacing_keeps_the_old_model(old: Path, monkeypatch: pytest.MonkeyPatch, one_step: bool):
    rename, failed = Path.rename, []

    def fail_once(path: Path, target: Path) -> Path:
        if Path(target) == old and not failed:
            failed.append(path)
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    def fail(*_: object) -> bool:
        if one_step:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return False

    monkeypatch.setattr(renaming, "_renameat2", fail)
    monkeypatch.setattr(Path, "rename", fail_once)

    with pytest.raises(OutputError, match=r"cannot be written \(Invalid cross-device link\).*What was there"):
        write(old, "new", overwrite=True)
    assert content_of(old) == "old"
    assert names_in(old.parent) == ["int8"]


def test_overwriting_through_a_link_replaces_what_it_leads_to(old: Path, tmp_path: Path):
    link = tmp_path / "current"
    link.symlink_to(Path("models") / "int8")

    write(link, "new", overwrite=True)

    assert link.readlink() == Path("models/int8")
    assert content_of(old) == content_of(link) == "new"
    assert names_in(tmp_path) == ["current", "models"]
    assert names_in(old.parent) == ["int8"]


# What can be known before the work is known before


@pytest.mark.parametrize("target", ["missing", "current"], ids=["dangling", "to itself"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, overwrite: bool, target: str):
    link = tmp_path / "current"
    link.symlink_to(target)

    with refused("is a link to .*, which does not exist"), whole_or_not_at_all(link, overwrite):
        pytest.fail("it was begun")
    assert link.readlink() == Path(target)
    assert names_in(tmp_path) == ["current"]


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "volume")

    with refused("is a mount point"), whole_or_not_at_all(tmp_path / "volume", True):
        pytest.fail("it was begun")
    assert names_in(tmp_path) == ["volume"]


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("mine")

    with refused("cannot be written"), whole_or_not_at_all(tmp_path / "file" / "in" / "int8", False):
        pytest.fail("it was begun")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_parent_that_cannot_be_written_is_refused():
    with refused("cannot be written"), whole_or_not_at_all(Path("/proc/int8"), False):
        pytest.fail("it was begun")


def test_a_name_that_is_too_long_is_refused(tmp_path: Path):
    with refused("File name too long"), whole_or_not_at_all(tmp_path / ("x" * 250), False):
        pytest.fail("it was begun")
    assert names_in(tmp_path) == []


def test_a_full_disk_is_one_clear_error(old: Path):
    def fill(directory: Path) -> None:
        (directory / "weights.bin").write_text("half")
        with Path("/dev/full").open("w") as full:
            full.write("of the weights")

    with pytest.raises(OutputError, match="No space left on device"), whole_or_not_at_all(old, True) as directory:
        fill(directory)
    assert content_of(old) == "old"
    assert names_in(old.parent) == ["int8"]


def test_an_error_of_the_work_itself_stays_what_it_is(output: Path):
    with pytest.raises(FileNotFoundError, match="texts"), whole_or_not_at_all(output, False):
        Path("/no/texts").read_text()


# Cleaning up


def test_an_error_while_cleaning_up_does_not_hide_the_first(output: Path):
    with pytest.raises(MemoryError), whole_or_not_at_all(output / "in" / "new", False):
        (output / "in" / "theirs.txt").write_text("put there meanwhile")
        raise MemoryError

    assert names_in(output / "in") == ["theirs.txt"]


def test_a_second_interrupt_while_cleaning_up_leaves_nothing(output: Path, monkeypatch: pytest.MonkeyPatch):
    rmtree, interrupts = output_directory.shutil.rmtree, [KeyboardInterrupt()]

    def interrupted(*given: Any, **named: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        rmtree(*given, **named)

    monkeypatch.setattr(output_directory.shutil, "rmtree", interrupted)

    with pytest.raises(KeyboardInterrupt), whole_or_not_at_all(output, False):
        raise KeyboardInterrupt
    assert names_in(output.parent) == []


def test_after_kills_at_any_moment_a_model_is_whole_and_the_next_run_clears_up(output: Path):
    code = """
print("started", flush=True)
for number in range(10_000):
    write(sys.argv[1], True, str(number))
"""
    moments = random.Random(0)
    for _ in range(25):
        process = start(code, output)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.communicate()
        if output.exists():
            assert content_of(output).isdigit()
        left = [name for name in names_in(output.parent) if name not in ("int8", ".int8.lock")]
        assert len(left) <= 1, left  # each run has removed what the one before it left

    write(output, "last", overwrite=True)

    assert content_of(output) == "last"
    assert names_in(output.parent) == ["int8"]


def test_what_a_living_process_writes_is_not_cleared_up(output: Path):
    code = """
with whole_or_not_at_all(Path(sys.argv[1]), False) as directory:
    print("inside", flush=True)
    sys.stdin.readline()
    (directory / "weights.bin").write_text("theirs")
    (directory / "fastrag_quant.json").write_text("theirs")
"""
    process = start(code, output, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"

    with pytest.raises(OutputExistsError):
        write(output, "mine", overwrite=True)
    write(output.with_name("another"))
    process.communicate("\n")

    assert content_of(output) == "theirs"
    assert names_in(output.parent) == ["another", "int8"]


def test_what_another_machine_left_is_kept(output: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output_directory.platform, "node", lambda: "another-machine")
    theirs = Path(output_directory.tempfile.mkdtemp(prefix=output_directory._prefix(output), dir=output.parent))
    monkeypatch.undo()

    write(output)

    assert theirs.is_dir()


def test_what_only_looks_alike_is_kept(output: Path):
    prefix = output_directory._prefix(output)
    alike = [output.with_name(name) for name in (f"{prefix}short", f"{prefix}much-too-long", ".int8-notes")]
    for path in alike:
        path.mkdir()

    write(output)

    assert all(path.is_dir() for path in alike)


def test_a_kill_between_the_two_steps_of_a_rename_loses_no_model(old: Path):
    code = """
from fastrag_quant.quantization import renaming
renaming._renameat2 = lambda *_: False
rename = Path.rename
def killed_after_the_first(path, target):
    rename(path, target)
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = killed_after_the_first
write(sys.argv[1], True, "new")
"""
    start(code, old).communicate()
    assert not old.exists()

    with pytest.raises(OutputExistsError, match="pass overwrite"):
        write(old, "newer")

    assert content_of(old) == "old"
    assert names_in(old.parent) == ["int8"]

"""The library exports the functions of its header, and no copy of the standard library's."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from fastrag_quant.engines.native.library import LIBRARY


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
def test_the_library_exports_what_its_header_declares():
    header = (LIBRARY.parent / "cpp" / "native.h").read_text()

    lines = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout

    declared = re.findall(r"^FQ_EXPORT .*?(\w+)\(", header, re.MULTILINE)
    assert sorted(line.split()[-1] for line in lines.splitlines()) == sorted(declared)

"""Builds the native engine's library, a level of instruction sets at a time; all else stands in setup.cfg."""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

SOURCES = Path("fastrag_quant/engines/native/cpp")
SHARED_SOURCES = ("native", "pool", "team", "forward", "levels")

_AVX512 = ["-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"]
# Source → the macro that says it was built, and the instructions it alone may use.
X86_LEVELS = {
    "level_avx2": ("FQ_AVX2", ["-mavx2", "-mfma"]),
    "level_avx_vnni": ("FQ_AVX_VNNI", ["-mavx2", "-mfma", "-mavxvnni"]),
    "level_avx512_vnni": ("FQ_AVX512_VNNI", _AVX512),
    "level_avx512_bf16": ("FQ_AVX512_BF16", [*_AVX512, "-mavx512bf16"]),
}
LEVELS = X86_LEVELS if platform.machine() in ("x86_64", "AMD64") else {}

# Products and sums stay apart where the source has them apart: every level gives the same bits however it is inlined.
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-pthread", "-g0"]

EXPORTS = f"-Wl,--version-script={SOURCES / 'exports.map'}"


class BuildLibrary(build_ext):
    """Builds a library that ctypes loads: it knows nothing of Python, and serves all of them."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the library's path, which names no Python."""
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:  # noqa: ARG002
        """Return none: the linker reads them in a file."""
        return []

    def build_extension(self, ext: Extension) -> None:
        """Compile the levels that the compiler knows, then what they share, and link."""
        macros, objects = [], []
        for source, (macro, flags) in LEVELS.items():
            try:
                objects += self._compile(source, [(macro, "1")], flags)
                macros.append((macro, "1"))
            except CompileError:
                self.warn(f"the compiler cannot build {source}: the native engine does without it")
        for source in SHARED_SOURCES:
            objects += self._compile(source, macros, [])
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=["-pthread", EXPORTS], target_lang="c++"
        )

    def _compile(self, source: str, macros: list[tuple[str, str]], flags: list[str]) -> list[str]:
        return self.compiler.compile(
            [str(SOURCES / f"{source}.cpp")], self.build_temp, macros, extra_postargs=[*FLAGS, *flags]
        )


class PlatformWheel(bdist_wheel):
    """A wheel for every Python on one platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag py3-none-PLATFORM."""
        return "py3", "none", super().get_tag()[2]


setup(
    # Without a compiler the package installs all the same: the engine says what is missing when it is asked for.
    ext_modules=[
        Extension(
            "fastrag_quant.engines.native.libfastrag_quant",
            sources=[str(SOURCES / "native.cpp")],
            depends=sorted(map(str, SOURCES.glob("*"))),
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)

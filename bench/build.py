"""upstream.c, load.c and memory.c → programs, compiled anew when the source has changed."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE / "built"


class NoCompiler(Exception):
    """There is no C compiler here."""


def built(name: str) -> Path:
    """The path of the program made of bench/`name`.c. Raises NoCompiler, CalledProcessError."""
    source, program = HERE / f"{name}.c", BUILT / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    BUILT.mkdir(exist_ok=True)
    compile_c(source, program)
    return program


def compile_c(source: Path, program: Path, *how: str) -> None:
    """Compile one file, with these options too. Raises NoCompiler, CalledProcessError."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompiler("the bench needs a C compiler: `apt-get install gcc libc6-dev`, or your system's own")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", *how, "-o", str(program), str(source), "-lm"], check=True)

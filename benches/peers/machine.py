"""What is measured with, and on what: builds, virtual environment, cores, versions."""

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Prints what is missing of the requirements that it is given.
CHECK = """
import sys
from importlib.metadata import PackageNotFoundError, version
for line in sys.argv[1:]:
    name, wanted = line.split("==")
    try:
        found = version(name).split("+")[0]
    except PackageNotFoundError:
        found = None
    if found != wanted:
        print(line)
"""


@dataclass
class Setup:
    data: Path
    python: Path
    # The process that answers for lstmc, and the command itself.
    worker: Path
    lstmc: Path
    cores: list[int]
    # Of every process that is measured.
    environment: dict[str, str]
    # Whether `lstmc generate` has --weights.
    knows_weights: bool

    def peer(self, script: str, *arguments: str) -> list[str]:
        return [str(self.python), str(HERE / script), *arguments]

    def ask_once(self, arguments: list[str]) -> dict[str, Any]:
        """Runs lstmc's process for one answer."""
        command = [str(self.worker), "serve", *arguments]
        return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def physical_cores(count: int) -> list[int]:
    """One logical processor of each of `count` physical cores that this process may use."""
    found: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        found.setdefault(siblings.read_text() if siblings.exists() else str(cpu), cpu)
    if len(found) < count:
        raise SystemExit(f"{count} threads want as many physical cores; here are {len(found)}")
    return list(found.values())[:count]


def prepare(data: Path, folder: Path, cores: list[int]) -> Setup:
    """Builds lstmc and the virtual environment, then keeps to the cores, with all processes started from now on."""
    if not (data / "ptb.train.txt").exists():
        raise SystemExit(f"there is no ptb.train.txt in {data}: --data wants the folder of the Penn Treebank's files")
    python = frameworks(folder)
    worker, lstmc = build()
    os.sched_setaffinity(0, cores)
    environment = {
        # What tells a BLAS which processor to expect would handicap a framework.
        **{name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")},
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "RUST_BACKTRACE": "0",
        # So that the first step shows what compiling costs.
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    }
    described = subprocess.run([lstmc, "generate", "--help"], check=True, stdout=subprocess.PIPE, text=True)
    return Setup(data, python, worker, lstmc, cores, environment, "--weights" in described.stdout)


def frameworks(folder: Path) -> Path:
    """The Python of a virtual environment that has what requirements.txt says."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    wanted = (HERE / "requirements.txt").read_text().split()
    missing = subprocess.run([python, "-c", CHECK, *wanted], check=True, stdout=subprocess.PIPE, text=True).stdout
    if missing:
        subprocess.run([python, "-m", "pip", "install", *missing.split()], check=True, stdout=sys.stderr)
    return python


def build() -> tuple[Path, Path]:
    """The bench program and the command, built with optimisation."""
    command = ["cargo", "bench", "--bench", "models", "--no-run", "--message-format=json"]
    said = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for line in said.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            found[message["target"]["name"]] = Path(message["executable"])
    return found["models"], found["lstmc"]


def refuses(setup: Setup, model: Path) -> str | None:
    """The first line of what lstmc says against a model file; None if it compiles."""
    command = [str(setup.lstmc), "check", str(model), "--data", str(setup.data)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return None if done.returncode == 0 else (done.stderr.splitlines() or ["(nothing)"])[0]


def flags() -> list[str]:
    """What the processor can do, as Linux names it."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in info if line.startswith("flags")), "").split()


def describe(setup: Setup) -> str:
    """The machine and the versions, in a line."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(":")[2].strip() for line in info if line.startswith("model name")}
    extensions = flags()
    vectors = next((name for name in ("avx512f", "avx2") if name in extensions), "neither AVX2 nor AVX-512")
    more = [name for name in ("avx512_bf16", "amx_bf16", "amx_int8") if name in extensions]
    # Names say little: a generation is told by these two numbers.
    number = lambda key: next((line.partition(":")[2].strip() for line in info if line.split(":")[0].strip() == key), "?")
    family = f"family {number('cpu family')} model {number('model')}"
    pins = (HERE / "requirements.txt").read_text().split()
    commands = [[str(setup.lstmc), "--version"], ["git", "rev-parse", "--short", "HEAD"], ["rustc", "--version"]]
    outputs = [subprocess.run(each, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout for each in commands]
    versions = [each.strip() for each in outputs]
    machine = f"{' / '.join(sorted(names)) or os.uname().machine} ({family}; {', '.join([vectors, *more])}), {len(setup.cores)} cores"
    return f"{machine}; {', '.join(filter(None, versions))}; {', '.join(pins)}; Python {sys.version.split()[0]}"

#!/usr/bin/env python3
"""Fills `fuzz/seeds` with what the tests have: shipped models, front-end files, graphs and kernels of file tests."""

import pathlib

here = pathlib.Path(__file__).resolve().parent
root = here.parent


def put(target, name, text):
    folder = here / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


for path in [*root.glob("models/**/*.lstm"), *root.glob("compiler/tests/front/*.lstm")]:
    put("model", path.stem, path.read_bytes())
for path in [*root.glob("tests/weights/*.pt"), *root.glob("tests/weights/*.safetensors")]:
    put("weights", path.name, path.read_bytes())
for path in root.glob("compiler/tests/*/**/*.txt"):
    for place, part in enumerate(path.read_text().split("----\n")):
        part = "\n".join(line for line in part.splitlines() if not line.startswith("//")) + "\n"
        if part.startswith("graph"):
            put("graph", f"{path.parent.name}-{path.stem}-{place}", part)
        if part.startswith("module"):
            put("kernels", f"{path.parent.name}-{path.stem}-{place}", part)

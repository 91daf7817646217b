"""Runs a script with exactly the packages that it pins, in a virtual environment of its own under `.runtime`."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def enter(requirements, name="venv"):
    """Goes on as the same script inside `.runtime/NAME`, which is made anew whenever the requirements have changed."""
    venv = ROOT / ".runtime" / name
    if Path(sys.prefix).resolve() == venv.resolve():
        return
    python, installed = venv / "bin" / "python", venv / "requirements.txt"
    wanted = Path(requirements).read_bytes()
    if not (python.exists() and installed.exists() and installed.read_bytes() == wanted):
        print(f"installing what {Path(requirements).name} pins, once ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True, stdout=sys.stderr)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        installed.write_bytes(wanted)  # Last, so that a half-made one is made again.
    os.execv(python, [str(python), *sys.argv])

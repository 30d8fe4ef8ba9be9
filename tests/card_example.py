"""Run the Python example of a model card as a reader does."""

import json
import re
import subprocess
import sys
from pathlib import Path


def run_card_example(folder: Path) -> dict[str, float]:
    """Return {tag: probability} as printed by the code in the README.md of a model folder, run in that folder."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code
    command = [sys.executable, "-I", "-X", "utf8", "-c", code[1]]  # -I: nothing of this repository can be imported
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""The house: rooms import downwards only, and files stay readable."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_rooms_import_only_from_below():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_no_source_file_is_over_600_lines():
    long = {path.name for path in ROOT.glob("src/**/*.py") if len(path.read_text().splitlines()) > 600}
    assert not long

import sys
from pathlib import Path

import pytest

for package in ("torch", "transformers", "starlette", "uvicorn"):
    pytest.importorskip(package)

# scripted; bundles
sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("consult", "experts", "evaluation")]

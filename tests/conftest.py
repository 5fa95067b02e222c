import sys
from pathlib import Path

# Helpers that several test folders share.
sys.path.insert(0, str(Path(__file__).parent / "imaging"))

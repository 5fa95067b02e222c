import sys
from pathlib import Path

import torch

# Helpers that several test folders share.
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)

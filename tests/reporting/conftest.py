import pytest

pytest.importorskip("scipy")  # experts' findings need it

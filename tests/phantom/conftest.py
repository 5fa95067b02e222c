"""Small cases, made once."""

import pytest
from phantom_cases import SHAPES, WISHES, case

from attending.phantom import generate


@pytest.fixture(scope="session", params=["ct", "mri", "cxr"])
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def small(kind):
    """One case of each kind with known findings, in the train split."""
    return case(kind, 3, *WISHES[kind])


@pytest.fixture(scope="session")
def healthy(kind):
    """The same patient without."""
    return case(kind, 3)


@pytest.fixture(scope="session")
def two_visits(kind):
    """A test case seen twice, its first finding grown."""
    wish = WISHES[kind][0].replace("size=40", "size=30") + ",change=grown"
    return generate(kind, 950_003, "B", visits=2, findings=[wish], shape=SHAPES[kind])

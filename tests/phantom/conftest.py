"""Small cases, made once."""

import pytest

from attending.phantom import generate

SHAPES = {"ct": (72, 72, 64), "mri": (64, 64, 64), "cxr": (160, 1, 160)}
WISHES = {
    "ct": ["liver lesion:size=40,place=segment V,density=hypodense", "lung nodule:size=28,density=solid"],
    "mri": ["brain tumor:size=45,density=necrotic,side=right"],
    "cxr": ["effusion:size=90,side=left", "cardiomegaly"],
}


@pytest.fixture(scope="session", params=["ct", "mri", "cxr"])
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def small(kind):
    """One case of each kind with known findings, in the train split."""
    return generate(kind, 3, "A", findings=WISHES[kind], shape=SHAPES[kind])


@pytest.fixture(scope="session")
def healthy(kind):
    """The same patient without."""
    return generate(kind, 3, "A", findings=[], shape=SHAPES[kind])


@pytest.fixture(scope="session")
def two_visits(kind):
    """A test case seen twice, its first finding grown."""
    wish = WISHES[kind][0].replace("size=40", "size=30") + ",change=grown"
    return generate(kind, 950_003, "B", visits=2, findings=[wish], shape=SHAPES[kind])

"""Cases: anatomy in its place, findings as asked for, the same bytes in every process, and clear refusals."""

import os
import subprocess
import sys

import numpy as np
import pytest
from phantom_cases import SHAPES, WISHES, digest

from attending.errors import InputError
from attending.phantom import generate, label_names, stream_cases, styles

CT = (72, 72, 64)


def test_every_label_has_a_name(small, kind):
    if kind == "cxr":
        assert len(small.visits[0].channels) == small.labels.array.shape[0]
    else:
        assert set(np.unique(small.labels.array)) - {0} <= set(label_names(kind))


def test_same_seed_same_bytes(small, kind):
    assert digest(generate(kind, 3, "A", findings=WISHES[kind], shape=SHAPES[kind])) == digest(small)


def test_same_bytes_in_another_process(small, kind):
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from phantom_cases import digest\nfrom attending.phantom import generate\n"
        f"print(digest(generate({kind!r}, 3, 'A', findings={WISHES[kind]!r}, shape={SHAPES[kind]!r})))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert ran.stdout.strip() == digest(small)


def test_seeds_and_styles_change_the_pixels_but_a_style_not_the_patient():
    one, two = (generate("ct", 5, s, findings=["liver lesion"], shape=(48, 48, 48)) for s in "AB")
    assert one.patient == two.patient
    assert one.findings == two.findings
    assert digest(one) != digest(two)


@pytest.mark.parametrize("size", [20, 40])
def test_a_lesion_is_as_large_as_asked(size):
    case = generate(
        "ct", 9, "A", findings=[f"liver lesion:size={size},place=segment V,margin=smooth"], shape=(128, 128, 96)
    )
    assert case.truth.visits[0]["findings"][0]["measurements"]["longest_axial_diameter_mm"] == pytest.approx(
        size, abs=5
    )


@pytest.mark.parametrize(
    "text",
    ["gout:sex=F", "effusion", "effusion:sex=X", "effusion:age=10-20", "effusion:age=60", "effusion:sex=F,share=2",
     "effusion:size=3"],
)  # fmt: skip
def test_an_impossible_tie_is_refused(text):
    with pytest.raises(InputError, match="expected") as caught:
        generate("cxr", 0, tie=text)
    assert caught.value.field == "tie"


def test_streaming_makes_the_same_cases():
    shape_free = [c.id for c in stream_cases("cxr", range(2), ["A", "B"], findings=[])]
    assert shape_free == ["cxr-A-00000000", "cxr-B-00000001"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "pet"}, "ct, mri, cxr"),
        ({"style": "Z"}, "A, B, C, D"),
        ({"seed": -1}, "0 to 999999"),
        ({"visits": 3}, "1 or 2"),
        ({"shape": (8, 8, 8)}, "48 to 512"),
        ({"kind": "cxr", "shape": (200, 2, 200)}, "(n, 1, n)"),
        ({"findings": ["liver lesion:size=400"]}, "8 to 90 mm"),
        ({"findings": ["brain tumor"]}, "liver lesion"),
        ({"findings": ["liver lesion:count=9"]}, "1 to 4"),
        ({"findings": ["liver lesion:side=right"]}, "nothing here"),
        ({"findings": ["lung nodule:place=left elbow"]}, "right upper lobe"),
        ({"findings": ["liver lesion:size=big"]}, "a number"),
        ({"findings": ["liver lesion:colour=red"]}, "allowed are"),
        ({"findings": ["liver lesion:change=new"]}, "two visits"),
        ({"findings": ["pancreas lesion:place=head,size=26", "pancreas lesion:place=head,size=26"]}, "does not fit"),
    ],
)
def test_impossible_requests_say_what_is_allowed(changes, says):
    arguments = {"kind": "ct", "seed": 1, "style": "A"} | changes
    with pytest.raises(InputError) as caught:
        generate(**arguments)
    assert says in str(caught.value)


def test_styles_are_named():
    assert list(styles()) == ["A", "B", "C", "D"]

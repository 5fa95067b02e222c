"""Data of one's own: LLaVA-style JSON, tables, and what `convert` writes."""

import json
from dataclasses import replace

import published_files as files
import pytest

from attending.corpora import Dataset, check_images, load_picture, read, require
from attending.corpora.convert import convert
from attending.corpora.readers.shares import shares_of, split_by_hash
from attending.corpora.sheet import conversation_sheet
from attending.errors import InputError


def said(conversation):
    return [message.content for message in conversation.messages]


def write(path, rows, lines=False):
    text = "\n".join(map(json.dumps, rows)) + "\n" if lines else json.dumps(rows)
    path.write_text(text)
    return path


@pytest.fixture
def llava(tmp_path):
    for seed in range(3):
        files.picture(tmp_path / "pictures" / f"{seed}.png", seed)
    return [
        {"id": "a", "image": "pictures/0.png",
         "conversations": [{"from": "human", "value": "What?\n<image>"}, {"from": "gpt", "value": "A liver."}]},
        {"id": "a", "image": "pictures/1.png", "organ": "liver",
         "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A lung."}]},
        {"id": 7, "conversations": [{"from": "gpt", "value": "Hello."}, {"from": "human", "value": "What is HU?"},
                                    {"from": "gpt", "value": "Hounsfield units."}]},
        {"images": ["pictures/0.png", "pictures/2.png"], "patient": "p1", "split": "test",
         "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "image"},
                                                   {"type": "text", "text": "Compare."}]},
                      {"role": "assistant", "content": "Same."}]},
    ]  # fmt: skip


class TestLlava:
    @pytest.mark.parametrize("lines", [True, False])
    def test_both_forms_give_the_same(self, tmp_path, llava, lines):
        path = write(tmp_path / ("mine.jsonl" if lines else "mine.json"), llava, lines)
        train, test = read("llava", path), read("llava", path, "test")
        assert [c.id for c in train.conversations] == ["a", "a#2", "7"]
        assert said(train.conversations[1]) == ["<image>\nWhat?", "A lung."]
        assert train.conversations[1].facts["organ"] == "liver"
        assert said(train.conversations[2])[0] == "What is HU?"
        assert train.counts["passed over: first message, an answer to nothing"] == 1
        assert said(test.conversations[-1])[0] == "<image><image>Compare."
        assert test.conversations[-1].patient == "p1"
        assert len(test.conversations) == 4  # rows that name no split are of any

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ({"conversations": []}, "expected a list conversations or messages"),
            ({"conversations": [{"from": "robot", "value": "x"}]}, "role is robot"),
            ({"conversations": [{"from": "human", "value": 3}]}, "expected a text"),
            ({"conversations": ["x"]}, "expected an object"),
            ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "parts of type text or image"),
            ({"conversations": [{"from": "human", "value": "x"}]}, "ending with assistant"),
            ({"image": "/etc/passwd", "conversations": [{"from": "human", "value": "x"}]}, "below the folder"),
            ({"image": "a/../../x.png", "conversations": [{"from": "human", "value": "x"}]}, "below the folder"),
            ({"image": ["pictures/0.png"] * 2, "conversations": [{"from": "human", "value": "<image>"},
                                                                {"from": "gpt", "value": "x"}]}, "2 images"),
            ({"image": "pictures/9.png", "conversations": [{"from": "human", "value": "x"},
                                                          {"from": "gpt", "value": "y"}]}, "is not there"),
        ],
    )  # fmt: skip
    def test_rows_that_are_wrong_are_collected(self, tmp_path, llava, row, problem):
        dataset = read("llava", write(tmp_path / "mine.json", [row, *llava]))
        assert [problem in str(one) for one in dataset.problems] == [True]
        assert len(dataset.conversations) == 3
        with pytest.raises(InputError, match="1 problems in the data"):
            require([dataset])

    def test_full_paths_are_taken_below_the_folder_of_the_pictures(self, tmp_path, llava):
        llava[0]["image"] = str(tmp_path / "pictures" / "0.png")
        dataset = read("llava", write(tmp_path / "mine.json", llava), images=str(tmp_path))
        assert not dataset.problems

    @pytest.mark.parametrize("content", [b"", b"{}", b"[1,", b"\xff\xfe\x00", b"[" * 100_000])
    def test_files_that_are_no_list_are_refused(self, tmp_path, content):
        (tmp_path / "mine.json").write_bytes(content)
        with pytest.raises(InputError, match=r"mine\.json"):
            read("llava", tmp_path / "mine.json")


class TestTable:
    def write(self, folder, rows, header=("image", "question", "answer")):
        for seed in range(4):
            files.picture(folder / "pictures" / f"{seed}.png", seed)
        return files.table(folder / "mine.csv", header, rows)

    def test_rows_become_conversations_and_other_columns_facts(self, tmp_path):
        path = self.write(tmp_path, [("pictures/0.png", "What?", "A liver, a large one.", "p1", "liver"),
                                     ("pictures/0.png; pictures/1.png", "Which is larger?", "The first", "p1", ""),
                                     ("", "What is HU?", "Hounsfield units", "", "")],
                          ("image", "question", "answer", "patient", "organ"))  # fmt: skip
        dataset = read("csv", path)
        assert said(dataset.conversations[0]) == ["<image>\nWhat?", "A liver, a large one."]
        assert dataset.conversations[0].facts["organ"] == "liver"
        assert said(dataset.conversations[1])[0] == "<image>\n<image>\nWhich is larger?"
        assert dataset.conversations[2].images == ()
        assert dataset.counts["patients"] == 1

    def test_the_column_split_decides_and_excel_and_its_bom_are_read(self, tmp_path):
        path = self.write(tmp_path, [("pictures/0.png", "a", "b", "Train"), ("pictures/1.png", "a", "b", "val"),
                                     ("pictures/2.png", "a", "b", "test"), ("pictures/3.png", "a", "b", "tset")],
                          ("image", "question", "answer", "split"))  # fmt: skip
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        train = read("csv", path)
        assert len(train.conversations) == len(read("csv", path, "val").conversations) == 1
        assert "split is tset: expected train, validate or test" in str(train.problems[0])
        with pytest.raises(InputError, match="1 problems"):
            require([train])

    def test_shares_split_by_patient_and_cover_every_row_once(self, tmp_path):
        rows = [(f"pictures/{i % 4}.png", f"q{i}", "a", f"p{i // 3}") for i in range(90)]
        path = self.write(tmp_path, rows, ("image", "question", "answer", "patient"))
        parts = [read("csv", path, split, shares="60,20,20") for split in ("train", "validate", "test")]
        patients = [{c.patient for c in part.conversations} for part in parts]
        assert all(patients)
        assert sum(len(part.conversations) for part in parts) == 90
        assert patients[0].isdisjoint(patients[1] | patients[2])
        assert len(read("csv", path).conversations) == 90

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            (("pictures/9.png", "q", "a"), "is not there"),
            (("pictures/0.png", "  ", "a"), "question: is empty"),
            (("pictures/0.png", "q", ""), "answer: is empty"),
            (("pictures/0.png",), "expected 3 cells"),
            (("..\\x.png", "q", "a"), "plain name"),
            (("pictures/0.png", "q", "see <image>"), "2 places <image>, 1 images"),
        ],
    )
    def test_rows_that_are_wrong_are_named(self, tmp_path, row, problem):
        dataset = read("csv", self.write(tmp_path, [row, ("pictures/0.png", "q", "a")]))
        assert [problem in str(one) for one in dataset.problems] == [True], dataset.problems
        assert len(dataset.conversations) == 1

    def test_a_file_that_is_no_table_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="lacks the column question, answer"):
            read("csv", files.table(tmp_path / "a.csv", ("image",), []))
        (tmp_path / "b.csv").write_bytes(b'image,question,answer\n"a,b')
        with pytest.raises(InputError, match="cannot be read as CSV"):
            read("csv", tmp_path / "b.csv")
        (tmp_path / "c.csv").write_bytes(b"image,question,answer\na,b,\xff\xff\n")
        with pytest.raises(InputError, match="cannot be read as CSV"):
            read("csv", tmp_path / "c.csv")
        with pytest.raises(InputError, match="not a folder"):
            read("csv", tmp_path)


class TestShares:
    def test_the_same_name_falls_into_the_same_split(self):
        cut = shares_of("80, 10,10")
        found = [split_by_hash(f"p{i}", cut) for i in range(2000)]
        assert found == [split_by_hash(f"p{i}", cut) for i in range(2000)]
        assert abs(found.count("train") - 1600) < 100
        assert abs(found.count("test") - 200) < 60

    @pytest.mark.parametrize("text", ["80,20", "a,b,c", "80,10,11", "-1,50,51", ""])
    def test_what_does_not_make_100_is_refused(self, text):
        with pytest.raises(InputError, match="three percentages"):
            shares_of(text)


class TestConvert:
    def test_what_is_written_is_read_back_the_same(self, tmp_path):
        dataset = read("slake", files.slake(tmp_path / "slake"), language="all")
        written = convert(dataset, tmp_path / "out" / "slake.jsonl")
        again = read("llava", tmp_path / "out" / "slake.jsonl")
        assert written.conversations == len(again.conversations) == 3
        for one, other in zip(dataset.conversations, again.conversations, strict=True):
            assert (one.id, one.messages, one.patient, one.source) == (
                other.id, other.messages, other.patient, other.source,
            )  # fmt: skip
            assert one.facts.items() <= other.facts.items()
            assert one.images[0].read_bytes() == other.images[0].read_bytes()
        assert not again.problems

    def test_pictures_in_memory_become_png_once(self, tmp_path):
        dataset = read("phantom", None, kinds="cxr", cases=1, questions=3)
        written = convert(dataset, tmp_path / "phantom.jsonl")
        assert written.pictures == 1
        again = read("llava", tmp_path / "phantom.jsonl")
        assert load_picture(again.conversations[0].images[0]).digest == dataset.conversations[0].images[0].digest

    def test_nothing_half_written_is_left_and_nothing_overwritten(self, tmp_path):
        dataset = read("slake", files.slake(tmp_path / "slake"))
        broken = Dataset(dataset.name, "train", _Breaks(), {})
        with pytest.raises(RuntimeError):
            convert(broken, tmp_path / "out.jsonl")
        assert list(tmp_path.glob("*out*")) == []
        convert(dataset, tmp_path / "out.jsonl")
        with pytest.raises(InputError, match="is there already"):
            convert(dataset, tmp_path / "out.jsonl")


class _Breaks:
    def __iter__(self):
        raise RuntimeError

    def __len__(self):
        return 1


def test_broken_pictures_are_found_before_training(tmp_path):
    folder = files.slake(tmp_path)
    whole = (folder / "imgs/xmlab1/source.jpg").read_bytes()
    (folder / "imgs/xmlab1/source.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "imgs/xmlab2/source.jpg").write_text("<html>not found</html>")
    dataset = read("slake", folder)
    assert not dataset.problems  # headers are not read for the counts
    problems = check_images(dataset)
    assert len(problems) == 2
    unknown = replace(dataset, images=None)  # then they are looked up in the conversations
    assert list(map(str, check_images(unknown))) == list(map(str, problems))
    assert {"xmlab1", "xmlab2"} == {str(one).split("imgs/")[1].split("/")[0] for one in problems}


def test_a_sheet_shows_conversations_even_where_pictures_are_broken(tmp_path):
    folder = files.slake(tmp_path)
    (folder / "imgs/xmlab1/source.jpg").write_text("broken")
    dataset = read("slake", folder, language="all")
    picture = conversation_sheet(dataset, tiles=12)
    assert picture.pixels.shape[0] > 240
    assert len(picture.pixels[..., 0].ravel().nonzero()[0]) > 1000
    assert conversation_sheet(Dataset("empty", "train", [], {})).pixels.size


def test_no_phantom_is_made_to_look_at_files():
    assert check_images(read("phantom", None, cases=100_000)) == []

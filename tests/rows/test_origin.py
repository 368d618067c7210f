"""Which rows a run uses, and what is said about them; sample rows never pass for benchmark rows."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import ClassVar

import pytest

from harness.errors import DataError
from harness.rows import hub
from harness.rows.origin import Origin, locate
from tests.rows.conftest import Make, jsonl, parquet

ROW = {"text": "real", "label": "yes"}


def texts(origin: Origin, split: str = "test") -> list[str]:
    return [row["text"] for row in origin.splits[split].read(["text"])]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror that holds the task."""
    folder = tmp_path / "mirror"
    parquet(folder / "some__small/default/test.parquet", [ROW])
    parquet(folder / "some__small/default/train.parquet", [{"text": "trained", "label": "no"}])
    return folder


class TestMirror:
    def test_is_found_by_the_layout_of_its_folders(self, make: Make, mirror: Path) -> None:
        origin = locate(make(), str(mirror))
        assert (origin.place, origin.kind, origin.note) == ("mirror", "benchmark", None)
        assert (texts(origin), texts(origin, "train")) == (["real"], ["trained"])
        assert origin.label(7) == "benchmark (mirror)"

    def test_our_names_of_splits_stand_for_the_hubs(self, make: Make, mirror: Path) -> None:
        splits = {"train": "test", "test": "train", "unused": "absent"}
        origin = locate(make(dataset={"hub": "some/small", "splits": splits}), str(mirror))
        assert (texts(origin), texts(origin, "train")) == (["trained"], ["real"])
        assert set(origin.splits) == {"train", "test"}

    def test_columns_get_our_names(self, make: Make, tmp_path: Path) -> None:
        parquet(tmp_path / "mirror/some__small/default/test.parquet", [{"Review Text": "real", "label": "yes"}])
        dataset = {"hub": "some/small", "splits": {"test": "test"}, "columns": {"text": "Review Text"}}
        origin = locate(make(dataset=dataset), str(tmp_path / "mirror"))
        assert (origin.splits["test"].columns, texts(origin)) == (("text", "label"), ["real"])
        with pytest.raises(
            DataError, match=r"some/small, split 'test': no column 'Text' \(it has: Review Text, label\)"
        ):
            locate(make(dataset=dataset | {"columns": {"text": "Text"}}), str(tmp_path / "mirror"))

    def test_a_training_split_is_no_must(self, make: Make, mirror: Path) -> None:
        (mirror / "some__small/default/train.parquet").unlink()
        assert set(locate(make(), str(mirror)).splits) == {"test"}

    @pytest.mark.parametrize("missing", ["some__small/default/test.parquet", "some__small/default", "some__small"])
    def test_that_lacks_the_evaluated_split_is_an_error_with_the_path_looked_for(
        self, make: Make, mirror: Path, missing: str
    ) -> None:
        (mirror / missing).rename(mirror / "elsewhere")
        expected = f"small: no rows of split 'test' ({mirror}/some__small/default/test.parquet)"
        with pytest.raises(DataError, match=re.escape(expected)):
            locate(make(), str(mirror))

    def test_a_split_that_the_task_does_not_map_is_looked_for_under_its_own_name(
        self, make: Make, mirror: Path
    ) -> None:
        file = make(dataset={"hub": "some/small", "splits": {"train": "train"}})
        with pytest.raises(DataError, match=r"no rows of split 'test' \(.*/default/test.parquet\)"):
            locate(file, str(mirror))

    @pytest.mark.usefixtures("samples")
    def test_that_lacks_a_task_nobody_asked_for_by_name_gives_way_to_sample_rows_and_says_so(
        self, make: Make, mirror: Path
    ) -> None:
        (mirror / "some__small").rename(mirror / "elsewhere")
        origin = locate(make(), str(mirror), strict=False)
        assert (origin.place, origin.kind, texts(origin)) == ("sample", "sample", ["sample"])
        assert origin.note == f"small: no rows of split 'test' ({mirror}/some__small/default/test.parquet)"

    @pytest.mark.usefixtures("samples")
    @pytest.mark.parametrize("strict", [True, False])
    @pytest.mark.parametrize("dataset", [{}, {"hub": "some/small", "splits": {"test": "test"}}])
    def test_whose_folder_does_not_exist_is_always_the_users_mistake(
        self, make: Make, tmp_path: Path, strict: bool, dataset: dict[str, str]
    ) -> None:
        with pytest.raises(DataError, match=f"{tmp_path}/mirrr: no such folder"):
            locate(make(dataset=dataset), f"{tmp_path}/mirrr", strict=strict)
        with pytest.raises(DataError, match=r"smaple: no such folder \(did you mean 'sample'\?\)"):
            locate(make(dataset=dataset), "smaple", strict=strict)

    def test_whose_file_is_broken_is_an_error_even_beside_sample_rows(
        self, make: Make, mirror: Path, samples: Path
    ) -> None:
        (mirror / "some__small/default/test.parquet").write_text("nonsense")
        assert samples.is_file()
        with pytest.raises(DataError, match=r"test\.parquet: not a Parquet file"):
            locate(make(), str(mirror))


@pytest.mark.usefixtures("samples")
class TestSamples:
    def test_are_had_by_asking_for_them(self, make: Make) -> None:
        origin = locate(make(), "sample")
        assert (origin.place, origin.kind, origin.note) == ("sample", "sample", None)
        assert (texts(origin), texts(origin, "train")) == (["sample"], ["a", "b"])

    def test_are_never_called_a_benchmark(self, make: Make) -> None:
        origin = locate(make(), "sample")
        assert origin.label(24) == "sample (n=24)"

    def test_do_not_show_the_column_that_names_their_split(self, make: Make) -> None:
        assert locate(make(), "sample").splits["test"].columns == ("text", "label")

    def test_without_the_evaluated_split_are_an_error(self, make: Make, samples: Path) -> None:
        with pytest.raises(DataError, match=f"small: no rows of split 'validation' .{samples}"):
            locate(make(evaluation={"split": "validation"}), "sample")

    def test_that_are_not_shipped_are_an_error(self, make: Make, samples: Path) -> None:
        samples.unlink()
        with pytest.raises(DataError) as found:
            locate(make(), "sample")
        assert str(found.value) == f"{samples}: no sample rows are shipped for small"


@pytest.mark.usefixtures("samples")
class TestHubNotThere:
    @pytest.mark.usefixtures("offline")
    def test_offline_without_a_word_about_the_data_sample_rows_stand_in_and_it_is_said_why(self, make: Make) -> None:
        origin = locate(make(), None)
        assert (origin.kind, texts(origin)) == ("sample", ["sample"])
        assert origin.note == "the Hugging Face hub cannot be reached"

    def test_so_they_do_when_its_port_is_closed(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        assert locate(make(), None).place == "sample"

    def test_and_when_it_takes_the_connection_and_never_answers(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as server:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
            assert locate(make(), None).place == "sample"

    @pytest.mark.usefixtures("offline")
    def test_asked_for_it_is_an_error(self, make: Make) -> None:
        with pytest.raises(DataError, match=r"^the Hugging Face hub cannot be reached$"):
            locate(make(), "hub")

    @pytest.mark.usefixtures("offline")
    def test_and_no_sample_rows_either_both_are_told(self, make: Make, samples: Path) -> None:
        samples.unlink()
        with pytest.raises(DataError, match=f"hub cannot be reached; and {samples}: no sample rows are shipped"):
            locate(make(), None)


@pytest.mark.usefixtures("samples")
class TestNotOnTheHub:
    KAGGLE: ClassVar = {
        "hub": "some/small",
        "splits": {"test": "test"},
        "obtain": "Get it from Kaggle.\nThen name it here.\n",
    }

    def test_asked_for_the_hub_it_is_told_how_to_get_the_data(self, make: Make) -> None:
        with pytest.raises(DataError) as found:
            locate(make(dataset=self.KAGGLE), "hub")
        assert str(found.value) == "small's data is not on the hub\nGet it from Kaggle.\nThen name it here."

    def test_otherwise_sample_rows_stand_in_and_the_note_is_one_line(self, make: Make) -> None:
        assert locate(make(dataset=self.KAGGLE), None).note == "small's data is not on the hub"

    def test_a_mirror_may_have_it_all_the_same(self, make: Make, mirror: Path) -> None:
        assert texts(locate(make(dataset=self.KAGGLE), str(mirror))) == ["real"]

    def test_a_task_that_is_nowhere_but_in_its_sample_rows_uses_them_whatever_mirror_is_named(
        self, make: Make, tmp_path: Path
    ) -> None:
        origin = locate(make(dataset={}), str(tmp_path))
        assert (origin.place, origin.note) == ("sample", "small's data is not on the hub")


class TestFiles:
    """Data had by hand, named in the task file."""

    DATASET: ClassVar = {
        "files": {"train": "mine/train.csv", "test": "mine/test.jsonl"},
        "columns": {"text": "comment"},
        "obtain": "Get it from Kaggle.\n",
    }

    @pytest.fixture
    def by_hand(self, tmp_path: Path) -> Path:
        folder = tmp_path / "tasks" / "mine"
        jsonl(folder / "test.jsonl", [{"comment": "mine", "label": "yes"}])
        (folder / "train.csv").write_text("comment,label\ntrained,no\n")
        return folder

    @pytest.mark.usefixtures("by_hand", "offline")
    @pytest.mark.parametrize("data", [None, "hub"])
    def test_are_used_without_asking_the_hub(self, make: Make, data: str | None) -> None:
        origin = locate(make(dataset=self.DATASET), data)
        assert (origin.place, origin.kind, origin.label(3)) == ("files", "benchmark", "benchmark (files)")
        assert (texts(origin), texts(origin, "train")) == (["mine"], ["trained"])
        assert origin.splits["test"].columns == ("text", "label")

    @pytest.mark.usefixtures("by_hand")
    def test_are_used_whatever_mirror_is_named_when_none_could_hold_them(self, make: Make, tmp_path: Path) -> None:
        assert texts(locate(make(dataset=self.DATASET), str(tmp_path))) == ["mine"]

    @pytest.mark.usefixtures("by_hand")
    def test_may_be_parquet_and_stand_anywhere(self, make: Make, tmp_path: Path) -> None:
        path = parquet(tmp_path / "far" / "test.parquet", [ROW])
        assert texts(locate(make(dataset={"files": {"test": str(path)}}), None)) == ["real"]

    @pytest.mark.parametrize("missing", ["test.jsonl", "train.csv"])
    def test_that_are_missing_are_an_error_that_says_how_to_get_them(
        self, make: Make, by_hand: Path, missing: str
    ) -> None:
        (by_hand / missing).unlink()
        with pytest.raises(DataError) as found:
            locate(make(dataset=self.DATASET), "hub")
        assert str(found.value) == f"{by_hand}/{missing}: no such file\nGet it from Kaggle."

    def test_that_lack_a_mapped_column_are_an_error(self, make: Make, by_hand: Path) -> None:
        assert by_hand.is_dir()
        with pytest.raises(DataError, match=r"no column 'body' \(it has: comment, label\)"):
            locate(make(dataset={**self.DATASET, "columns": {"text": "body"}}), "hub")

    @pytest.mark.usefixtures("by_hand")
    def test_without_the_evaluated_split_are_an_error(self, make: Make) -> None:
        files = {"train": "mine/train.csv"}
        with pytest.raises(DataError, match="small: no rows of split 'test'"):
            locate(make(dataset={"files": files}), "hub")

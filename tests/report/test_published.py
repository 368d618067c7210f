"""Reading figures from the literature, and which of our metrics they may stand beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.report.published import Published, counterpart, headline, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "lora_land_blog.csv": "task,title,metric,model,score,note\nviggo,Video games,rouge,gpt-4,0.5,\n",
        "lora_land_paper.csv": "category,task,metric,base_model,fine_tuned,base\nNLP,viggo,rouge,phi-2,0.95,0.17\n",
        "lora_land_paper_gpt.csv": "task,model,score\nviggo,gpt-4,0.4\n",
        "octoai_toxicity.csv": "model,class,precision,recall,f1,support\n"
        "gpt4,toxic,1.00,0.50,0.67,14\ngpt4,accuracy,,,0.77,30\nmistral-7b-instruct,accuracy,,,0.57,21\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_read_gives_every_source_its_name_and_metric(folder: Path) -> None:
    assert read(folder) == {
        "viggo": [
            Published("gpt-4", 0.5, "rouge", "blog"),
            Published("phi-2-lora", 0.95, "rouge", "paper"),
            Published("phi-2", 0.17, "rouge", "paper"),
            Published("gpt-4", 0.4, "rouge", "paper"),
        ],
        "toxic_chat": [
            Published("gpt-4", 0.77, "accuracy", "OctoAI", "n = 30"),
            Published("mistral-7b-instruct", 0.57, "accuracy", "OctoAI", "n = 21 of 30, the others unusable"),
        ],
    }


def test_without_files_there_are_no_figures(tmp_path: Path) -> None:
    assert read(tmp_path) == read(tmp_path / "absent") == {}


def test_a_broken_file_is_named_with_its_line(folder: Path) -> None:
    (folder / "lora_land_paper_gpt.csv").write_text("task,model,score\nviggo,gpt-4,high\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"lora_land_paper_gpt\.csv, line 2: .*high"):
        read(folder)
    (folder / "lora_land_paper_gpt.csv").write_text("task,score\nviggo,0.5\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'model'"):
        read(folder)


@pytest.mark.parametrize(
    ("published", "source", "ours", "expected"),
    [
        ("rouge", "blog", ["entity_f1", "rouge_l", "published_rouge"], "published_rouge"),
        ("rouge", "blog", ["rouge_l"], "rouge_l"),
        ("rouge", "blog", ["number_match", "published_gsm8k_regex"], None),
        ("accuracy", "paper", ["number_match", "published_gsm8k_regex"], "published_gsm8k_regex"),
        ("accuracy", "paper", ["accuracy", "published_rouge"], "accuracy"),
        ("accuracy", "OctoAI", ["published_binary_accuracy_flex", "accuracy"], "accuracy"),
        ("mae", "paper", ["published_stsb", "pearson"], "published_stsb"),
        ("stsb", "blog", ["published_stsb", "stsb"], None),
        ("humaneval", "paper", ["pass_at_1"], "pass_at_1"),
    ],
)
def test_counterpart(published: str, source: str, ours: list[str], expected: str | None) -> None:
    assert counterpart(Published("gpt-4", 0.5, published, source), ours) == expected


def test_headline_leaves_out_the_papers_other_base_models(folder: Path) -> None:
    assert [f.model for f in headline(read(folder)["viggo"])] == ["gpt-4", "gpt-4"]


def test_the_figures_of_the_project_can_be_read() -> None:
    found = read(Path(__file__).parents[2] / "results" / "published")
    jigsaw = {(f.model, f.source): f.score for f in found["jigsaw"]}
    assert jigsaw["mistral-7b-lora", "blog"] == 0.84
    assert jigsaw["mistral-7b-lora", "paper"] == 0.849
    assert {f.source for f in found["toxic_chat"]} == {"OctoAI"}
    assert sum(f.source == "blog" for figures in found.values() for f in figures) == 27 * 5

"""Plots: valid files, the same bytes for the same scores, and the words they must carry."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from harness.compare.intervals import NOTHING
from harness.compare.paired import Comparison, ModelPair
from harness.compare.standings import Lift
from harness.report.plots import WATERMARK, adapter_plot, latency_plot, overview_plot, task_plot
from harness.report.plots.style import INK, looks
from harness.report.published import Published
from harness.report.scoreboard import Latencies, Latency

MODELS = ("gpt-4", "mistral-7b-lora", "tfidf")


def words(svg: Path) -> str:
    """All text of an SVG file, which fails when it is not one."""
    return "\n".join(e.text or "" for e in ElementTree.parse(svg).iter() if e.tag.endswith("}text"))


@pytest.fixture
def jigsaw(benchmark: pd.DataFrame) -> pd.DataFrame:
    return benchmark[benchmark["task"] == "jigsaw"]


def test_task_plot_writes_an_svg_and_a_png(
    jigsaw: pd.DataFrame, published: dict[str, list[Published]], tmp_path: Path
) -> None:
    svg, png = task_plot(jigsaw, published["jigsaw"], MODELS, tmp_path / "plots" / "jigsaw")
    assert (svg.name, png.name) == ("jigsaw.svg", "jigsaw.png")
    height, width, _ = matplotlib.image.imread(png).shape
    assert width == 1080
    assert height > 200
    text = words(svg)
    for expected in (
        "Toxicity Detection (Jigsaw)",
        "jigsaw; benchmark (mirror); n = 1,000",
        "accuracy, with 95 % interval",
        "mistral-7b-lora",
        "0.930 [0.910, 0.945]",
        "0.873 [0.853, 0.888], 11 not ok",
        "Published, measured by others:",
        "gpt-4 (paper)",
        "0.754 accuracy",
    ):
        assert expected in text
    assert "macro_f1" not in text
    assert "phi-2" not in text
    assert WATERMARK not in text


def test_task_plot_names_published_metrics_it_cannot_show(
    benchmark: pd.DataFrame, published: dict[str, list[Published]], tmp_path: Path
) -> None:
    svg, _ = task_plot(benchmark[benchmark["task"] == "e2e_nlg"], published["e2e_nlg"], MODELS, tmp_path / "e2e_nlg")
    assert "Published figures on another metric (bleurt) are not shown." in words(svg)


def test_sample_plots_carry_a_watermark_and_no_published_figures(
    sample: pd.DataFrame, published: dict[str, list[Published]], tmp_path: Path
) -> None:
    svg, _ = task_plot(sample, published["jigsaw"], ("majority", "tfidf"), tmp_path / "jigsaw-sample")
    assert WATERMARK in words(svg)
    assert "sample (n=24)" in words(svg)
    assert "Published" not in words(svg)
    svg, _ = overview_plot(sample, ("majority", "tfidf"), tmp_path / "overview-sample")
    assert WATERMARK in words(svg)


def test_overview_names_tasks_models_and_sources(benchmark: pd.DataFrame, tmp_path: Path) -> None:
    svg, png = overview_plot(benchmark, MODELS, tmp_path / "overview")
    text = words(svg)
    assert "3 models, 2 tasks; benchmark (mirror); n = 1,000" in text
    for expected in ("e2e_nlg", "rouge_l, n = 1,000", "jigsaw", "gpt-4", "mistral-7b-lora", "tfidf"):
        assert expected in text
    assert matplotlib.image.imread(png).shape[1] == 1080


def test_scores_up_to_100_are_divided_in_the_overview(benchmark: pd.DataFrame, tmp_path: Path) -> None:
    scores = ["score", "low", "high", "highest"]
    percent = benchmark.copy()
    percent.loc[percent["task"] == "e2e_nlg", scores] *= 100
    svg, _ = overview_plot(percent, MODELS, tmp_path / "overview")
    assert "rouge_l / 100" in words(svg)


def test_equal_scores_give_equal_files(jigsaw: pd.DataFrame, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in task_plot(jigsaw, (), MODELS, tmp_path / "a")]
    again = [path.read_bytes() for path in task_plot(jigsaw.iloc[::-1], (), MODELS, tmp_path / "b")]
    assert first == again


def test_names_are_text_and_never_markup(jigsaw: pd.DataFrame, tmp_path: Path) -> None:
    odd = "$x^2$ <b> & \\frac"
    svg, _ = task_plot(jigsaw.replace("tfidf", odd), (), ("gpt-4", "mistral-7b-lora", odd), tmp_path / "odd")
    assert "$x^2$ <b> & \\frac" in words(svg)


def test_twenty_models_still_have_a_line_each(jigsaw: pd.DataFrame, tmp_path: Path) -> None:
    many = pd.concat([jigsaw.assign(model=jigsaw["model"] + f"-{i}") for i in range(7)])
    names = sorted(set(many["model"]))
    svg, _ = task_plot(many, (), names, tmp_path / "many")
    assert all(f"tfidf-{i}" in words(svg) for i in range(7))
    svg, _ = overview_plot(many, names, tmp_path / "overview")
    assert all(f"tfidf-{i}" in words(svg) for i in range(7))


def marks(figure: Figure) -> set[tuple[float, ...]]:
    """The ends of all horizontal lines and the places of all single points that were drawn."""
    (axes,) = figure.axes
    return {tuple(sorted({round(float(x), 6) for x in line.get_xdata()})) for line in axes.get_lines()}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that would have been written."""
    figures: list[Figure] = []

    def keep(figure: Figure, *_: object) -> list[Path]:
        figures.append(figure)
        return []

    for name in ("tasks", "overall", "cost"):
        monkeypatch.setattr(import_module(f"harness.report.plots.{name}"), "save", keep)
    return figures


def test_what_is_drawn_is_what_the_table_says(benchmark: pd.DataFrame, drawn: list[Figure], tmp_path: Path) -> None:
    main = benchmark[benchmark["is_main"]]
    overview_plot(benchmark, MODELS, tmp_path / "overview")
    segments = {
        tuple(round(float(x), 6) for x in segment[:, 0])
        for container in drawn[0].axes[0].containers
        for lines in container[2]
        for segment in lines.get_segments()
    }
    assert segments == {(round(row.low, 6), round(row.high, 6)) for row in main.itertuples()}
    assert {(round(row.score, 6),) for row in main.itertuples()} <= marks(drawn[0])
    jigsaw = main[main["task"] == "jigsaw"]
    task_plot(jigsaw, (), MODELS, tmp_path / "jigsaw")
    widths = [round(float(bar.get_width()), 6) for bar in drawn[1].axes[0].patches]
    assert widths == sorted(jigsaw["score"], reverse=True)
    found = Latencies((), (Latency("tfidf", 0.25, 0.5, 9), Latency("gpt-4", 0.4, 1.5, 9)))
    latency_plot(benchmark, found, MODELS, tmp_path / "latency")
    assert {(0.25, 0.5), (0.4, 1.5)} <= marks(drawn[2])
    base = main[main["model"] == "tfidf"]
    won = Comparison(0.1, 0.0, 0.2, 0.5, 1000, "better", None)
    pair = ModelPair("mistral-7b-lora", "tfidf", dict.fromkeys(("e2e_nlg", "jigsaw"), won))
    adapter_plot(main, Lift(NOTHING, pair), "gpt-4", MODELS, tmp_path / "adapter")
    assert {(row.low, row.high) for row in base.itertuples()} <= marks(drawn[3])


def test_a_model_has_one_colour_in_every_plot(benchmark: pd.DataFrame, drawn: list[Figure], tmp_path: Path) -> None:
    colours = {model: colour for model, (colour, _) in looks(MODELS).items()}
    assert len(set(colours.values())) == len(MODELS)
    jigsaw = benchmark[(benchmark["task"] == "jigsaw") & benchmark["is_main"]]
    task_plot(jigsaw, (), MODELS, tmp_path / "jigsaw")
    (axes,) = drawn[0].axes
    names = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    assert [to_hex(bar.get_facecolor()).upper() for bar in axes.patches] == [colours[name].upper() for name in names]
    one = Latencies((), (Latency("tfidf", 0.25, 0.5, 9),))
    latency_plot(benchmark, one, MODELS, tmp_path / "latency")
    assert {to_hex(line.get_color()).upper() for line in drawn[1].axes[0].get_lines()} == {colours["tfidf"].upper()}


def test_an_svg_says_what_it_shows_and_takes_the_colour_of_the_text_around_it(
    jigsaw: pd.DataFrame, tmp_path: Path
) -> None:
    svg, _ = task_plot(jigsaw.replace("mistral-7b-lora", "a<b>"), (), ("a<b>", *MODELS), tmp_path / "jigsaw")
    tree = ElementTree.parse(svg).getroot()
    title, description = tree[0], tree[1]
    assert (title.tag.split("}")[1], title.text) == ("title", "jigsaw: accuracy")
    assert description.tag.endswith("}desc")
    assert description.text == "Bars are scores on accuracy, lines their 95 % intervals. Best: a<b>."
    text = svg.read_text(encoding="utf-8")
    assert "fill: currentColor" in text
    assert "stroke: currentColor" in text
    assert INK not in text


def test_recorded_answers_are_named_so(jigsaw: pd.DataFrame, tmp_path: Path) -> None:
    svg, _ = task_plot(jigsaw.replace("openai", "recorded"), (), MODELS, tmp_path / "recorded")
    assert "gpt-4 (recorded)" in words(svg)
    assert "tfidf (recorded)" not in words(svg)

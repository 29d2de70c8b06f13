"""The page of a run: what it shows, that it is whole, and that nothing in a name or a figure can break or leave it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from autovoice.tools.lab.page import command as page
from autovoice.tools.lab.page import contents, readings, svg
from autovoice.tools.lab.results import Bar, Histogram, Result, ResultError, Run, Series
from lab_results import MACHINE, SETTINGS, cost, latency, live, scaling, times

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Tree(HTMLParser):
    """Elements with their attributes and texts; refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    def all_text(self, *within: str) -> str:
        return " ".join(text for where, text in self.texts if set(within) <= set(where) and "style" not in where)


@pytest.fixture(scope="module")
def everything() -> str:
    """A page with one result of every kind."""
    return page.render([live(), cost(), scaling(), latency()])


@pytest.fixture(scope="module")
def tree(everything: str) -> Tree:
    return Tree(everything)


def figures(html: str) -> dict[str, ElementTree.Element]:
    """Return every figure's drawing by its title; that each is well-formed XML is part of the reading."""
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg id=.*?</svg>", html, re.DOTALL)]
    return {str(one.findtext("title")): one for one in found}


def marks(drawing: ElementTree.Element) -> list[str]:
    """Return the texts of a drawing's marks."""
    return [str(one.findtext("title")) for one in drawing.iter() if "mark" in one.get("class", "").split()]


def test_every_id_is_unique_and_every_reference_has_its_target(tree: Tree) -> None:
    ids = [str(attributes["id"]) for _, attributes in tree.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 20
    named = [str(a[key]).split() for _, a in tree.elements for key in ("aria-labelledby", "aria-describedby") if key in a]
    links = [str(a["href"]).removeprefix("#") for a in tree.of("a")]
    assert {one for group in named for one in group} | set(links) <= set(ids)


def test_the_page_needs_nothing_from_outside(everything: str, tree: Tree) -> None:
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<img|<iframe|srcset", everything)
    assert not any("src" in attributes for _, attributes in tree.elements)
    policy = next(str(a["content"]) for a in tree.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_policy_lets_exactly_this_script_run(everything: str) -> None:
    import base64
    import hashlib

    script = re.search(r"<script>(.*)</script>", everything, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in everything.replace("&#39;", "'")


def test_headings_descend_one_by_one(tree: Tree) -> None:
    levels = [int(tag[1]) for tag, _ in tree.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_every_figure_has_a_title_a_description_and_one_stop_of_the_keyboard(everything: str, tree: Tree) -> None:
    drawn = [attributes for attributes in tree.of("svg") if "id" in attributes]
    assert len(drawn) == len(tree.of("figure")) == len(tree.of("figcaption")) > 8
    for drawing in figures(everything).values():
        assert drawing.findtext("title") and drawing.findtext("desc")
        assert drawing.get("role") == "img" and drawing.get("tabindex") == "0"
        assert all(text not in ("", "None") for text in marks(drawing))


def test_every_table_has_a_caption_and_scoped_headings_in_a_region_the_keyboard_reaches(tree: Tree) -> None:
    assert len(tree.of("table")) == len(tree.of("caption"))
    assert all(attributes.get("scope") in ("row", "col") for attributes in tree.of("th"))
    regions = [a for a in tree.of("div") if a.get("class") == "scroll"]
    assert len(regions) == len(tree.of("table"))
    assert all(a["tabindex"] == "0" and a["aria-labelledby"] for a in regions)


def test_a_name_of_markup_stays_text_everywhere() -> None:
    nasty = '<script>alert("1")</script>&\'"'
    result = live(nasty)
    worst = {**result.series[0].runs[0].worst[0], "cause": nasty, "what": nasty, "stages_us": {nasty: 200.0}}
    runs = [dataclasses.replace(run, worst=[worst]) for run in result.series[0].runs]
    series = [dataclasses.replace(result.series[0], runs=runs, at={nasty: nasty}), *result.series[1:]]
    bars = [Bar(nasty, 1.0, 2.0, nasty, remark=nasty)]
    result = dataclasses.replace(
        result, series=series, bars=bars, notes=[nasty], title=nasty, scenario=nasty, settings={nasty: nasty, **SETTINGS}
    )
    html = page.render([result, live()])
    assert html.count("<script>") == 1
    assert Tree(html).all_text().count("alert") > 10
    figures(html)  # still well-formed


def test_an_attribute_cannot_end_before_its_quote() -> None:
    assert svg.element("text", "<b>", css='"><i>') == '<text class="&#34;&gt;&lt;i&gt;">&lt;b&gt;</text>'


def test_bars_say_met_missed_and_not_held_with_its_remark(tree: Tree) -> None:
    text = " ".join(tree.all_text("table").split())
    assert "p99.99 of the callback met 120 µs at most 333 µs" in text
    assert "deadline misses missed 3 at most 0" in text
    assert "under SCHED_FIFO not held 9 µs at most 1 µs the host grants none" in text


def test_machine_kernel_commit_and_settings_are_named(tree: Tree) -> None:
    text = tree.all_text("section")
    assert "a processor, 2 cores, Linux 6.1.0, PREEMPT_RT, commit abc1234" in text
    assert "gate, shift" in tree.all_text("dl") and "48000" in tree.all_text("dl")


def test_published_figures_are_marked_as_published(everything: str, tree: Tree) -> None:
    assert "published: its issue 848" in tree.all_text("table")
    drawing = figures(everything)["Latency, beside the others"]
    assert any(text.startswith("w-okada (published): 500 ms, published") for text in marks(drawing))
    assert any(text.startswith("Seed-VC (formula): 430 ms, formula") for text in marks(drawing))
    shapes = [one.get("class") for one in drawing.iter() if "bar" in one.get("class", "").split()]
    assert sorted(str(one).split()[-1] for one in shapes) == ["formula", "peer", "published", "subject"]


def test_the_percentile_curve_gives_the_percentiles_of_what_was_counted(everything: str) -> None:
    both = np.concatenate([times(1), times(2)])
    told = marks(figures(everything)["How often longer: percentiles of callback and wake times"])
    for percent, mark in ((50, "50 %"), (90, "90 %"), (99, "99 %"), (99.9, "99.9 %")):
        text = next(one for one in told if one.startswith(f"demo chain, hog gil: {mark} within"))
        value = float(text.split()[-2].replace(",", ""))
        assert value == pytest.approx(np.percentile(both, percent), rel=0.05)
    assert any(one.startswith("demo chain, hog gil: the longest of 40,000") for one in told)


def test_a_percentile_curve_ends_at_the_exact_maximum_of_all_that_was_counted() -> None:
    run = Run({"callback_max_us": 39.5}, {"callback": Histogram("us", [10.0, 20.0, 30.0], [20.0, 30.0, 40.0], [5, 3, 2])})
    points = readings.curve(Series("a", "subject", [run]), "callback")
    assert points == [(2.0, 15.0), (2.0, 25.0), (5.0, 35.0), (10.0, 39.5)]  # half to 15, eight in ten to 25, one of ten 39.5


def test_subject_peer_control_and_baseline_share_one_figure(everything: str) -> None:
    told = " ".join(marks(figures(everything)["How often longer: percentiles of callback and wake times"]))
    assert all(name in told for name in ("demo chain", "pedalboard", "Python callback", "host timer"))


def test_a_histogram_counts_every_callback_once_and_shows_period_and_budget(everything: str) -> None:
    drawing = figures(everything)["How long: callback and wake times"]
    counts = [
        int(found[1].replace(",", ""))
        for text in marks(drawing)
        if (found := re.match(r"demo chain.*: ([\d,]+) between", text))
    ]
    assert sum(counts) == 40_000
    texts = [one.text for one in drawing.iter() if one.tag == "text"]
    assert {"period 1,333 µs", "budget 333 µs"} <= set(texts)


def test_a_histogram_of_wide_buckets_draws_them_as_wide_as_they_are() -> None:
    wide = Histogram("us", [0.0, 20.0, 60.0], [20.0, 40.0, 80.0], [3, 5, 7])
    result = Result("x", "x", {}, [Series("a", "subject", [Run({}, {"answer": wide})])], machine=MACHINE)
    told = marks(figures(page.render([result]))["How long: answer times"])
    assert told == ["a: 3 between 10 and 20 µs", "a: 5 between 20 and 40 µs", "a: 7 between 60 and 80 µs"]


def test_the_worst_blocks_say_when_how_long_and_what_ran(everything: str, tree: Tree) -> None:
    told = marks(figures(everything)["When: the 4 worst blocks, demo chain, hog gil"])
    assert told[0] == "run 1, 1.25 s: 260 µs, stage shift; shift 240 µs; gate 1.5 µs"
    assert "run 2, 2 s: 120 µs, cause not told" in told
    ran = marks(figures(everything)["What ran in the worst blocks of demo chain, hog gil"])
    assert "run 2, 1.25 s, stage shift, engine: 18.5 µs" in ran
    assert "stage 'shift' took 240.0 us, usually 3.0 us" in tree.all_text("table")


def test_blocks_that_were_called_late_are_told_from_those_that_took_long() -> None:
    worst = [{"cycle": 750, "period_us": 4000 / 3, "spent_us": 5.4, "late_us": 2940.0}, {"time_s": 2.0, "spent_us": 90.0}]
    result = Result("gil", "x", SETTINGS, [Series("a", "subject", [Run({}, worst=worst)])], machine=MACHINE)
    told = marks(figures(page.render([result]))["When: the 2 worst blocks, a"])
    assert told == ["1 s: 5.4 µs, called 2,940 µs late, cause not told", "2 s: 90 µs, cause not told"]


def test_budget_bars_add_up_to_the_period() -> None:
    result = live()
    parts = readings.callback_parts(result, result.series[0])
    assert [part.name for part in parts] == ["gate", "shift", "engine", "idle"]
    assert sum(part.value for part in parts) == pytest.approx(64 / 48_000 * 1e6)
    assert parts[2].value == pytest.approx(readings.median(result.series[0], "callback_p50_us") - 8.0)


def test_a_chain_whose_stages_were_measured_by_themselves_has_a_budget_too() -> None:
    result = cost()
    chain = next(one for one in result.series if one.name == "demo chain" and one.at["block"] == 64)
    assert [(part.name, part.value) for part in readings.callback_parts(result, chain)][:2] == [("gate", 4.0), ("shift", 8.0)]


def test_latency_is_told_apart_by_stage_as_declared_and_as_a_whole_as_measured(everything: str) -> None:
    told = marks(figures(everything)["Where each millisecond of the latency goes"])
    assert "demo, declared, look-ahead of shift: 9 ms" in told
    assert "demo, declared, look-ahead of limiter: 1 ms" in told
    assert "demo, measured, look-ahead: 10 ms" in told
    assert sum("look-ahead:" in text for text in told) == 1  # the declared whole is not drawn beside its parts
    assert readings.total_ms(latency(), latency().series[0]) == (pytest.approx(544.02 / 48), "measured")


def test_how_well_a_measurement_repeats_is_drawn_and_said() -> None:
    runs = [Run({"total_frames": 544.0 + 0.05 * (-1) ** k, "snr_db": 60.0}) for k in range(31)]
    result = Result("latency", "round trip", {}, [Series("demo", "subject", runs, {"block": 64})], machine=MACHINE)
    html = page.render([result])
    assert "How well it repeats: total of each run" in figures(html)
    assert "demo, block 64: within 0.1 frames" in Tree(html).all_text("ul")


def test_many_lines_over_block_sizes_become_a_table_shaded_by_cost() -> None:
    section = contents.section(cost(), "r1", 4)
    table = next(one for one in section.tables if one.caption.startswith("own mean"))
    assert table.head == ["", "16", "64", "256", "1,024"]
    gate = next(row for row in table.rows if row[0].text == "gate")
    assert [cell.text for cell in gate[1:]] == ["1", "4", "16", "64"]
    shades = [cell.heat for cell in gate[1:]]
    assert shades[0] == 0 and shades == sorted(shades, key=lambda one: one or 0)


def test_the_knee_is_the_scenarios_own_or_found_where_one_costs_a_quarter_more(everything: str) -> None:
    assert "knee 16" in ElementTree.tostring(figures(everything)["Over instances: each p50"], "unicode")
    found = figures(page.render([scaling(knee=False)]))["Over instances: each p50"]
    assert "knee 32" in ElementTree.tostring(found, "unicode")


def test_a_sweep_is_drawn_setting_by_setting_where_it_comes_nearest_to_its_period() -> None:
    section = contents.section(cost(), "r1", 2)
    assert len(section.one_by_one) == 2 and section.left_out.startswith("2 more")
    assert section.one_by_one[0][0] == "block 16"


def test_the_timeline_keeps_its_peaks_when_it_is_thinned() -> None:
    from autovoice.tools.lab.page import drawings

    values = [1.0] * 5000
    values[3217] = 900.0
    ((name, points),) = drawings.timeline({"time_s": [k / 10 for k in range(5000)], "max_us": values})
    assert name == "max_us" and len(points) <= drawings.MOST_TIMES
    assert (321.7, 900.0) in points


def test_a_page_that_would_be_too_heavy_draws_fewer_settings_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = page.write_page([cost()], tmp_path / "whole.html").stat().st_size
    monkeypatch.setattr(page, "MOST_BYTES", round(0.8 * whole))
    path = page.write_page([cost()], tmp_path / "deep" / "light.html")
    assert path.stat().st_size < page.MOST_BYTES
    assert "2 more stand in the tables" in path.read_text()
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setattr(page, "MOST_BYTES", 10_000)
    with pytest.raises(ResultError, match="give fewer results"):
        page.write_page([cost()], tmp_path / "never.html")


@pytest.mark.parametrize("metrics", [{}, {"callback_p50_us": 0.0, "callback_p99_us": 0.0}, {"latency_ms": -0.001}])
def test_a_result_with_next_to_nothing_in_it_makes_a_page(metrics: dict[str, float]) -> None:
    empty = Histogram("us", [], [], [])
    series = [
        Series("a", "subject", [Run(metrics, {"callback": empty})]),
        Series("b", "peer", [Run(metrics)]),
        Series("c", "peer", []),
    ]
    text = page.render([Result("x", "", {}, series, machine={})])
    Tree(text)
    body = text.partition("<body")[2].partition("<script")[0].lower()
    assert "<h2" in body and ">nan" not in body and ">inf" not in body


def test_numbers_are_written_with_three_digits() -> None:
    assert [svg.number(x) for x in (0, 1333.33, 12.04, 0.00216, 5.0, -0.5, float("nan"))] == [
        "0",
        "1,333",
        "12",
        "0.00216",
        "5",
        "-0.5",
        "-",
    ]


@pytest.mark.parametrize("ends", [(0.4, 700.0), (10.9, 12.1), (3.0, 9.0), (1e-3, 1e7)])
def test_a_logarithmic_axis_has_two_to_eight_round_ticks(ends: tuple[float, float]) -> None:
    ticks = svg.Scale(*ends, 0, 100).ticks()
    assert 2 <= len(ticks) <= 8
    assert all(ends[0] * 0.99 <= tick <= ends[1] * 1.01 for tick in ticks)


def test_the_command_writes_a_page_beside_the_results_and_pictures_on_request(cli: Any, tmp_path: Path) -> None:
    live().write(tmp_path / "gil.json")
    done = cli("bench", "page", tmp_path, "--images", tmp_path / "images")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == str(tmp_path / "index.html")
    for name in ("latency.png", "callbacks.png", "budget.png"):
        assert (tmp_path / "images" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (None, "does not exist"),
        ({}, "holds no results"),
        ({"a.json": "{"}, "cannot be read"),
        ({"a.json": "{}"}, "schema None"),
    ],
)
def test_a_folder_without_results_is_refused_in_one_line(
    cli: Any, tmp_path: Path, given: dict[str, str] | None, part: str
) -> None:
    folder = tmp_path / "results"
    if given is not None:
        folder.mkdir()
        for name, text in given.items():
            (folder / name).write_text(text)
    assert part in cli("bench", "page", folder).refused()

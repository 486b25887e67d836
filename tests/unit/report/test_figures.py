"""The plots of the report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import reports

from llm2llm.report.figures import draw_figures


def test_a_run_has_a_plot_for_each_question_and_each_has_its_numbers():
    drawn = {figure.name: figure for figure in draw_figures(reports.contents(rows=40))}

    assert list(drawn) == ["score", "mistakes", "rows", "answers", "tokens", "loss", "time"]
    for figure in drawn.values():
        assert figure.svg.startswith("<svg ")
        assert "iteration" in figure.svg or "optimizer step" in figure.svg
        assert "style=" not in figure.svg
        assert "#a1a1a1" not in figure.svg
    assert "var(--s1)" in drawn["score"].svg
    assert "from the teacher" in drawn["rows"].svg
    assert "kept" in drawn["answers"].svg


def test_the_goal_is_drawn_where_there_is_one():
    contents = reports.contents(spec=reports.spec(objective={"goal": "0.9"}))
    assert "goal 0.9" in draw_figures(contents)[0].svg
    assert "goal" not in draw_figures(reports.contents())[0].svg


def test_a_reason_is_not_interpreted():
    drawn = {figure.name: figure.svg for figure in draw_figures(reports.contents("$\\frac{1}{<b>}$ & 世"))}
    assert "$\\frac{1}{&lt;b&gt;}$ &amp; 世" in drawn["answers"]


@pytest.mark.parametrize("text", ["\x00\x1b[31m", "\ud800", "\u202e", "y" * 100_000, ""])
def test_a_reason_that_no_file_can_hold_is_drawn_without_what_is_wrong_with_it(text: str):
    assert max(len(figure.svg) for figure in draw_figures(reports.contents(text))) < 20_000


def test_equal_runs_have_equal_plots():
    assert draw_figures(reports.contents()) == draw_figures(reports.contents())


def test_what_a_run_has_no_data_for_is_not_drawn():
    contents = reports.contents()
    bare = [
        replace(each, generate=None, losses=(), train=each.train.model_copy(update={"seconds": {}}))
        for each in contents.iterations
    ]
    assert [figure.name for figure in draw_figures(replace(contents, iterations=bare))] == ["score", "mistakes", "rows"]
    assert draw_figures(replace(contents, iterations=contents.iterations[:1])) == []

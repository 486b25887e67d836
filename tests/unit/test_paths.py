"""Names from outside: those that are paths below a folder, and those that would lead out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm2llm.paths import is_relative_path, join, relative_path


@pytest.mark.parametrize(
    "name",
    ["a", "a/b/c.json", "..a", "a..", "...", "a b", "-rf", "ä/é", "C:\\x", "a#b?c", ".hidden", "a/.b", "~", "~root/x"],
)
def test_a_name_below_a_folder_stays_as_it_is(name: str, tmp_path: Path):
    assert relative_path(name) == name
    assert is_relative_path(name)
    assert join(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a/..", "a/./b", "a//b", "a/", "//x", "./a",
        "a\nb", "a\0", "\x1b[2J", "a\x7f", "a\x85b", "\ud800",
    ],
)  # fmt: skip
def test_fault_55_a_name_that_leads_elsewhere_is_none(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match="is not a name of a file here"):
        relative_path(name)
    assert not is_relative_path(name)
    with pytest.raises(ValueError, match="is not a name"):
        join(tmp_path, name)


def test_fault_55_a_link_may_lead_anywhere_within_the_folder_and_not_out_of_it(tmp_path: Path):
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "data").mkdir()
    (folder / "inner").symlink_to("data")
    (folder / "outer").symlink_to(outside)
    (folder / "file").symlink_to(outside / "not yet there")
    assert join(folder, "inner/x") == folder / "inner/x"
    for name in ("outer", "outer/x", "file"):
        with pytest.raises(ValueError, match=r"leads out of .*folder through a symbolic link, to .*outside"):
            join(folder, name)
    assert join(folder, "outer/x", within=tmp_path) == folder / "outer/x"


def test_the_folder_itself_may_be_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    assert join(tmp_path / "folder", "x") == tmp_path / "folder" / "x"


def test_a_circle_of_links_is_an_error_and_no_crash(tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match=r"cannot be resolved|leads out"):
        join(tmp_path, "a")

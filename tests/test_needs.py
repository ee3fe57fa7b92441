"""Tests that lack a program are skipped with advice, and fail in CI."""

import pytest

import needs


def lookups():
    return [
        lambda: needs.program("no-such-program", install="apt-get install it"),
        lambda: needs.module("no_such_module.at_all", install="apt-get install it"),
    ]


@pytest.mark.parametrize("look", lookups())
def test_what_is_missing_is_skipped_and_says_what_to_install(look, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no.such.\w+ is missing: apt-get install it"):
        look()


@pytest.mark.parametrize("look", lookups())
def test_in_ci_it_fails(look, monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no.such.\w+ is missing: apt-get install it"):
        look()


def test_what_is_there_is_found(monkeypatch, tmp_path):
    program = tmp_path / "only-here"
    program.touch(0o755)
    given = {"folders": (tmp_path,), "install": ""}
    assert needs.program("no-such-program", "only-here", **given) == str(program)
    assert needs.module("json", install="").dumps(1) == "1"

"""Pages are what the saved samples say, with and without some of them."""

import re
import shutil

import pytest
from benchmarks.studies.catalogue import STUDIES

from benchmarks import __main__ as command
from benchmarks import headline, pages, precision, small, step


@pytest.fixture(scope="module")
def saved():
    return pages.saved(command.all_modules(), command.RESULTS)


def test_pages_are_up_to_date(saved):
    hint = "run python -m benchmarks --pages"
    assert pages.PAGE.read_text(encoding="utf-8") == pages.page(command.all_modules(), saved), hint
    assert pages.README.read_text(encoding="utf-8") == pages.readme(saved), hint


def test_tables_on_other_pages_are_up_to_date(saved):
    studies = pages.saved(STUDIES, command.RESULTS / "studies")
    written = pages.with_blocks({**saved, **studies})
    assert written
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, "run python -m benchmarks --pages"


def test_every_benchmark_has_a_section():
    assert set(pages.SECTIONS) == set(command.ALL)


def test_a_benchmark_without_samples_is_named_and_left_out(saved):
    only = {"startup": saved["startup"]}
    page = pages.page(command.all_modules(), only)
    assert "## From start to first step" in page
    assert "## One optimizer step" not in page
    assert "Not measured yet: `python -m benchmarks step`" in page
    assert "| [From start to first step](#from-start-to-first-step) |" in page


def cells(row):
    return re.split(r"\s*\|\s*", row)[1:-1]


def test_the_readme_names_the_fastest_peer_of_each_row():
    times = {"adamantine.Adam()": 2000, "torch.optim.Adam()": 9000, "fused": 3000}
    case = {"case": step.LARGE.name, "optimizer": "Adam"}
    nanoseconds = {name: [ns] * 9 for name, ns in times.items()}
    case["nanoseconds"] = nanoseconds
    network = {"case": "network", "nanoseconds": {"adamantine.Adam()": [5], "slow": [10]}}
    records = {"step": {"cases": [{**case, "case": "the first"}, case]}}
    rows = headline.table(records).splitlines()[2:]
    assert [cells(row)[0] for row in rows] == ["Adam, the first", f"Adam, {step.LARGE.name}"]
    assert cells(rows[1])[1:] == ["2 µs", "3 µs, `fused`", "**1.5 ×** (1.5 – 1.5)"]
    rows = headline.table({**records, "small": {"cases": [network]}}).splitlines()[2:]
    assert cells(rows[0]) == ["Adam, network", "5 ns", "10 ns, `slow`", "**2 ×**"]
    assert len(rows) == 2


def test_only_states_of_one_byte_are_peers_of_ours(saved):
    found = {**saved["precision"], "around": [], "trainings": saved["precision"]["trainings"]}
    rows = list(headline.rows({"precision": found}))
    light = [row for row in rows if "8-bit states, 300" in row[0]]
    assert [row[2].partition(", ")[2] for row in light] == [f"`{precision.BITSANDBYTES.label}`"]


def test_the_readme_has_at_most_ten_rows(saved):
    rows = list(headline.rows(saved))
    assert len(rows) <= 10
    network = {"case": small.CASES[0].name, "nanoseconds": {"adamantine.Adam()": [5], "x": [10]}}
    assert len(list(headline.rows({**saved, "small": {"cases": [network]}}))) == len(rows)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Both pages in a folder of their own, written from the samples of one benchmark."""
    shutil.copy(command.RESULTS / "sparse.json", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "README", tmp_path / "README.md")
    monkeypatch.setattr(pages, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr("sys.argv", ["", "--pages"])


def test_a_readme_without_a_place_for_the_table_is_left_alone(elsewhere, capsys):
    pages.README.write_text("mine")
    assert command.main() == 1
    assert "no table to write; expected it between" in capsys.readouterr().err
    assert pages.README.read_text() == "mine"
    assert not pages.PAGE.exists()


def test_the_command_writes_what_differs_and_says_so(elsewhere, capsys):
    pages.README.write_text(f"before\n{pages.BEGIN}old{pages.END}\nafter\n")
    assert command.main() == 0
    assert capsys.readouterr().out == "Written: page.md\nWritten: README.md\n"
    written = pages.README.read_text()
    assert written.startswith(f"before\n{pages.BEGIN}\n\n|")
    assert re.search(rf"\|\n\nMeasured on .*\.\n\n{pages.END}\nafter\n$", written)
    assert command.main() == 0
    assert capsys.readouterr().out == ""

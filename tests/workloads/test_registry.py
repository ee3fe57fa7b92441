import subprocess
import sys
from pathlib import Path

import pytest

from adamantine.errors import DataError, UsageError
from adamantine.workloads import load, names


def test_every_workload_is_listed_with_its_data() -> None:
    listings = names()
    assert [listing.name for listing in listings] == ["mnist", "mnist-cnn", "digits"]
    assert all(listing.description and listing.data for listing in listings)
    assert load("digits").description == listings[-1].description


def test_listing_loads_nothing_heavy() -> None:
    program = (
        "import sys; before = set(sys.modules); import torch; torch_s = set(sys.modules)\n"
        "from adamantine.workloads import names; assert names()\n"
        "heavy = {'sklearn', 'pooch', 'requests', 'rich', 'platformdirs', 'matplotlib', 'numba'}\n"
        "print(sorted(heavy & (set(sys.modules) - torch_s)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("minst", "did you mean 'mnist'?"),
        ("mnist_cnn", "did you mean 'mnist-cnn'?"),
        ("digit", "did you mean 'digits'?"),
    ],
)
def test_an_unknown_name_brings_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(name)
    assert f"there is no workload {name!r}; {hint}" in str(caught.value)
    assert "mnist, mnist-cnn, digits, or your own as module:attribute" in str(caught.value)


def test_a_name_like_no_other_brings_the_list() -> None:
    with pytest.raises(UsageError, match="no workload 'zzz'; there are mnist, mnist-cnn, digits"):
        load("zzz")


def test_a_data_dir_may_be_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data-dir .*nowhere: there is no such folder"):
        load("mnist", data_dir=str(tmp_path / "nowhere"))


def test_a_data_dir_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="digits reads no data folder; leave out --data-dir"):
        load("digits", tmp_path)

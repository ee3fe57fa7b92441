import subprocess
import sys
from pathlib import Path

import pytest

from adamantine.errors import DataError, UsageError
from adamantine.workloads import Listing, load, names

NAMES = [
    "mnist",
    "mnist-cnn",
    "mnist-logistic",
    "mnist-mlp",
    "mnist-dropout",
    "mnist-finetune",
    "digits",
    "chars-rnn",
    "chars-transformer",
    "words-embedding",
    "words-dense",
    "quadratic",
]


def test_every_workload_is_listed_with_its_data() -> None:
    listings = names()
    assert [listing.name for listing in listings] == NAMES
    assert all(all(listing) for listing in listings)


def count(text: str) -> int:
    """``"18,750 × 64 characters"`` as the number of examples."""
    return int(text.split()[0].replace(",", ""))


@pytest.mark.parametrize("listing", names(), ids=lambda listing: listing.name)
def test_what_is_listed_is_so(listing: Listing, request: pytest.FixtureRequest) -> None:
    is_mnist = listing.name.startswith("mnist")
    folder = request.getfixturevalue("mnist_folder") if is_mnist else None
    workload = load(listing.name, folder)
    assert (workload.name, workload.description) == (listing.name, listing.description)
    parameters, examples = listing.size.split(" parameters, ")
    assert count(parameters) == sum(p.numel() for p in workload.model().parameters())
    assert count(examples) == len(workload.train[0])
    assert listing.metric.startswith(workload.metric.name)
    direction = {"max": "higher is better", "min": "lower is better"}[workload.metric.direction]
    assert listing.metric.endswith(f", {direction}")


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
    assert f"there are {', '.join(NAMES)}, or your own as module:attribute" in str(caught.value)


def test_a_name_like_no_other_brings_the_list() -> None:
    with pytest.raises(UsageError, match="no workload 'zzz'; there are mnist, mnist-cnn, mnist-l"):
        load("zzz")


def test_a_data_dir_may_be_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data-dir .*nowhere: there is no such folder"):
        load("mnist", data_dir=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", NAMES[6:])
def test_a_data_dir_that_would_be_ignored_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} reads no data folder; leave out --data-dir"):
        load(name, tmp_path)

"""The workloads that read Python's own sources."""

import itertools
import math
import os
import random
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamantine.errors import WorkloadError
from adamantine.workloads import load
from adamantine.workloads.text import chars, sources, words
from adamantine.workloads.text.transformer import Transformer

PARTS = ("train", "validation", "test")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of Python's own library."""
    folder = tmp_path / "lib" / "python"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(folder)})
    return folder


def archive_beside(library: Path) -> Path:
    return library.parent / f"python{sys.version_info.major}{sys.version_info.minor}.zip"


def test_files_are_split_by_their_place_among_the_names(library: Path) -> None:
    names = sorted(sys.stdlib_module_names)[:30]
    for name in names:
        (library / f"{name}.py").write_bytes(f"<{name}>".encode())
    # What is not Python's own, no module or no source shifts nothing.
    for other in ("aaa_of_a_distribution.py", f"{names[0]}.pyc", "abc.txt"):
        (library / other).write_bytes(b"other")
    expected = {
        "train": [name for index, name in enumerate(names) if index % 10 not in (8, 9)],
        "validation": [names[8], names[18], names[28]],
        "test": [names[9], names[19], names[29]],
    }
    found = sources.texts()
    for part in PARTS:
        assert re.findall("<(.*?)>", getattr(found, part).decode()) == expected[part]


def test_no_file_is_in_two_parts_and_none_is_left_out() -> None:
    """On this machine's library: long pieces of every file lie in the part of that file only."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [p for p in sorted(folder.glob("*.py")) if p.stem in sys.stdlib_module_names]
    found = sources.texts()
    assert sum(map(len, found)) == sum(path.stat().st_size for path in files)
    for index, path in enumerate(files):
        home = {8: "validation", 9: "test"}.get(index % 10, "train")
        content = path.read_bytes()
        if len(content) > 500:
            assert [part for part in PARTS if content in getattr(found, part)] == [home]


def test_lines_end_alike_on_every_system(library: Path) -> None:
    (library / "abc.py").write_bytes(b"one\r\ntwo\n")
    assert sources.read_library() == [b"one\ntwo\n"]


def test_an_archive_is_read_where_the_library_lies_in_one(library: Path) -> None:
    whole = sources.texts()
    assert whole == sources.Texts(b"", b"", b"")
    with zipfile.ZipFile(archive_beside(library), "w") as archive:
        archive.writestr("abc.py", "from the archive")
        archive.writestr("os.py", "from the archive")
        archive.writestr("json/__init__.py", "a package")
    (library / "os.py").write_bytes(b"from the folder")
    assert sources.read_library() == [b"from the archive", b"from the folder"]
    library.joinpath("os.py").unlink()
    library.rmdir()
    assert sources.read_library() == [b"from the archive", b"from the archive"]


@pytest.mark.parametrize("name", ["chars-rnn", "chars-transformer", "words-embedding"])
def test_a_library_without_sources_is_told(library: Path, name: str) -> None:
    (library / "abc.py").write_bytes(b"import sys\n" * 5)
    with pytest.raises(WorkloadError) as caught:
        load(name)
    message = str(caught.value)
    few, many = (6, 300_000) if name == "words-embedding" else (0, 18_750)
    assert f"standard library in {library} and {archive_beside(library)} gives {few} " in message
    assert f"for one part of three, expected at least {many:,}: " in message
    assert "install Python with its .py files" in message


def test_a_library_that_cannot_be_read_is_told(library: Path) -> None:
    archive_beside(library).write_bytes(b"no archive")
    with pytest.raises(WorkloadError, match=r"cannot be read: .*check the installation"):
        load("chars-rnn")


@given(there=st.integers(1, 3_000), count=st.integers(1, 3_000))
def test_places_are_spread_evenly(there: int, count: int) -> None:
    """Each is the first one of its share of the text."""
    if count > there:
        with pytest.raises(WorkloadError, match=f"gives {there:,} stars, expected .* {count:,}: "):
            sources.spread(there, count, "stars")
        return
    places = sources.spread(there, count, "stars")
    assert len(places) == count
    for index, place in enumerate(places):
        assert place == math.floor(Fraction(index * there, count))
    gaps = {after - before for before, after in itertools.pairwise([*places, there])}
    assert gaps <= {there // count, -(-there // count)}


def test_characters_are_those_of_the_text_and_targets_one_on() -> None:
    symbols = [*(chr(byte) for byte in chars.KNOWN), "?"]
    assert len(symbols) == chars.SYMBOLS == 97
    workload, found = load("chars-rnn"), sources.texts()
    for part, count in zip(PARTS, (18_750, 2_000, 2_000), strict=True):
        inputs, targets = getattr(workload, part)
        assert inputs.shape == targets.shape == (count, 64)
        plain = re.sub(rb"[^\n -~]", b"?", getattr(found, part)).decode()
        windows = range(0, len(plain) - 64, 64)
        begins = [windows[index * len(windows) // count] for index in range(count)]
        for one, targeted, begin in zip(inputs.tolist(), targets.tolist(), begins, strict=True):
            assert "".join(symbols[i] for i in one) == plain[begin : begin + 64]
            assert "".join(symbols[i] for i in targeted) == plain[begin + 1 : begin + 65]


@pytest.mark.parametrize("length", [64 * 3 + 1, 64 * 4, 64 * 4 + 1])
def test_the_last_window_has_all_of_its_targets(length: int) -> None:
    text = bytes(random.Random(length).choices(chars.KNOWN, k=length))
    count = 3 if length <= 64 * 4 else 4
    inputs, targets = chars.windows(text, count)
    assert bytes(chars.KNOWN[i] for i in inputs.flatten()) == text[: count * 64]
    assert bytes(chars.KNOWN[i] for i in targets.flatten()) == text[1 : count * 64 + 1]
    with pytest.raises(WorkloadError, match=rf"gives {count} windows of 64"):
        chars.windows(text, count + 1)


def test_both_character_workloads_have_the_same_data() -> None:
    one, other = load("chars-rnn"), load("chars-transformer")
    for part in PARTS:
        for ours, theirs in zip(getattr(one, part), getattr(other, part), strict=True):
            assert ours.equal(theirs)


def test_words_are_numbered_by_how_often_the_training_text_has_them() -> None:
    assert words.numbers([b"b", b"a", b"c", b"c", b"b", b"c"]) == {b"c": 1, b"b": 2, b"a": 3}
    workload, found = load("words-embedding"), sources.texts()
    texts = [re.findall(r"[A-Za-z_]\w*", text.decode("latin1"), re.ASCII) for text in found]
    numbers = {
        word: number
        for number, (word, _) in enumerate(
            sorted(Counter(texts[0]).items(), key=lambda item: (-item[1], item[0]))[:1_023], 1
        )
    }
    for part, text, count in zip(PARTS, texts, (300_000, 20_000, 20_000), strict=True):
        inputs, targets = getattr(workload, part)
        ids = [numbers.get(word, 0) for word in text]
        places = [4 + index * (len(ids) - 4) // count for index in range(count)]
        assert targets.tolist() == [ids[place] for place in places]
        assert inputs.tolist() == [ids[place - 4 : place] for place in places]


def test_words_have_sparse_gradients_of_the_rows_read() -> None:
    workload = load("words-embedding")
    model, (inputs, targets) = workload.model(), workload.train
    workload.loss(model(inputs[:64]), targets[:64]).backward()
    gradients = {name: param.grad for name, param in model.named_parameters()}
    assert [name for name, grad in gradients.items() if grad.is_sparse] == ["table.weight"]
    rows = gradients["table.weight"].coalesce().indices()[0]
    assert rows.equal(inputs[:64].unique())


def test_dense_words_are_the_same_task_with_the_gradients_dense() -> None:
    sparse, dense = load("words-embedding"), load("words-dense")
    for part in PARTS:
        for a, b in zip(getattr(sparse, part), getattr(dense, part), strict=True):
            assert a.equal(b)
    gradients = []
    for workload in (sparse, dense):
        torch.manual_seed(0)
        model, (inputs, targets) = workload.model(), workload.train
        workload.loss(model(inputs[:64]), targets[:64]).backward()
        gradients.append([param.grad for param in model.parameters()])
    assert not any(grad.is_sparse for grad in gradients[1])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a.to_dense(), b)


@pytest.mark.parametrize("name", ["chars-rnn", "chars-transformer", "words-embedding"])
def test_untrained_networks_know_nothing(name: str) -> None:
    """The loss of a fresh network is about that of a uniform guess, and the metric agrees."""
    torch.manual_seed(0)
    workload = load(name)
    inputs, targets = (part[:200] for part in workload.validation)
    with torch.no_grad():
        outputs = workload.model()(inputs)
        loss, scores = (
            workload.loss(outputs, targets),
            workload.metric.per_example(outputs, targets),
        )
    assert loss == pytest.approx(math.log(outputs.shape[-1]), abs=0.1)
    assert scores.shape == (200,)
    if workload.metric.direction == "min":
        torch.testing.assert_close(scores.mean(), loss)
    else:
        hits = outputs.argmax(-1) == targets
        assert scores.mean().item() == pytest.approx(hits.sum().item() / hits.numel())


@pytest.mark.parametrize(
    "build",
    [lambda: chars.Recurrent(), lambda: Transformer(97, 64, 2, context=64, head_width=32)],
    ids=["rnn", "transformer"],
)
def test_networks_see_only_what_came_before(build) -> None:
    torch.manual_seed(0)
    model = build()
    before = torch.randint(97, (2, 64))
    after = before.clone()
    after[:, 40:] = (after[:, 40:] + 1) % 97
    with torch.no_grad():
        one, other = model(before), model(after)
    torch.testing.assert_close(one[:, :40], other[:, :40])
    assert not one[:, 40].allclose(other[:, 40])
    # And they do look back.
    before[:, 0] = (before[:, 0] + 1) % 97
    assert not model(before)[:, 1].allclose(one[:, 1])


DIGEST = """
import hashlib
from adamantine.workloads import load

def digest():
    found = hashlib.sha256()
    for name in ("chars-rnn", "words-embedding", "quadratic"):
        workload = load(name)
        for part in (workload.train, workload.validation, workload.test):
            for tensor in part:
                found.update(tensor.numpy().tobytes())
    return found.hexdigest()
"""


@pytest.mark.slow
def test_another_process_reads_the_same() -> None:
    namespace: dict[str, Any] = {}
    exec(DIGEST, namespace)
    there = subprocess.run(
        [sys.executable, "-c", f"{DIGEST}\nprint(digest())"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert there == namespace["digest"]()

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from adamantine.errors import DataError
from adamantine.workloads.mnist.files import FILES, find_mnist, look_into, verify_mnist
from workloads.fake_mnist import NAMES, FakeMnist


@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("gz", [False, True])
def test_each_layout_is_found(tmp_path: Path, fake: FakeMnist, layout: str, gz: bool) -> None:
    folder = fake.write(tmp_path / "data" / layout, gz=gz)
    found = find_mnist(tmp_path / "data", fake.files)
    assert found is not None
    assert found.paths == {name: folder / (f"{name}.gz" if gz else name) for name in NAMES}


def test_a_plain_file_goes_before_its_gz(tmp_path: Path, fake: FakeMnist) -> None:
    fake.write(tmp_path, gz=True)
    fake.write(tmp_path, names=NAMES[:1])
    found = find_mnist(tmp_path, fake.files)
    assert found is not None
    assert [found.paths[name].suffix for name in NAMES] == ["", ".gz", ".gz", ".gz"]


def test_the_fullest_layout_wins(tmp_path: Path, fake: FakeMnist) -> None:
    fake.write(tmp_path, names=NAMES[:2])
    folder = fake.write(tmp_path / "MNIST" / "raw", gz=True)
    found = find_mnist(tmp_path, fake.files)
    assert found is not None
    assert found.folder == folder


def test_data_dir_goes_before_the_variable_and_that_before_the_cache(
    tmp_path: Path, fake: FakeMnist, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, named = fake.write(tmp_path / "given"), fake.write(tmp_path / "named")

    def found_in(data_dir: Path | None = None) -> Path | None:
        found = find_mnist(data_dir, fake.files)
        return None if found is None else found.folder

    assert found_in() is None
    fake.write(cache / "mnist", gz=True)
    assert found_in() == cache / "mnist"
    monkeypatch.setenv("ADAMANTINE_DATA", str(named))
    assert found_in() == named
    assert found_in(given) == given


def test_a_data_dir_without_mnist_is_an_error_though_the_cache_has_it(
    tmp_path: Path, fake: FakeMnist, cache: Path
) -> None:
    fake.write(cache / "mnist")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"--data-dir .*empty: holds no MNIST; expected train-im"):
        find_mnist(tmp_path / "empty", fake.files)
    with pytest.raises(DataError, match=r"--data-dir .*nowhere: there is no such folder"):
        find_mnist(tmp_path / "nowhere", fake.files)


def test_an_unreadable_data_dir_is_told(
    tmp_path: Path, fake: FakeMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    with pytest.raises(DataError, match=r"cannot be read|there is no such folder"):
        find_mnist(tmp_path / ("x" * 300), fake.files)
    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(DataError, match=r"ubyte: cannot be read \(Permission denied\); give"):
        find_mnist(tmp_path, fake.files)


def test_an_incomplete_data_dir_says_what_it_lacks(tmp_path: Path, fake: FakeMnist) -> None:
    fake.write(tmp_path / "mnist", names=NAMES[:3])
    with pytest.raises(DataError) as caught:
        find_mnist(tmp_path, fake.files)
    assert f"{tmp_path / 'mnist'} lacks t10k-labels-idx1-ubyte (plain or .gz)" in str(caught.value)
    assert f"`adamantine data mnist --data-dir {tmp_path}`" in str(caught.value)


def test_the_variable_may_name_a_folder_of_other_data(
    tmp_path: Path, fake: FakeMnist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAMANTINE_DATA", str(tmp_path))
    assert find_mnist(files=fake.files) is None
    fake.write(tmp_path, names=NAMES[:1])
    with pytest.raises(DataError, match=r"\$ADAMANTINE_DATA .* lacks train-labels"):
        find_mnist(files=fake.files)
    monkeypatch.setenv("ADAMANTINE_DATA", str(tmp_path / "misspelt"))
    with pytest.raises(DataError, match=r"\$ADAMANTINE_DATA .*misspelt: there is no such folder"):
        find_mnist(files=fake.files)


def test_files_compressed_anew_verify(tmp_path: Path, fake: FakeMnist) -> None:
    fake.write(tmp_path)
    packed = tmp_path / f"{NAMES[0]}.gz"
    packed.write_bytes(gzip.compress(fake.contents[NAMES[0]], compresslevel=1, mtime=1))
    (tmp_path / NAMES[0]).unlink()
    assert packed.read_bytes() != fake.gz[NAMES[0]]
    checks = verify_mnist(tmp_path, fake.files)
    assert [(check.name, check.ok, check.problem) for check in checks] == [
        (name, True, "") for name in NAMES
    ]
    assert [check.bytes for check in checks] == [len(fake.contents[name]) for name in NAMES]
    assert checks[0].path == str(packed)
    assert json.loads(json.dumps(dataclasses.asdict(checks[0])))["ok"] is True


def test_verification_names_the_damaged_file(tmp_path: Path, fake: FakeMnist) -> None:
    fake.write(tmp_path, gz=True)
    flipped = bytearray(fake.contents[NAMES[0]])
    flipped[100] ^= 1
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(flipped))
    (tmp_path / f"{NAMES[1]}.gz").write_bytes(fake.gz[NAMES[1]][:-9])
    checks = verify_mnist(tmp_path, fake.files)
    assert [check.ok for check in checks] == [False, False, True, True]
    assert f"{NAMES[0]}.gz: is not MNIST's {NAMES[0]}: SHA-256" in checks[0].problem
    assert checks[1].problem.startswith(f"{tmp_path / NAMES[1]}.gz: the gzip stream is damaged")
    assert checks[1].bytes == 0
    for check in checks[:2]:
        assert f"delete it and run `adamantine data mnist --data-dir {tmp_path}`" in check.problem


def test_nothing_to_verify_is_an_error(cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        verify_mnist()
    assert f"no MNIST in {cache}" in str(caught.value)
    assert "`adamantine data mnist`" in str(caught.value)


def test_the_remedy_in_the_cache_names_no_folder(cache: Path, fake: FakeMnist) -> None:
    fake.write(cache / "mnist")
    assert look_into(cache, fake.files).remedy.startswith("run `adamantine data mnist` to fetch")


def test_the_published_digests_hold(mnist_folder: Path) -> None:
    checks = verify_mnist(mnist_folder)
    assert [check.name for check in checks] == [file.name for file in FILES]
    assert all(check.ok for check in checks), checks
    assert [check.bytes for check in checks] == [47_040_016, 60_008, 7_840_016, 10_008]

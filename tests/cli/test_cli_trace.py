import json
import math

import pytest

from adamantine.workloads.surfaces import SURFACES

PATH = {
    "name", "spec", "settings", "lr", "lr_given", "points", "values", "distance",
    "steps_to_target", "left_view", "final", "final_value",
}  # fmt: skip


def test_a_picture_and_a_page_of_one_surface(adamantine, tmp_path):
    result = adamantine("trace", "adam:lr=0.1", "sgd:lr=0.002", "--steps", 25, "--out", tmp_path)
    assert result.code == 0
    picture, page = tmp_path / "rosenbrock.png", tmp_path / "rosenbrock.html"
    assert result.out.endswith(f"Picture: {picture}\nPage: {page}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "0.1 (given)" in result.out
    assert "0.002 (given)" in result.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [page.name, picture.name]


def test_json_has_the_figures_of_every_path(adamantine, tmp_path):
    arguments = ("trace", "sgd:lr=0.03", "sgd", "--surface", "ravine", "--steps", 30, "--json")
    result = adamantine(*arguments, "--out", tmp_path / "new" / "folder")
    assert result.code == 0
    data = json.loads(result.out)
    assert data["picture"] == str(tmp_path / "new" / "folder" / "ravine.png")
    (ravine,) = data["surfaces"].values()
    assert ravine["steps"] == 30
    assert ravine["minimum"] == [0, 0]
    assert not {"landscape", "levels"} & ravine.keys()
    given, found = ravine["paths"]
    assert set(given) == set(found) == PATH
    assert (given["settings"], given["lr_given"]) == ({"lr": 0.03}, True)
    assert (found["settings"]["lr"] in ravine["rates"], found["lr_given"]) == (True, False)
    assert given["points"][0] == ravine["start"]
    assert len(given["points"]) == len(given["values"]) == 31
    assert given["final"] == given["points"][-1]
    assert given["distance"] == pytest.approx(math.hypot(*given["final"]))
    again = adamantine(*arguments, "--out", tmp_path / "new" / "folder")
    assert again.out == result.out


def test_a_path_that_diverges_is_said_to(adamantine, tmp_path):
    arguments = ("trace", "sgd:lr=1", "--steps", 400, "--surface", "beale", "--out", tmp_path)
    assert "leaves view at step 1" in adamantine(*arguments).out
    (path,) = json.loads(adamantine(*arguments, "--json").out)["surfaces"]["beale"]["paths"]
    assert path["left_view"] == 1
    assert len(path["points"]) == 2


def test_all_surfaces(adamantine, tmp_path):
    arguments = ("trace", "adam:lr=0.1", "--surface", "all", "--steps", 5, "--out", tmp_path)
    assert list(json.loads(adamantine(*arguments, "--json").out)["surfaces"]) == list(SURFACES)
    page = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert all(f'<section id="{name}">' in page for name in SURFACES)


def test_nothing_named_is_four_optimizers(adamantine, tmp_path):
    result = adamantine("trace", "--steps", 1, "--out", tmp_path, "--json")
    paths = json.loads(result.out)["surfaces"]["rosenbrock"]["paths"]
    assert [path["name"] for path in paths] == ["adam", "sgd", "momentum", "rmsprop"]


def test_wrong_usage(adamantine, tmp_path):
    out = "--out", tmp_path / "none"
    for arguments, saying in (
        (("--surface", "rosenbrok"), "did you mean 'rosenbrock'? there are rosenbrock, beale"),
        (("--steps", 0), "--steps is 0, expected at least 1"),
        (("adamm",), "adam"),
        (("adam:lr=-1",), "learning rate"),
    ):
        assert adamantine("trace", *arguments, *out).failed(2, saying=saying), arguments
        assert not out[1].exists()


def test_a_folder_that_cannot_be_written(adamantine, tmp_path):
    (tmp_path / "file").touch()
    result = adamantine("trace", "--steps", 1, "--out", tmp_path / "file")
    assert result.failed(1, saying="choose another one with --out")

"""The README stays short, the links lead somewhere, every page is listed, and the tutorials run."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from adamantine.cli.app import command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub has it."""
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


FILES = {
    f"/{name_of(path)}"
    for folder in ("src", "tests", "benchmarks", "docs", "examples")
    for path in (ROOT / folder).rglob("*.py")
}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_are_named_are_there(path: Path) -> None:
    """By the end of their paths, as they stand in text; those of examples may be the reader's."""
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    for name in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert any(file.endswith(f"/{name}") for file in FILES), name


REFERENCE = re.compile(r":(mod|class|func|data):`(?:[^`<]*<)?~?([\w.]+)>?`")


def is_there(kind: str, name: str) -> bool:
    """Whether a module ends so; of what is in one, whether a module of that name has it."""
    module, _, own = (name, "", "") if kind == "mod" else name.rpartition(".")
    ends = (f"/{module.strip('.').replace('.', '/')}{end}" for end in (".py", "/__init__.py"))
    found = [file for end in ends for file in FILES if file.endswith(end)]
    return any(re.search(rf"\b{own}\b", Path(f"{ROOT}{file}").read_text("utf-8")) for file in found)


def test_what_docstrings_refer_to_is_there() -> None:
    """Of references that name a module of ours; Sphinx looks at those of the API pages alone."""
    missing = [
        (name_of(path), name)
        for path in (ROOT / "src").rglob("*.py")
        for kind, name in REFERENCE.findall(path.read_text("utf-8"))
        if name.startswith((".", "adamantine."))
        if kind == "mod" or "." in name.strip(".")
        if not is_there(kind, name)
    ]
    assert not missing


def test_every_page_is_in_the_navigation_once() -> None:
    trees = TOCTREE.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    entries = "".join(tree.partition("\n\n")[2] for tree in trees).split("\n")
    listed = [re.sub(r".*<(.*)>$", r"\1", entry) for entry in entries if entry]
    pages = [str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")]
    assert sorted(["index", *listed]) == sorted(pages)


def commands(path: Path) -> list[list[str]]:
    """The words of every `adamantine …` in a page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("adamantine ")
    ]


def test_commands_in_shell_blocks_have_the_options_that_are_shown() -> None:
    shown = [words for path in PAGES for words in commands(path)]
    assert shown
    for name, *rest in shown:
        known = {flag for option in command.commands[name].params for flag in option.opts}
        given = {word for word in rest if word.startswith("--")}
        assert given <= known, (name, given - known)


@pytest.mark.parametrize(
    "part", ["", ".records", ".report", ".study", ".trackers", ".train", ".workloads"]
)
def test_the_api_pages_have_everything_public(part: str) -> None:
    module = import_module(f"adamantine{part}")
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    documented = re.findall(r"^\.\. auto(?:class|function):: (\S+)$", pages, re.MULTILINE)
    public = {name: getattr(module, name) for name in module.__all__}
    for name, value in public.items():
        if inspect.isclass(value) or inspect.isfunction(value):
            assert f"{module.__name__}.{name}" in documented


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All Python blocks of a tutorial, in order, in one namespace."""
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), str(path), "exec"), {"__name__": path.stem})
    EXPECTED[path.stem](capsys.readouterr().out)


def swapped(printed: str) -> None:
    assert float(printed.removeprefix("loss ")) < 0.1


def remembered(printed: str) -> None:
    """The page shows what is printed."""
    shown = re.findall(r"^    (\w+ .*)", (DOCS / "tutorials" / "memory.md").read_text(), re.M)
    assert printed.splitlines() == shown[-3:]


def compared(printed: str) -> None:
    assert "Final accuracy on the test set: adam" in printed


def found(printed: str) -> None:
    assert "is the smallest learning rate that keeps 95%" in printed


EXPECTED = {
    "swap": swapped,
    "memory": remembered,
    "which": compared,
    "learning_rate": found,
}


def statements(source: str) -> dict[str, str]:
    """Functions and constants by name, without annotations and docstrings."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in node.args.args]
            body = node.body[1:] if ast.get_docstring(node) else node.body
            found[node.name] = f"{arguments}: {[ast.unparse(line) for line in body]}"
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = ast.unparse(node.value)
    return found


@pytest.mark.parametrize("rule", ["adamax", "stable_adamw"])
def test_the_walk_through_shows_the_rules_as_they_are(rule: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    there = statements((ROOT / "src/adamantine/rules" / f"{rule}.py").read_text(encoding="utf-8"))
    start = text.index(f"src/adamantine/rules/{rule}.py`")
    end = text.find("src/adamantine/optim/classes/", start)
    shown: dict[str, str] = {}
    for block in re.findall(
        r"```python\n(.*?)```", text[start : end if end > 0 else None], re.DOTALL
    ):
        shown |= statements(block)
    assert shown
    assert shown.items() <= there.items()

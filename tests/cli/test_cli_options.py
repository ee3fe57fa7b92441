"""The options of every command are a promise: a change here must be meant."""

import json
import re
from pathlib import Path

from adamantine.cli.app import command

SNAPSHOT = Path(__file__).with_name("options.json")


def described(parameter):
    return {
        "flags": [*parameter.opts, *parameter.secondary_opts],
        "values": 0 if getattr(parameter, "is_flag", False) else parameter.nargs,
        "required": parameter.required,
        "default": None if parameter.default is None else str(parameter.default),
    }


def options_of_every_command():
    commands = {"adamantine": command, **command.commands}
    return {
        name: [described(parameter) for parameter in one.params] for name, one in commands.items()
    }


def test_options_are_as_they_were():
    expected = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert options_of_every_command() == expected, (
        "if the change is meant, run: python tests/cli/test_cli_options.py"
    )


def test_every_option_has_help():
    for one in command.commands.values():
        assert one.help
        assert [p.name for p in one.params if not getattr(p, "help", None)] == []


def test_the_page_says_the_same_defaults():
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    compared, wrong = 0, []
    for section in page.split("\n## ")[1:]:
        words = re.findall("[a-z-]+", section.split("\n")[0])
        name = next((word for word in words if word in command.commands), None)
        options = {
            flag: parameter.default
            for parameter in (command.commands[name].params if name else ())
            for flag in parameter.opts
        }
        for flag, said in re.findall(r"^\| `(--[a-z-]+)[^`]*` \| `?([^|`]+?)`? \|", section, re.M):
            default = options[flag]
            if default is not None and default is not False:
                compared += 1
                wrong += [] if str(default) == said else [f"{name} {flag}: {said}, not {default}"]
    assert wrong == []
    assert compared > 20


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(options_of_every_command(), indent=2) + "\n", encoding="utf-8")

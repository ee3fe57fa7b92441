"""The options of every command are a promise: a change here must be meant."""

import json
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


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(options_of_every_command(), indent=2) + "\n", encoding="utf-8")

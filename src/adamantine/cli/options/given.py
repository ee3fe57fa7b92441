"""Which options were given, and the command line that gives them again."""

import shlex
from collections.abc import Mapping

import typer


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the option was typed; else it has its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def repeat(context: typer.Context, instead: Mapping[str, str] | None = None) -> str:
    """The command line that repeats this one: what was given, but for how it is printed.

    `instead` has what stands in place of an option's value, by its name.
    """
    words = ["adamantine", context.info_name or ""]
    params = {**context.params, **(instead or {})}
    for parameter in context.command.params:
        name = parameter.name or ""
        if not is_given(context, name) or name == "as_json":
            continue
        given = params[name]
        if given is True:  # a flag stands alone
            words.append(parameter.opts[0])
            continue
        values = [str(value) for value in (given if isinstance(given, list | tuple) else [given])]
        if parameter.param_type_name == "argument":
            words += values
        else:
            words += [word for value in values for word in (parameter.opts[0], value)]
    return shlex.join(words)

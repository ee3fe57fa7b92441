"""``adamantine train --config``: the options that a search's ``best.json`` holds."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from adamantine.cli.options.optimizers import COMMON, FLAGS, flag
from adamantine.errors import AdamantineError, UsageError
from adamantine.optim.by_name import OPTIMIZERS, settings_of
from adamantine.optim.usage.options import NAMES
from adamantine.records import Best, parse
from adamantine.records.reading import as_object

OPTIONS: Mapping[str, type] = {
    "workload": str, "optimizer": str, "epochs": int, "batch_size": int, "schedule": str,
}  # fmt: skip
KNOWN = [field.name for field in fields(Best)]


def options_of_config(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``adamantine train`` that the file holds.

    Parameters
    ----------
    given
        Those on the command line, which are going to override them.

    Raises
    ------
    UsageError
        The file cannot be read, holds something else, or settings of another optimizer than the
        one that is given.
    """
    try:
        held = as_object(parse(path.read_text(encoding="utf-8"), str(path)), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read --config {path}: {error}") from error
    except AdamantineError as error:
        raise UsageError(f"--config: {error}") from error
    if unknown := [key for key in held if key not in KNOWN]:
        raise UsageError(
            f"--config {path} has the key {unknown[0]!r}, expected some of {', '.join(KNOWN)}"
        )
    # Nothing stands for "the default", as where a workload brings batches of its own.
    options = {name: _typed(held, name, path) for name in OPTIONS if held.get(name) is not None}
    _check_optimizer(options.get("optimizer"), given.get("optimizer"), path)
    settings = held.get("settings", {})
    if not isinstance(settings, dict):
        raise UsageError(f"--config {path}: settings is {settings!r}, expected an object")
    known = [*settings_of(options["optimizer"]), *NAMES]
    if strange := [name for name in settings if name not in known]:
        raise UsageError(
            f"--config {path}: {options['optimizer']} has no setting {strange[0]!r}; it has "
            f"{', '.join(known)}"
        )
    # JSON knows no tuples, and the constructors are particular about betas.
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    flags = {name: plain.pop(name) for name in (*FLAGS, *COMMON) if name in plain}
    return {**options, **flags, "more": plain}


def _typed(held: Mapping[str, Any], name: str, path: Path) -> Any:
    value, kind = held[name], OPTIONS[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = "a string" if kind is str else "a whole number"
        raise UsageError(f"--config {path}: {name} is {value!r}, expected {expected}")
    return value


def _check_optimizer(held: str | None, given: str | None, path: Path) -> None:
    if held is None:
        raise UsageError(f"--config {path} does not say which optimizer its settings are for")
    if held not in OPTIMIZERS:
        raise UsageError(
            f"--config {path} is for {held}, which {flag('optimizer')} does not have; its "
            "`python` line builds it"
        )
    if given is not None and given != held:
        raise UsageError(
            f"--config {path} holds settings of {held}, and --optimizer is {given}; leave one out"
        )

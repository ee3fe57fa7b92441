"""Options of several commands, and whether what they ask for is possible.

- ``declarations``: as Typer reads them, and what a shell completes them with
- ``given``: which of them were typed; the command line that repeats a study
- ``optimizers``: whether an optimizer takes these settings
- ``machine``: threads and a device
"""

"""What is kept of each parameter between steps.

- ``precision``: what each state is kept in, and how the parameter takes its update
- ``preparing``: one parameter's state, made and checked
- ``sharded``: the same of a parameter that is spread over processes
- ``matching``: which saved group and parameter is which of ours
- ``loading``: a checkpoint that fits
"""

"""What is kept of each parameter between steps.

- ``precision``: what each state is kept in, and how the parameter takes its update
- ``preparing``: one parameter's state, made and checked
- ``matching``: which saved group and parameter is which of ours
- ``loading``: a checkpoint that fits
"""

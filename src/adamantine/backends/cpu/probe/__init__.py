"""A look at live tensors before every step.

- ``statuses``: what a tensor can be found to be
- ``tensor_probe``: what is expected of the tensors of a table, and what was found
- ``compiled_probe``: reads addresses, layouts and step counts, in one compiled call
- ``probed_table``: what the tables of all backends have in common
- ``identity``: whether an optimizer still holds the very objects that its plan was made for
"""

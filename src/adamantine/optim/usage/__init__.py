"""What a user hands in: checked, named in messages, and told where it is probably a mistake.

- ``options``: what every optimizer takes beside its own settings
- ``hints``: torch's switches ``foreach``, ``fused``, ``capturable``, ``differentiable``
- ``param_group``, ``grouping``: parameter groups, and rules that make them
- ``matrices``: which parameters of a model are matrices
- ``spelling``: names of settings that are probably misspelt
- ``misuse``, ``zeroing``: calls that are probably a mistake, forgotten ``zero_grad()`` among them
- ``labels``: what messages call a parameter
- ``numbers``: NumPy's numbers as Python's
"""

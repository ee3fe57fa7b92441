"""What is told of tensors, in terms of numbers that compiled code knows as well."""

# What a tensor can be found to be.
READY, ABSENT, STAGE, CHANGED = range(4)
"""`ABSENT`: it has no gradient. `STAGE`: the gradient is laid out differently and has to be copied
first. `CHANGED`: param, a state or a counter is another object, or another kind of tensor, and the
table is void. What merely lies elsewhere is in ``MOVED``."""

PARAM, GRAD = 0, 1

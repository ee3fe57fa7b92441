"""How a state is kept in fewer bits than it is computed with.

As a rule does, a codec says what happens to one element, in plain functions without tensors, and
every backend binds the operations (:mod:`.ops`) to its own.

=============  ========================================================================
``ops``        the operations, on plain Python numbers
``noise``      the random numbers: from (seed, tensor, step, element), and nothing else
``blocks``     256 elements with one power of two as their scale
``int8``       one byte an element, signed and unsigned
``bfloat16``   the upper half of a float32
``bits24``     that half, and a byte of the lower one
=============  ========================================================================
"""

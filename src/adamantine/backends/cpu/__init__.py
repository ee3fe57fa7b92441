"""The CPU backend: rules compiled by Numba, one fused pass over memory for all tensors.

===============  =====================================================================
``memory``       addresses as arrays inside compiled code
``native``       calls by address and atomic words inside compiled code
``job``          the block of words by which compiled code is told what to do
``compiling``    how Numba compiles rules and codecs
``alone``        of several processes that need a kernel at once, one compiles it
``codes``        codecs: memory opened for a rule, and closed after it
``kernel``       the loop over chunks, specialised and cached for each rule
``probe``        the addresses and layouts of live tensors, read in one compiled call
``sheet``        what is expected of the tensors, and what a probe finds
``measures``     what a step tells of itself, gathered in its own loop
``survey``       a pass that only reads, and leaves a number for each chunk
``norms``        the sum of squares of all gradients
``census``       counts over whole tensors, for rules that need them before they begin
``table``        the pointer table: which tensors, cut into chunks, with which scalars
``parallel``     where a kernel runs: alone, on torch's threads, or on our own
``team``         torch's threads
``pool``         our own
``pieces``       what threads take from one desk
===============  =====================================================================
"""

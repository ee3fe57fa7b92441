"""The functions that Triton compiles: a program walks over a chunk of one tensor, tile by tile.

- ``operations``: what rules and codecs are made of, and how they are bound to it
- ``memory``: what elements are in memory; tiles of them, read and written
- ``codes``: formats below float32: opened for a rule, and closed after it
- ``squares``: sums of squares, by tile and then by tensor
- ``vectors``: numbers for rows and columns, read beside elements
- ``update``: the kernel around a rule
- ``sums``: sums over whole tensors, for rules that need them before they begin
- ``counters``: step counts that live on the device
- ``step_statistics``: how far some elements went
- ``compiling``: all of these for a rule and its formats, to be launched
"""

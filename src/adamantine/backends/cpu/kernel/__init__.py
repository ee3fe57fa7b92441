"""The loop that runs a rule over many tensors.

- ``arguments``: the block of words by which compiled code is told what to do
- ``sums``: sums over elements, for rules that need them before they begin
- ``factored``: loops of rules with numbers for rows and columns
- ``kernel``: the loop over chunks, specialised and cached for each rule
- ``codes``: states below float32: opened for a rule, and closed after it
- ``step_statistics``: what a step tells of itself, gathered in the same loop
"""

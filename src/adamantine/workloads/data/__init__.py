"""What is done with a workload's data.

- ``batches``: how an epoch goes through them
- ``split``: validation data, for choosing settings
- ``sums``: by which one notices that they have changed
"""

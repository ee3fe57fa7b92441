"""What several commands print, draw and write.

- ``terminal``: notes on standard error
- ``live``: a bar there, with rows below it
- ``runs``: a run in words
- ``files``: the folder that ``--out`` names; ``tables``: that of ``--export``
"""

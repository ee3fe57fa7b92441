"""A training, from its record: ``page``, and ``stats``, a picture of what its steps measured."""

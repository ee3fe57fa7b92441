"""Records compared: all of them but what may differ between two times a study is run."""


def without(value, *names):
    """JSON without the keys that are named, and without seconds."""
    if isinstance(value, dict):
        return {
            key: without(element, *names)
            for key, element in value.items()
            if "seconds" not in key and key not in names
        }
    return [without(element, *names) for element in value] if isinstance(value, list) else value

"""What a user hands in: checked, named in messages, and told where it is probably a mistake.

- ``options``: what every optimizer takes beside its own settings
- ``hints``: torch's switches for its implementations
- ``param_group``, ``grouping``: parameter groups, and rules that make them
- ``spelling``, ``misuse``, ``zeroing``: what is probably meant otherwise
- ``labels``, ``numbers``: how messages call parameters, and settings that can be saved
"""

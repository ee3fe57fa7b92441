"""Random numbers that depend on nothing but (seed, tensor, step, element).

So they are the same for any number of threads, in any order, and after a restart. A step of a
tensor has a well-mixed key of its own. From there on an element's bits are those of the one before
plus a constant (a Weyl sequence): in one step they lie evenly, like the dots of a dither, and from
one step to the next those of an element are independent. Anything better mixed costs more than the
rest of the rounding.
"""

from adamantine.codecs.ops import low

MULTIPLIERS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
"""Odd; one for each two consumers of an element's bits."""

CONSUMERS = 2 * len(MULTIPLIERS)

MIX1, MIX2 = 0x85EBCA6B, 0xC2B2AE35

NEAREST = 0x80000
"""In the place of 20 random bits: rounds to nearest."""


def mixed(x):
    # The finaliser of MurmurHash3 (Appleby 2011), which maps 32 bits one to one.
    x = low(low(x ^ (x >> 16)) * MIX1)
    x = low(low(x ^ (x >> 13)) * MIX2)
    return low(x ^ (x >> 16))


def stream(seed: int, tensor: int) -> int:
    """The 32 bits that all keys of a tensor are made of; on the host."""
    found = mixed(low(tensor + 1))
    while seed:
        found, seed = mixed(low(found + low(seed) * MULTIPLIERS[0])), seed >> 32
    return int(mixed(found))


def key_of(stream: int, step: int) -> int:
    """The key of one step of a tensor."""
    return mixed(low(stream ^ mixed(low(step))))  # type: ignore[no-any-return]


def bits_at(key, index, multiplier):
    """The 32 bits of one element, for two consumers."""
    return low(key + low(low(index) * multiplier))


def following(h, multiplier):
    """Those of the element after it."""
    return low(h + multiplier)


def first(h):
    """The 20 bits of the first of two consumers."""
    return low(h & 0xFFFFF)


def second(h):
    """Those of the second."""
    return low(h >> 12)

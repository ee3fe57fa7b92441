"""The maths, one file an algorithm; imports nothing but the floor below, not even torch."""

from adamantine.rules.rule import Family, Rule, Settings, Share, bind

__all__ = ["Family", "Rule", "Settings", "Share", "bind"]

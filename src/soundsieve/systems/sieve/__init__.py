"""Sieve, the small network of our own behind the embedded model; `sieve.sieve` says how it works."""

from soundsieve.systems.sieve.analysis import Scene
from soundsieve.systems.sieve.config import SieveConfig
from soundsieve.systems.sieve.sieve import Sieve

__all__ = ["Scene", "Sieve", "SieveConfig"]

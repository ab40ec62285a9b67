"""The random draws of src/stats/draws.rs and src/stats/block_bootstrap.rs, so that both sides see the same cases."""
import math

import numpy as np

STEP = 0x9E3779B97F4A7C15


def words(seed, count):
    """SplitMix64: the first `count` words after `seed`."""
    with np.errstate(over="ignore"):
        word = np.uint64(seed) + np.uint64(STEP) * np.arange(1, count + 1, dtype=np.uint64)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return word ^ (word >> np.uint64(31))


class Draws:
    def __init__(self, seed, count=8192):
        self.uniforms = iter((((words(seed, count) >> np.uint64(11)).astype(float) + 0.5) / 2.0**53).tolist())

    def uniform(self):
        return next(self.uniforms)

    def normal(self):
        first, second = self.uniform(), self.uniform()
        return math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)

    def wandering(self, memory, count):
        fresh, value, values = math.sqrt(1.0 - memory * memory), self.normal(), []
        for _ in range(count):
            value = memory * value + fresh * self.normal()
            values.append(value)
        return values

"""An independent implementation of src/stats/block_bootstrap.rs, with numpy alone: python3 block_bootstrap.py > block_bootstrap.csv

A case is a run of blocks, each with a sum and a count of requests; its figure is the mean of all. Each line is a case: its
seed, the standard error over the same draws, that over 2,000 draws of numpy's own generator, and the 97.5 % quantile of
Student's t by integration of its density.
"""
import math

import numpy as np

from e_value import student_reach
from splitmix import Draws, words

SEED, DRAWS = 0x7469_6465_6D61_726B, 400


def times_drawn(blocks_count):
    """How often each block is in each draw: the high half of the product of a word and the count is an index."""
    drawn = [(int(word) * blocks_count) >> 64 for word in words(SEED, DRAWS * blocks_count)]
    drawn = np.array(drawn).reshape(DRAWS, blocks_count)
    return np.stack([np.bincount(row, minlength=blocks_count) for row in drawn])


def standard_error(times, sums, counts):
    figures = times @ sums / (times @ counts)
    return math.sqrt(float(figures.var()) * len(sums) / (len(sums) - 1.0))


def case(seed):
    draws = Draws(seed)
    blocks_count, memory = 2 + int(draws.uniform() * 29.0), 0.8 * draws.uniform()
    counts = [float(1 + int(draws.uniform() * 200.0)) for _ in range(blocks_count)]
    levels = draws.wandering(memory, blocks_count)
    return np.array([count * math.exp(0.2 * level) for count, level in zip(counts, levels)]), np.array(counts)


if __name__ == "__main__":
    times, reach = {}, {}
    print("seed,standard_error,standard_error_of_other_draws,reach")
    for seed in range(1000):
        sums, counts = case(seed)
        blocks_count = len(sums)
        if blocks_count not in times:
            own = np.random.default_rng(blocks_count)
            times[blocks_count] = times_drawn(blocks_count), own.multinomial(blocks_count, [1.0 / blocks_count] * blocks_count, 2000)
            reach[blocks_count] = student_reach(0.025, blocks_count - 1.0)
        same, other = times[blocks_count]
        print(f"{seed},{standard_error(same, sums, counts):.9e},{standard_error(other, sums, counts):.9e},{reach[blocks_count]:.6f}")

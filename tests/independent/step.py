#!/usr/bin/env python3
"""The step posterior of src/stats/step.rs and regression.rs once more, from the model's definition and by other numerics.

    python tests/independent/step.py write [COUNT] > tests/independent/step.csv

Levels, effects, drifts and the noise's size are integrated on dense, evenly spaced grids in logarithms; nothing is shared
with the Rust code but the model and its constants. Needs NumPy. Each line of the output is one case:
    values (ln, oldest first, separated by blanks), standard error, then the posterior probabilities of no change, of a drift,
    and of a step upwards of more than 3 % at the newest run and at an older one, and the effect's median, 2.5 % and 97.5 %.
"""
import math
import sys

import numpy as np

NU, EFFECT_SCALE, DRIFT_SCALE, MARGIN = 7.0, .10, .05, .03
STEP, DRIFT, BAD, ONSETS_MAX, HEAD_MIN = .10, .10, .05, 6, 2
DEVIATION_MEDIAN, DEVIATION_SPREAD = .045, .6
MEMORIES = ((.1, .6), (.5, .4))
LOG_STUDENT = math.lgamma((NU + 1) / 2) - math.lgamma(NU / 2) - .5 * math.log(NU * math.pi)


def log_student(distance, variance):
    squared_scale = variance * (NU - 2) / NU
    return LOG_STUDENT - .5 * np.log(squared_scale) - (NU + 1) / 2 * np.log1p(distance ** 2 / (NU * squared_scale))


def student_3(x, scale):
    return 2 / (math.pi * math.sqrt(3)) / scale / (1 + (x / scale) ** 2 / 3) ** 2


def slow(x):
    return np.interp(x, [.04, .12, .5, .7], [0, 1, 1, 0], left=0, right=0) / (.04 + .38 + .10)


def log_bad(x):
    return np.log(.83 * slow(x) + .15 * 2 * slow(-2 * x) + .02 / (math.pi * (1 + x * x)))


def noises():
    z = np.linspace(-2.8, 3.4, 14)
    weight = np.exp(-z * z / 2)
    weight /= weight.sum()
    return [(DEVIATION_MEDIAN * math.exp(DEVIATION_SPREAD * a), m, math.log(w * p)) for a, w in zip(z, weight) for m, p in MEMORIES]


def likelihood(values, error, levels, noise):
    """ln of the likelihood of all runs; `levels`: one array of any shape a run, all broadcast together."""
    deviation, memory, _ = noise
    between, whole = deviation ** 2, deviation ** 2 + error ** 2
    kept = memory * between / whole
    clean = bad = None
    for index, value in enumerate(values):
        distance = value - levels[index]
        alone = math.log(1 - BAD) + log_student(distance, whole)
        worse = math.log(BAD) + log_bad(distance)
        if clean is None:
            clean, bad = alone, worse
        else:
            after = math.log(1 - BAD) + log_student(distance - kept * (values[index - 1] - levels[index - 1]), whole - kept ** 2 * whole)
            clean, bad = np.logaddexp(clean + after, bad + alone), np.logaddexp(clean, bad) + worse
    return np.logaddexp(clean, bad)


def posterior(values, error):
    n, grid = len(values), noises()
    middle, spread = float(np.median(values)), float(np.ptp(values))
    half = spread + .12
    level = np.linspace(middle - half, middle + half, int(2 * half / .008) + 1)
    step = level[1] - level[0]

    def log_sum(parts):
        largest = max(part.max() for part in parts)
        return largest, sum(np.exp(part - largest) for part in parts)

    largest, total = log_sum([w + likelihood(values, error, [level] * n, (d, m, w)) for d, m, w in grid])
    unchanged = largest + math.log(total.sum() * step)

    change = np.linspace(-.6, .6, 81)
    at = np.arange(n) / (n - 1) - .5
    levels = [level[None, :] + change[:, None] * a for a in at]
    largest, total = log_sum([w + likelihood(values, error, levels, (d, m, w)) for d, m, w in grid])
    drift = largest + math.log((total.sum(1) * student_3(change, DRIFT_SCALE)).sum() * step * (change[1] - change[0]))

    effect = np.arange(-.8, .9001, .0125)
    onsets = min(ONSETS_MAX, n - HEAD_MIN)
    logs = [math.log(1 - STEP - DRIFT) + unchanged, math.log(DRIFT) + drift]
    shapes = []
    for since in range(1, onsets + 1):
        before, behind = level[None, :], level[None, :] + effect[:, None]
        levels = [before] * (n - since) + [behind] * since
        largest, total = log_sum([w + likelihood(values, error, levels, (d, m, w)) for d, m, w in grid])
        density = total.sum(1) * student_3(effect, EFFECT_SCALE)
        logs.append(math.log(STEP / onsets) + largest + math.log(density.sum() * step * .0125))
        shapes.append(density / density.sum())
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    # Between two points of the effect, its density is a straight line.
    fine = np.arange(-.8, .9, .0005)
    lines = [np.interp(fine, effect, shape) for shape in shapes]
    lines = [line / line.sum() for line in lines]
    upwards = [w * line[fine > MARGIN].sum() for w, line in zip(weights[2:], lines)]
    mixed = sum(w * line for w, line in zip(weights[2:], lines))
    below = np.cumsum(mixed) / mixed.sum()
    quantiles = [fine[np.searchsorted(below, p)] for p in (.5, .025, .975)]
    return [weights[0], weights[1], upwards[0], sum(upwards[1:]), *quantiles]


def case(rng):
    """A history with a step, a bad run or a drift, or with nothing."""
    n = int(rng.integers(3, 11))
    deviation = math.exp(rng.uniform(math.log(.015), math.log(.1)))
    values = 4 + deviation * rng.standard_t(5, n)
    kind = rng.integers(4)
    if kind == 1:
        values[n - int(rng.integers(1, max(2, n // 2))):] += rng.choice([-.1, .05, .1, .2, .4])
    if kind == 2:
        values[int(rng.integers(n))] += rng.uniform(.15, .5)
    if kind == 3:
        values += rng.uniform(-.2, .2) * np.arange(n) / (n - 1)
    return np.round(values, 4), round(float(rng.uniform(.002, .03)), 4)


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    start = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for index in range(start, start + count):
        values, error = case(np.random.default_rng(index))
        numbers = posterior(values, error)
        print(' '.join(f'{v:.4f}' for v in values), f'{error:.4f}', *(f'{x:.4f}' for x in numbers), sep=',', flush=True)


if __name__ == '__main__':
    main()

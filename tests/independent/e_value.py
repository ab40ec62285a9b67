"""An independent implementation of src/stats/sequential.rs, with numpy alone: python3 e_value.py > e_value.csv

It shares no formula with the other one where there is a second way: Student's t is integrated as a density, not as a
mixture, and the variance of a mean is a sum over lags. Each line is a case: its seed, the e-value of the last look, the
difference from the history's level.
"""
import math

import numpy as np

from splitmix import Draws

CHANCE, CERTAINTY, USUAL_SIGMA, USUAL_SIGMA_RUNS, CORRELATION_MAX = 0.01, 0.7, 0.025, 2.0, 0.95
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)


def integral(log_density, breaks):
    """Of exp(log_density) over each piece between breaks, relative to the largest value on any piece."""
    pieces = []
    for low, high in zip(breaks, breaks[1:]):
        points = 0.5 * (high - low) * NODES + 0.5 * (high + low)
        pieces.append((high, 0.5 * (high - low) * WEIGHTS, log_density(points)))
    largest = max(logs.max() for _, _, logs in pieces)
    return [(high, float((weights * np.exp(logs - largest)).sum())) for high, weights, logs in pieces]


def log_student(value, degrees):
    return -0.5 * (degrees + 1.0) * np.log1p(value * value / degrees)


def student_reach(chance, degrees):
    """What Student's t is beyond with `chance`: half of all is beyond 0, and x = tan(angle) makes the range finite."""
    norm = math.exp(math.lgamma(0.5 * (degrees + 1.0)) - math.lgamma(0.5 * degrees)) / math.sqrt(degrees * math.pi)

    def beyond(reach):
        low, high = math.atan(reach), 0.5 * math.pi
        edges, total = np.linspace(low, high, 9), 0.0
        for left, right in zip(edges, edges[1:]):
            angle = 0.5 * (right - left) * NODES + 0.5 * (right + left)
            density = norm * np.exp(log_student(np.tan(angle), degrees)) / np.cos(angle) ** 2
            total += float((0.5 * (right - left) * WEIGHTS * density).sum())
        return total

    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if beyond(middle) > chance else (low, middle)
    return 0.5 * (low + high)


REACH = {}


def variance_of_mean(variance, correlation, count):
    lags = np.arange(1, count)
    return variance / count * (1.0 + 2.0 * float(((1.0 - lags / count) * correlation**lags).sum()))


def last_look(runs, windows):
    """The e-value after the windows, and the difference of their level from that of the runs."""
    runs, windows = np.array(runs), np.array(windows)
    runs_count, windows_count = runs.shape
    levels = np.nanmean(runs, axis=1)
    level = levels.mean()
    degrees = USUAL_SIGMA_RUNS + runs_count - 1.0
    variance = (USUAL_SIGMA_RUNS * USUAL_SIGMA**2 + ((levels - level) ** 2).sum()) / degrees
    scale = math.sqrt(variance * (1.0 + 1.0 / runs_count))
    if degrees not in REACH:
        REACH[degrees] = student_reach(CHANCE * CERTAINTY, degrees)
    limit = level + scale * REACH[degrees]

    shape = np.nan_to_num(np.nanmean(runs - levels[:, None], axis=0))
    seen = np.isfinite(windows)
    count = int(seen.sum())
    if count == 0:
        return 1.0, 0.0
    so_far = float((windows - shape[: len(windows)])[seen].mean())

    residuals = runs - levels[:, None] - shape
    fitted = runs_count / (runs_count - 1.0)
    within = fitted * float(np.nanmean(residuals**2))
    correlation = fitted * float(np.nanmean(residuals[:, 1:] * residuals[:, :-1])) / within
    correlation += (1.0 + correlation) / max(1.0 - correlation, 0.05) / windows_count
    correlation = min(max(correlation, 0.0), CORRELATION_MAX)
    modelled = variance_of_mean(within, correlation, count) - variance_of_mean(within, correlation, windows_count)
    first = residuals[:, :count]
    means = np.where(np.isfinite(first).any(axis=1), np.nansum(first, axis=1) / np.maximum(np.isfinite(first).sum(axis=1), 1), 0.0)
    shown = fitted * float((means**2).mean())
    unseen = (1.0 + 1.0 / runs_count) * max(modelled, shown) if count < windows_count else 0.0

    if unseen == 0.0:
        return float(so_far >= limit) / (CHANCE * CERTAINTY), so_far - level
    sigma = math.sqrt(unseen)

    def log_density(points):
        return log_student((points - level) / scale, degrees) - 0.5 * ((points - so_far) / sigma) ** 2

    low, high = so_far - 40.0 * sigma, so_far + 40.0 * sigma
    marks = [so_far + step * sigma for step in (-12, -6, -3, -1, 0, 1, 3, 6, 12)]
    marks += [level + step * scale for step in (-30, -12, -6, -3, -1.5, 0, 1.5, 3, 6, 12, 30)]
    breaks = sorted({low, high, *[mark for mark in [*marks, limit] if low < mark < high]})
    pieces = integral(log_density, breaks)
    beyond = sum(value for upper, value in pieces if upper > limit and (upper - limit) > 1e-15)
    return beyond / sum(value for _, value in pieces) / (CHANCE * CERTAINTY), so_far - level


def case(seed):
    draws = Draws(seed)
    runs_count, windows_count = 3 + int(draws.uniform() * 28.0), 5 + int(draws.uniform() * 60.0)
    between, within = 0.005 * 40.0 ** draws.uniform(), 0.005 * 60.0 ** draws.uniform()
    memory, shift, warm_up = 0.9 * draws.uniform(), 0.4 * draws.uniform() - 0.1, 0.5 * draws.uniform()
    has_gaps, looked = draws.uniform() < 0.3, 1 + int(draws.uniform() * windows_count)

    def run(index):
        level = 4.0 + between * draws.normal()
        values = [level + within * value for value in draws.wandering(memory, windows_count)]
        values = [value + warm_up * 0.5**window for window, value in enumerate(values)]
        return [math.nan if has_gaps and (window + index) % 7 == 3 else value for window, value in enumerate(values)]

    runs = [run(index) for index in range(runs_count)]
    return runs, [value + shift for value in run(runs_count)][:looked]


if __name__ == "__main__":
    print("seed,e_value,difference")
    for seed in range(1000):
        e_value, difference = last_look(*case(seed))
        print(f"{seed},{e_value:.9e},{difference:.9e}")

"""Whether two samples of tokens were drawn by one law."""

from __future__ import annotations

from collections import Counter

from scipy.stats import chi2_contingency


def same_law(first, second):
    """A chi-square test of homogeneity; rare values share a cell."""
    counts = [Counter(first), Counter(second)]
    common = [v for v in counts[0] | counts[1] if counts[0][v] + counts[1][v] >= 20]
    table = [[c[v] for v in common] for c in counts]
    rest = [sum(c.values()) - sum(row) for c, row in zip(counts, table, strict=True)]
    if sum(rest) >= 20:
        table = [[*row, others] for row, others in zip(table, rest, strict=True)]
    return chi2_contingency(table).pvalue > 0.001

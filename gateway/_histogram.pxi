# Figures, counted in place.

@final
cdef class Count:
    """A number that things are added to."""

    cdef readonly double value

    def add(self, double n=1.0):
        """Add `n`."""
        self.value += n


@final
cdef class Histogram:
    """Counts of observations per bucket, in plain slots; `bounds` rise strictly.

    A value belongs to the first bucket whose bound is not below it, as `le` in
    Prometheus says, or else to the last, which has none.
    """

    cdef:
        readonly tuple bounds
        double _bounds[BOUNDS_LIMIT]
        long long _counts[BOUNDS_LIMIT + 1]
        double _sum
        int _n

    def __init__(self, bounds):
        cdef int i
        self.bounds = tuple(bounds)
        self._n = len(self.bounds)
        if self._n > BOUNDS_LIMIT:
            raise ValueError(f"more than {BOUNDS_LIMIT} bounds")
        for i in range(self._n):
            self._bounds[i] = self.bounds[i]
            if i and self._bounds[i] <= self._bounds[i - 1]:
                raise ValueError("bounds must rise")

    def observe(self, double value, long long n=1):
        """Add n observations of `value`."""
        self.add(value, n)

    cdef void add(self, double value, long long n) noexcept:
        cdef int i = 0
        while i < self._n and not value <= self._bounds[i]:
            i += 1
        self._counts[i] += n
        self._sum += value * n

    def snapshot(self):
        """Return the counts, one per bucket and not cumulative, and the sum of all values."""
        return [self._counts[i] for i in range(self._n + 1)], self._sum

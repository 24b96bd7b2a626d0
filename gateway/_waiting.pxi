# Those who wait equally long, most of them for nothing.

cdef class Line:
    """Who waits, and until when, in the order in which they came; `delay.Delay` tells them.

    Each request joins two, and is done before anything becomes of it.  `arm(due)`, which a
    subclass has, is called for one who joins while it is not `armed`.
    """

    cdef:
        public bint armed
        readonly double seconds     # that each waits
        # When each is due, in the order in which they came.  Not to be taken from its beginning
        # one by one: a dict passes over all that were there before, each time.
        readonly dict waiting
        object _clock

    def __init__(self, clock, double seconds):
        self.seconds = seconds
        self.waiting = {}
        self._clock = clock

    def __len__(self):
        return len(self.waiting)

    def add(self, sleeper):
        """Begin the delay of one that is not in line."""
        due = self._clock() + self.seconds
        self.waiting[sleeper] = due
        if not self.armed:
            self.arm(due)

    def discard(self, sleeper):
        """Forget one, if it still waits."""
        self.waiting.pop(sleeper, None)

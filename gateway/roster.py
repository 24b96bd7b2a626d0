"""A set that one can wait on to become empty: how a drain ends without polling."""

import asyncio
from collections.abc import Iterator
from typing import Generic, TypeVar


T = TypeVar("T")


class Roster(Generic[T]):
    """Who is still here."""

    __slots__ = ("_members", "_waiters")

    def __init__(self) -> None:
        self._members: set[T] = set()
        self._waiters: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._members))  # members leave while they are told to

    def add(self, member: T) -> None:
        """Let somebody in."""
        self._members.add(member)

    def discard(self, member: T) -> None:
        """Let somebody go; the last one wakes who waits."""
        self._members.discard(member)
        if self._waiters and not self._members:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def empty(self) -> None:
        """Return when nobody is left."""
        if self._members:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

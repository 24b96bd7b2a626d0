"""Roster: who is still here, and waking whoever waits for the last to go."""

import asyncio

from gateway.roster import Roster


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_empty_roster_is_not_waited_for():
    await Roster().empty()


async def test_the_last_one_to_go_wakes_all_who_wait():
    roster = Roster()
    roster.add("a")
    roster.add("b")
    waiting = [asyncio.ensure_future(roster.empty()) for _ in range(2)]
    await turns()

    roster.discard("a")
    await turns()
    assert not any(waiter.done() for waiter in waiting)
    roster.discard("b")
    await turns()

    assert all(waiter.done() for waiter in waiting)


async def test_it_can_be_waited_for_again():
    roster = Roster()
    for _ in range(2):
        roster.add("a")
        waiter = asyncio.ensure_future(roster.empty())
        await turns()
        assert not waiter.done()
        roster.discard("a")
        await asyncio.wait_for(waiter, 5)


async def test_a_waiter_that_gave_up_disturbs_nobody():
    roster = Roster()
    roster.add("a")
    gone, stays = (asyncio.ensure_future(roster.empty()) for _ in range(2))
    await turns()

    gone.cancel()
    await turns()
    roster.discard("a")
    await asyncio.wait_for(stays, 5)

    assert gone.cancelled()


def test_members_are_counted_once_and_strangers_not_at_all():
    roster = Roster()

    roster.add("a")
    roster.add("a")
    roster.discard("b")
    assert len(roster) == 1
    roster.discard("a")
    roster.discard("a")

    assert len(roster) == 0


def test_members_may_leave_while_they_are_told_to():
    roster = Roster()
    for name in "abc":
        roster.add(name)

    told = []
    for member in roster:
        told.append(member)
        roster.discard(member)

    assert sorted(told) == ["a", "b", "c"]
    assert len(roster) == 0

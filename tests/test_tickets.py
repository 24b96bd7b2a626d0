"""Tickets: each opens one path, once, within half a minute, and only what is issued does."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.callers import Caller
from gateway.tickets import LIFETIME, TICKET_BYTES, Tickets


ANNA = Caller("anna", frozenset({"small"}))
PATH = "/v1/stream/one"
NOW = 1000.0


def test_a_ticket_opens_its_path_in_the_name_of_who_asked_for_it():
    tickets = Tickets()
    ticket, expires = tickets.issue(ANNA, PATH, NOW)

    assert expires == NOW + LIFETIME == 1030.0
    assert tickets.redeem(ticket, PATH, NOW) == Caller("anna", frozenset({"small"}), PATH)


def test_a_ticket_is_random_and_fit_for_urls_and_subprotocols():
    tickets = Tickets()
    ticket, other = (tickets.issue(ANNA, PATH, NOW)[0] for _ in range(2))

    assert ticket != other
    assert len(bytes.fromhex(ticket)) == TICKET_BYTES
    assert ticket == ticket.lower()


def test_a_ticket_is_used_once():
    tickets = Tickets()
    ticket, _ = tickets.issue(ANNA, PATH, NOW)
    tickets.redeem(ticket, PATH, NOW)

    assert tickets.redeem(ticket, PATH, NOW) is None
    assert len(tickets) == 0


def test_a_ticket_shown_at_another_door_is_spent():
    for path in ("/v1/stream/two", PATH + "/", PATH[:-1], "/v1/stream/%6fne", ""):
        tickets = Tickets()
        ticket, _ = tickets.issue(ANNA, PATH, NOW)

        assert tickets.redeem(ticket, path, NOW) is None
        assert tickets.redeem(ticket, PATH, NOW) is None


def test_a_ticket_lasts_until_the_moment_it_expires():
    tickets = Tickets()
    ticket, expires = tickets.issue(ANNA, PATH, NOW)
    late, _ = tickets.issue(ANNA, PATH, NOW)

    assert tickets.redeem(ticket, PATH, expires - 0.001) is not None
    assert tickets.redeem(late, PATH, expires) is None


def test_of_too_many_tickets_the_oldest_go():
    tickets = Tickets(limit=2)
    first, second, third = (tickets.issue(ANNA, PATH, NOW)[0] for _ in range(3))

    assert len(tickets) == 2
    assert tickets.redeem(first, PATH, NOW) is None
    assert tickets.redeem(second, PATH, NOW) is not None
    assert tickets.redeem(third, PATH, NOW) is not None


def test_nobody_makes_the_tickets_of_another_go():
    tickets = Tickets(limit=3)
    mine, _ = tickets.issue(Caller("bob"), PATH, NOW)
    theirs = [tickets.issue(ANNA, PATH, NOW)[0] for _ in range(10)]

    assert len(tickets) == 3
    assert tickets.redeem(mine, PATH, NOW) is not None
    alive = [tickets.redeem(ticket, PATH, NOW) is not None for ticket in theirs]
    assert alive == [False] * 8 + [True] * 2


def test_expired_tickets_leave_when_the_next_one_comes():
    tickets = Tickets()
    for _ in range(5):
        tickets.issue(ANNA, PATH, NOW)
    tickets.issue(ANNA, PATH, NOW + LIFETIME)

    assert len(tickets) == 1


@given(st.text())
def test_nothing_but_an_issued_ticket_opens_anything(text):
    tickets = Tickets()
    tickets.issue(ANNA, PATH, NOW)

    assert tickets.redeem(text, PATH, NOW) is None
    assert len(tickets) == 1

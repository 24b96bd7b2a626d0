"""Errors: the tree that is drawn in errors.py is the tree there is."""

import re

from gateway import errors
from gateway.client_errors import ClientError
from gateway.errors import GatewayError
from gateway.upstream_errors import UpstreamError


BRANCH = re.compile(r" {4}(?P<twigs>[ │├└─]*)(?P<name>[A-Z]\w+)(?: +(?P<status>\d{3}))?(?: |$)")


def drawn():
    """Yield (parent, name, status) of each class in the drawing; a status may be left out."""
    path = []
    for branch in filter(None, map(BRANCH.match, errors.__doc__.splitlines())):
        depth = (len(branch["twigs"]) + 3) // 4
        path[depth:] = [branch["name"]]
        yield path[depth - 1] if depth else None, branch["name"], branch["status"]


def below(root):
    """Yield each class below `root`."""
    for child in root.__subclasses__():
        yield child
        yield from below(child)


def test_the_drawing_has_every_class_below_its_parent():
    lines = {(parent, name) for parent, name, _ in drawn()}

    found = {(error.__base__.__name__, error.__name__) for error in below(GatewayError)}
    assert lines == found | {(None, "GatewayError")}


def test_a_status_that_is_drawn_is_the_one_that_is_sent():
    classes = {error.__name__: error for error in (GatewayError, *below(GatewayError))}

    statuses = [(classes[name].status, status) for _, name, status in drawn() if status]
    assert len(statuses) > 20
    assert all(str(sent) == status for sent, status in statuses)


def test_each_branch_stands_in_a_module_of_its_own():
    for root in (ClientError, UpstreamError):
        assert {error.__module__ for error in below(root)} == {root.__module__}

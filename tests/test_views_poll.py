"""catch_up: what there is of a log, in one answer."""

import orjson
import pytest

from gateway._sseparse import Batch
from gateway.eventlog import EventLog, State
from gateway.views import portion
from gateway.views.poll import catch_up
from tests.view_scenes import Client, Messages, PartlySecret, ViewScene


A, B, C = b"data: 1\n\n", b"event: note\ndata: 2\n\n", b"data: [3,\ndata: 4]\n\n"


def poll(scene: ViewScene, cursor: int = 0, **options) -> Client:
    client = Client()
    catch_up(scene.live, client.reply, cursor=cursor, **options)
    assert client.whole
    return client


class Shared(EventLog):
    """A log that all callers may read."""

    shared = True


def filled(*, shared: bool = False) -> ViewScene:
    scene = ViewScene()
    if shared:
        scene.replace_log(Shared("shared", "aaaabbbb"))
    scene.publish(A, B)
    scene.publish(C)
    return scene


@pytest.mark.parametrize(
    ("cursor", "body"),
    list(enumerate([b"[1,2,[3,\n4]]", b"[2,[3,\n4]]", b"[[3,\n4]]", b"[]"])),
)
def test_all_that_follows_the_cursor_comes_in_an_array(cursor, body):
    scene = filled()

    client = poll(scene, cursor)

    assert client.status == 200
    assert client.body == body
    assert client.headers["content-type"] == "application/json"
    assert client.headers["content-length"] == str(len(body))
    assert client.headers["stream-next-offset"] == scene.id(3)
    assert client.headers["stream-up-to-date"] == "true"
    assert "stream-closed" not in client.headers
    assert client.headers["x-content-type-options"] == "nosniff"
    assert client.headers["cross-origin-resource-policy"] == "same-origin"


def test_the_end_of_a_closed_log_is_told():
    scene = filled()
    scene.live.close(State.FINISHED, "finished")

    for cursor in (0, 3):
        assert poll(scene, cursor).headers["stream-closed"] == "true"


def test_much_comes_in_portions_and_only_the_last_is_up_to_date(monkeypatch):
    monkeypatch.setattr(portion, "PORTION", len(A) + 1)
    scene = ViewScene()
    scene.publish(*[b"data: %d\n\n" % n for n in range(5)])
    scene.live.close(State.FINISHED, "finished")

    cursor, got, told = 0, [], []
    while cursor < 5:
        client = poll(scene, cursor)
        got.append(orjson.loads(client.body))
        told.append(("stream-up-to-date" in client.headers, "stream-closed" in client.headers))
        cursor = scene.live.log.locate(client.headers["stream-next-offset"])

    assert got == [[0, 1], [2, 3], [4]]
    assert told == [(False, False), (False, False), (True, True)]


def test_an_entry_larger_than_a_portion_comes_whole(monkeypatch):
    monkeypatch.setattr(portion, "PORTION", 1)
    scene = filled()

    assert [poll(scene, n).body for n in range(3)] == [b"[1]", b"[2]", b"[[3,\n4]]"]


def test_bytes_come_as_they_were_written():
    scene = ViewScene()
    scene.replace_log(Messages("application/octet-stream"))
    for number, body in enumerate([b"\x00\n\n", b"\r\n\xff"], 1):
        scene.live.publish(Batch(body, number, 1))

    client = poll(scene)

    assert client.body == b"\x00\n\n\r\n\xff"
    assert client.headers["content-type"] == "application/octet-stream"
    nothing = poll(scene, 2)
    assert (nothing.body, nothing.headers["content-length"]) == (b"", "0")
    assert nothing.headers["content-type"] == "application/octet-stream"


def test_what_people_wrote_cannot_run_as_a_page_of_ours():
    scene = ViewScene()
    scene.replace_log(Messages("text/html"))
    scene.live.publish(Batch(b"<script>", 1, 1))

    assert poll(scene).headers["content-security-policy"] == "default-src 'none'; sandbox"


# Caches.


def test_an_answer_with_entries_may_be_cached_and_one_without_may_not():
    scene = filled(shared=True)

    assert poll(scene).headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
    assert poll(scene).headers["vary"] == "accept"
    assert poll(scene, 3).headers["cache-control"] == "no-store"


def test_what_not_everybody_may_see_is_not_cached():
    mine = filled()  # a generation: only by its id one knows it, and caches know ids
    ours = ViewScene()
    ours.replace_log(PartlySecret("x", "aaaabbbb"))
    ours.live.log.shared = True
    ours.publish(b'data: "secret"\n\n')
    ours.publish(A)

    answers = [poll(mine), poll(ours), poll(ours, subject="friend")]

    assert [answer.body for answer in answers[1:]] == [b"[1]", b'["secret",1]']
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}


def test_nobody_is_sent_what_they_have():
    scene = filled(shared=True)
    first = poll(scene).headers
    tag = first["etag"]

    again = poll(scene, if_none_match=b'"other", W/' + tag.encode())

    assert again.status == 304
    assert again.wire.parts[2] == b""
    assert again.headers["etag"] == tag
    assert again.headers["cache-control"] == first["cache-control"]
    assert again.headers["vary"] == first["vary"]
    assert again.headers["stream-next-offset"] == scene.id(3)


def test_a_tag_is_of_one_log_one_range_and_one_end():
    scene, other = filled(), filled()
    tags = [poll(scene).headers["etag"], poll(scene, 1).headers["etag"]]
    tags.append(poll(other).headers["etag"])
    scene.publish(A)
    tags.append(poll(scene).headers["etag"])
    scene.live.close(State.FINISHED, "finished")
    tags.append(poll(scene).headers["etag"])

    assert len(set(tags)) == len(tags)
    assert poll(scene, if_none_match=tags[-2].encode()).status == 200


def test_the_tail_as_it_is_now_has_no_tag_and_no_entries():
    scene = filled(shared=True)

    client = poll(scene, 3, now=True, if_none_match=b"*")

    assert client.body == b"[]"
    assert client.headers["cache-control"] == "no-store"
    assert client.headers["stream-up-to-date"] == "true"
    assert "etag" not in client.headers


# The log.


def test_a_generation_goes_on_as_long_as_somebody_polls():
    scene = ViewScene(grace=0.0, patience=60.0)
    scene.publish(A)

    for _ in range(5):
        poll(scene)
        scene.hub.loop.wind(59)
    assert scene.producer.told == []
    scene.hub.loop.wind(1)

    assert scene.producer.told == ["cancel: disconnect"]


def test_what_the_route_adds_is_in_the_head():
    assert poll(filled(), fields=b"x-more: 1\r\n").headers["x-more"] == "1"

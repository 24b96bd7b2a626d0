from gateway.names import DRAWN, EPOCH_LENGTH, ID_LENGTH, draw


def test_names_are_of_base32_and_no_two_are_alike():
    drawn = draw() + draw()

    ids, epochs = zip(*drawn, strict=True)
    assert len(set(ids)) == len(set(epochs)) == 2 * DRAWN
    assert {len(id) for id in ids} == {len("gen_") + ID_LENGTH}
    assert {len(epoch) for epoch in epochs} == {EPOCH_LENGTH}
    assert all(id.startswith("gen_") for id in ids)
    said = "".join(id.removeprefix("gen_") for id in ids) + "".join(epochs)
    assert set(said) == set("abcdefghijklmnopqrstuvwxyz234567")

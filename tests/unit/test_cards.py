import tomllib

import pytest
import tomli_w

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import data_folder
from gahb_bench.sets.cards import Card, fingerprint, load_card, write_card

CARDS = sorted(path.stem for path in data_folder().glob("*.toml"))


@pytest.mark.parametrize("name", CARDS)
def test_cards_describe_the_images_that_are_made(name):
    load_card(name).check()


@pytest.mark.parametrize("name", CARDS)
def test_cards_read_back_equal(name):
    card = load_card(name)
    text = write_card(card)
    assert Card(**tomllib.loads(text)) == card
    assert text == (data_folder() / f"{name}.toml").read_text(), "python datasets/make_cards.py writes it again"


@pytest.mark.parametrize("title", ['Disks of 5" and \\"more\\"', "a\nb = 1\t\x00", "ünï ☃"])
def test_any_title_reads_back_equal(title):
    card = load_card("disks-64").model_copy(update={"title": title})
    assert Card(**tomllib.loads(write_card(card))) == card


def test_the_calpha_cards_are_there():
    assert {f"calpha-{alpha}-{size}" for alpha in (1, 2, 3) for size in (64, 128)} <= set(CARDS)


def test_a_fingerprint_of_colour_images_looks_at_every_channel():
    colour = gb.family("coloured:of=(calpha:size=16)")
    images = colour.sample(range(4)).images
    found = fingerprint(colour.spec, "test", 0, 4)
    seen = [(image, row // 16, row % 16, column) for image, row, column, _ in found.pixels]
    assert [place[1] for place in seen] == [0, 1, 2]
    assert [pixel[-1] for pixel in found.pixels] == pytest.approx([float(images[place]) for place in seen], abs=1e-6)
    assert found.mean == pytest.approx(float(images.mean()), abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value"), [("mean", 0.1), ("pixels", [[0, 0, 0, 0.5]]), ("noise", [[0, 0, 0, 0.0]]), ("variance", 0.0668)]
)
def test_a_wrong_fingerprint_is_found(tmp_path, field, value):
    content = tomllib.loads((data_folder() / "calpha-2-64.toml").read_text())
    content["fingerprint"][field] = value
    path = tmp_path / "card.toml"
    path.write_text(tomli_w.dumps(content))
    with pytest.raises(UsageError, match=field):
        load_card(path).check()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a = ", "is not a card"), ('title = "x"', "spec: Field required"), ("\x00", "is not a card")],
)
def test_what_is_not_a_card_is_refused(tmp_path, text, message):
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_card(tmp_path / "card.toml")


def test_an_unknown_card_lists_the_shipped_ones():
    with pytest.raises(UsageError, match="calpha-1-64"):
        load_card("calpha-9-64")


def test_a_path_that_is_not_there_is_not_the_shipped_card(tmp_path):
    for path in ("/no/such/path/calpha-2-64.toml", tmp_path / "calpha-2-64.toml", "./calpha-2-64"):
        with pytest.raises(UsageError, match="there is no card"):
            load_card(path)
    assert load_card("calpha-2-64.toml") == load_card("calpha-2-64")


@pytest.mark.parametrize("field", ["mean", "pixels"])
def test_nan_in_a_fingerprint_fails(field):
    card = load_card("calpha-2-64")
    value = [(0, 0, 0, float("nan")), *card.fingerprint.pixels[1:]] if field == "pixels" else float("nan")
    spoilt = card.model_copy(update={"fingerprint": card.fingerprint.model_copy(update={field: value})})
    with pytest.raises(UsageError, match=field):
        spoilt.check()

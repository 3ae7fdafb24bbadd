import pytest

from millrace.domain.media.languages import language_code, language_name, language_tag, same_language


@pytest.mark.parametrize(
    ("said", "tag", "name", "code"),
    [
        ("eng", "en", "English", "eng"),
        ("en", "en", "English", "eng"),
        ("ENG", "en", "English", "eng"),
        ("ger", "de", "German", "deu"),
        ("deu", "de", "German", "deu"),
        ("pt-BR", "pt-BR", "Portuguese", "por"),
        ("fil", "fil", "fil", "fil"),
        ("zxx-x-odd", "zxx-x-odd", "zxx-x-odd", "zxx"),
        (None, "und", "Unknown", None),
        ("", "und", "Unknown", None),
        ("und", "und", "Unknown", None),
        ("qq", "qq", "qq", None),
    ],
)
def test_a_language_has_a_tag_a_name_and_a_code(said: str | None, tag: str, name: str, code: str | None) -> None:
    assert (language_tag(said), language_name(said), language_code(said)) == (tag, name, code)


def test_one_language_has_many_names() -> None:
    assert same_language("ger", "de-AT")
    assert same_language("fra", "fre")
    assert same_language(None, "und")
    assert not same_language("eng", None)
    assert not same_language("nor", "nld")

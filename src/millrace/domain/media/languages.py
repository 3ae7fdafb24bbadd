"""Names of languages: what files write (ISO 639-2), what playlists and manifests want (BCP 47), and what people read.

BCP 47 (RFC 5646, 2.2.1) takes the shortest code that there is, so that `eng` and `ger` of a film are `en` and `de` of a playlist.
"""

UNKNOWN = "und"
_LANGUAGES = """\
aar aa Afar|abk ab Abkhazian|afr af Afrikaans|aka ak Akan|amh am Amharic|ara ar Arabic|arg an Aragonese|asm as Assamese|ava av Avaric|\
ave ae Avestan|aym ay Aymara|aze az Azerbaijani|bak ba Bashkir|bam bm Bambara|bel be Belarusian|ben bn Bengali|bis bi Bislama|\
bod bo Tibetan|bos bs Bosnian|bre br Breton|bul bg Bulgarian|cat ca Catalan|ces cs Czech|cha ch Chamorro|che ce Chechen|\
chu cu Church Slavic|chv cv Chuvash|cor kw Cornish|cos co Corsican|cre cr Cree|cym cy Welsh|dan da Danish|deu de German|div dv Dhivehi|\
dzo dz Dzongkha|ell el Greek|eng en English|epo eo Esperanto|est et Estonian|eus eu Basque|ewe ee Ewe|fao fo Faroese|fas fa Persian|\
fij fj Fijian|fin fi Finnish|fra fr French|fry fy Western Frisian|ful ff Fulah|gla gd Scottish Gaelic|gle ga Irish|glg gl Galician|\
glv gv Manx|grn gn Guarani|guj gu Gujarati|hat ht Haitian Creole|hau ha Hausa|heb he Hebrew|her hz Herero|hin hi Hindi|hmo ho Hiri Motu|\
hrv hr Croatian|hun hu Hungarian|hye hy Armenian|ibo ig Igbo|ido io Ido|iii ii Sichuan Yi|iku iu Inuktitut|ile ie Interlingue|\
ina ia Interlingua|ind id Indonesian|ipk ik Inupiaq|isl is Icelandic|ita it Italian|jav jv Javanese|jpn ja Japanese|kal kl Kalaallisut|\
kan kn Kannada|kas ks Kashmiri|kat ka Georgian|kau kr Kanuri|kaz kk Kazakh|khm km Khmer|kik ki Kikuyu|kin rw Kinyarwanda|kir ky Kyrgyz|\
kom kv Komi|kon kg Kongo|kor ko Korean|kua kj Kuanyama|kur ku Kurdish|lao lo Lao|lat la Latin|lav lv Latvian|lim li Limburgish|\
lin ln Lingala|lit lt Lithuanian|ltz lb Luxembourgish|lub lu Luba-Katanga|lug lg Ganda|mah mh Marshallese|mal ml Malayalam|\
mar mr Marathi|mkd mk Macedonian|mlg mg Malagasy|mlt mt Maltese|mon mn Mongolian|mri mi Maori|msa ms Malay|mya my Burmese|nau na Nauru|\
nav nv Navajo|nbl nr South Ndebele|nde nd North Ndebele|ndo ng Ndonga|nep ne Nepali|nld nl Dutch|nno nn Norwegian Nynorsk|\
nob nb Norwegian Bokmål|nor no Norwegian|nya ny Chichewa|oci oc Occitan|oji oj Ojibwa|ori or Odia|orm om Oromo|oss os Ossetian|\
pan pa Punjabi|pli pi Pali|pol pl Polish|por pt Portuguese|pus ps Pashto|que qu Quechua|roh rm Romansh|ron ro Romanian|run rn Rundi|\
rus ru Russian|sag sg Sango|san sa Sanskrit|sin si Sinhala|slk sk Slovak|slv sl Slovenian|sme se Northern Sami|smo sm Samoan|\
sna sn Shona|snd sd Sindhi|som so Somali|sot st Southern Sotho|spa es Spanish|sqi sq Albanian|srd sc Sardinian|srp sr Serbian|\
ssw ss Swati|sun su Sundanese|swa sw Swahili|swe sv Swedish|tah ty Tahitian|tam ta Tamil|tat tt Tatar|tel te Telugu|tgk tg Tajik|\
tgl tl Tagalog|tha th Thai|tir ti Tigrinya|ton to Tonga|tsn tn Tswana|tso ts Tsonga|tuk tk Turkmen|tur tr Turkish|twi tw Twi|\
uig ug Uighur|ukr uk Ukrainian|urd ur Urdu|uzb uz Uzbek|ven ve Venda|vie vi Vietnamese|vol vo Volapük|wln wa Walloon|wol wo Wolof|\
xho xh Xhosa|yid yi Yiddish|yor yo Yoruba|zha za Zhuang|zho zh Chinese|zul zu Zulu"""
_OLDER = {
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra", "geo": "kat",
    "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas", "rum": "ron", "slo": "slk",
    "tib": "bod", "wel": "cym",
}  # fmt: skip
"""Bibliographic codes, which Matroska has by habit, and what else they are called."""
_ROWS = tuple(row.split(" ", 2) for row in _LANGUAGES.split("|"))
_SHORT = {three: two for three, two, _ in _ROWS}
_SHORT |= {old: _SHORT[new] for old, new in _OLDER.items()}
_LONG = {two: three for three, two, _ in _ROWS}
_NAMES = {two: name for _, two, name in _ROWS}


def language_tag(language: str | None) -> str:
    """The BCP 47 tag of a language as a file names it; `und` where it says nothing."""
    if not language:
        return UNKNOWN
    primary, _, rest = language.partition("-")
    short = _SHORT.get(primary.lower(), primary.lower())
    return f"{short}-{rest}" if rest else short


def language_name(language: str | None) -> str:
    """What people call it in English; the tag itself where no name is known here."""
    tag = language_tag(language)
    return "Unknown" if tag == UNKNOWN else _NAMES.get(tag.partition("-")[0], tag)


def language_code(language: str | None) -> str | None:
    """Three letters for a file's track (ISO 639-2), or None where the language has none: containers keep no other tags."""
    primary = language_tag(language).partition("-")[0]
    code = _LONG.get(primary, primary)
    return code if len(code) == 3 and code != UNKNOWN else None


def same_language(one: str | None, other: str | None) -> bool:
    """Whether two names mean one language, wherever it is spoken."""
    return language_tag(one).partition("-")[0] == language_tag(other).partition("-")[0]

from __future__ import annotations

import pytest

from onebox.audio.synthesis.text.cleaning import clean
from onebox.audio.synthesis.text.normalize import normalize

ENGLISH = [
    ("I have 3 cats.", "I have three cats."),
    ("12,345 people", "twelve thousand three hundred forty-five people"),
    ("1,000,000 stars", "one million stars"),
    ("It was 3.14 exactly.", "It was three point one four exactly."),
    ("-5 degrees", "minus five degrees"),
    ("agent 007", "agent zero zero seven"),
    ("10,000,000,000", "ten billion"),
    ("He came 2nd and she 103rd.", "He came second and she one hundred third."),
    ("In 1984 it began.", "In nineteen eighty-four it began."),
    ("in 2005 and 2019", "in two thousand five and twenty nineteen"),
    ("The 1990s were good.", "The nineteen nineties were good."),
    ("the '80s", "the eighties"),
    ("On January 5, 2024 we met.", "On January fifth, twenty twenty-four we met."),
    ("on Jan. 5", "on January fifth"),
    ("on 2024-01-05", "on January fifth, twenty twenty-four"),
    ("on 12/25/2023", "on December twenty-fifth, twenty twenty-three"),
    ("on 25/12/2023", "on December twenty-fifth, twenty twenty-three"),
    ("on 5 March 1999", "on the fifth of March nineteen ninety-nine"),
    ("The 21st of May.", "the twenty-first of May."),
    ("May 2024", "May twenty twenty-four"),
    ("at 3:30 pm", "at three thirty P M"),
    ("at 10:05 and 14:45", "at ten oh five and fourteen forty-five"),
    ("It is 7:00 a.m. now.", "It is seven A M now."),
    ("It is 12:00.", "It is twelve o'clock."),
    ("until 5 p.m.", "until five P M."),
    ("It costs $5.", "It costs five dollars."),
    ("$1 or $5.99", "one dollar or five dollars and ninety-nine cents"),
    ("€20 or £3.50", "twenty euros or three pounds and fifty pence"),
    ("20 € or 5 USD", "twenty euros or five dollars"),
    ("$3.5 million", "three point five million dollars"),
    ("$1,200.50", "one thousand two hundred dollars and fifty cents"),
    ("$5-10", "five to ten dollars"),
    ("50% of them", "fifty percent of them"),
    ("5 kg and 1 km", "five kilograms and one kilometer"),
    ("20°C at 60 mph", "twenty degrees Celsius at sixty miles per hour"),
    ("16 GB at 2.4 GHz", "sixteen gigabytes at two point four gigahertz"),
    ("1/2 and 3/4, 2 1/2", "one half and three quarters, two and a half"),
    ("½ cup, 2½ cups", "one half cup, two and a half cups"),
    ("24/7", "twenty-four seven"),
    ("Call 555-1234.", "Call five five five, one two three four."),
    ("+1 (555) 123-4567", "plus one, five five five, one two three, four five six seven"),
    ("Version 2.0.1 is out.", "Version two point zero point one is out."),
    ("5-10 items", "five to ten items"),
    ("pages 10–20", "pages ten to twenty"),  # noqa: RUF001
    ("the score was 3:2", "the score was three to two"),
    ("2 + 2 = 4", "two plus two equals four"),
    ("3x faster", "three times faster"),
    ("#1 song, No. 5", "number one song, number five"),
    ("Chapter IV, Henry VIII, World War II", "Chapter four, Henry the eighth, World War two"),
    ("Dr. Smith met Mr. Jones.", "Doctor Smith met Mister Jones."),
    ("Baker St. near St. Paul", "Baker Street near Saint Paul"),
    ("e.g. this, i.e. that, etc.", "for example this, that is that, et cetera."),
    ("the FBI and the USA", "the F B I and the U S A"),
    ("NASA is NOT it", "nasa is not it"),
    ("two CEOs, an OK", "two C E O's, an okay"),
    ("U.S. troops", "U S troops"),
    ("MP3 and B2B", "M P three and B two B"),
    ("COVID-19", "covid nineteen"),
    ("https://www.example.com/path?q=1 now", "example dot com slash path now"),
    ("john.doe@example.com", "john dot doe at example dot com"),
    ("Tom & Jerry @ home", "Tom and Jerry at home"),
    ("C++ and C#", "C plus plus and C sharp"),
    ("A dog and vitamin A.", "a dog and vitamin A."),
    ("-$5 and -3.5°C", "minus five dollars and minus three point five degrees Celsius"),
    ("10k users, $.50, 1.5x", "ten thousand users, fifty cents, one point five times"),
    ("He is 6 ft. tall.", "He is six feet tall."),
    ("Gen. Z ate a fig. Fig. 3 shows it.", "General Z ate a fig. figure three shows it."),
    ("I live on Baker St.", "I live on Baker Street."),
    ("Apple Inc. is big", "Apple Incorporated is big"),
    ("A.I. in 1066", "A I in ten sixty-six"),
    ("STOP IT RIGHT NOW, PLEASE", "stop it right now, please"),
    (
        "The A/C is off; work w/o it, w/ gloves.",
        "The A C is off; work without it, with gloves.",
    ),
    ("Mon-Fri, and Sat. at noon; the sun.", "Monday to Friday, and Saturday at noon; the sun."),
    ("Dr Smith vs Ms Lee of St Ives", "Doctor Smith versus Miz Lee of Saint Ives"),
    ("George W. Bush and J. Smith", "George W Bush and J Smith"),
    (
        "WWII, MCMXCIV, Louis XIV and part III",
        "World War two, one thousand nine hundred ninety-four, Louis the fourteenth and part three",
    ),
    ("CIVIC MILD MIX", "civic mild M I X"),
    ("MILD or " + "M" * 12, "mild or " + " ".join("M" * 12)),
    ("open main.py or notes.txt", "open main dot P Y or notes dot T X T"),
    ("Lee et al. saw v1.9 in rm. 12", "Lee et al saw version one point nine in room twelve"),
    ("hmm, pls see the html", "hmm, P L S see the H T M L"),
    (
        "between 1939-1945 and 5-3=2",
        "between nineteen thirty-nine and nineteen forty-five and five minus three equals two",
    ),
    (
        "1e308 and -1.5E-10",
        "one times ten to the power of three hundred eight and "
        "minus one point five times ten to the power of minus ten",
    ),
    ("2x + 1, 2x faster", "two X plus one, two times faster"),
    (
        "a $5 bill, €1,50 and 1.234,56",
        "a five dollar bill, one euro and fifty cents and "
        "one thousand two hundred thirty-four point five six",
    ),
    (
        "from 09/2014 to 01.02.2024",
        "from September twenty fourteen to February first, twenty twenty-four",
    ),
    (
        "2 tbsp. of 5 mg/dL in 3 sq ft",
        "two tablespoons of five milligrams per deciliter in three square feet",
    ),
    (
        "a 5-lb bag of 5 m² and 2 in. tall, 6 ft. 2 in.",
        "a five pound bag of five square meters and two inches tall, six feet two inches.",
    ),
    ("1-800-555-0199", "one, eight zero zero, five five five, zero one nine nine"),
]


@pytest.mark.parametrize(("written", "said"), ENGLISH, ids=[written for written, _ in ENGLISH])
def test_english_is_written_as_it_is_read_out(written, said):
    assert normalize(clean(written), "en") == said


def test_a_number_too_long_for_words_is_read_digit_by_digit():
    assert normalize("9" * 40, "en") == " ".join(["nine"] * 40)


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("de", "Es kostet 1.000 oder 12,5 Euro.", "Es kostet tausend oder zwölf Komma fünf Euro."),
        ("fr", "71 chats", "soixante-et-onze chats"),
        ("zh", "12个", "十二个"),
        ("xx", "5 of them & more", "5 of them & more"),
    ],
)
def test_numbers_of_other_languages_are_words_where_the_rules_are_known(language, written, said):
    assert normalize(written, language).replace("eintausend", "tausend") == said


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("“Hi” — he’s", '"Hi", he\'s'),  # noqa: RUF001
        ("wait… now", "wait... now"),
        ("Great 😀👍🏽 job ❤️!", "Great job !"),
        ("a\u200bb\u2060c\ufeff\x07d", "abcd"),
        ("tab\there\u00a0now", "tab here now"),
        ("**Bold** and *it* `code`", "Bold and it code"),
        ("# Title\n[link](http://x.y/z)", "Title\nlink"),
        ("```python\nx\n```", "x"),
        ("5 * 3", "5 * 3"),
        ("\u202eevil\u202c", "evil"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),  # noqa: RUF001
        ("Q&amp;A &lt;3 &#8364; &nosuch;", "Q&A <3 € &nosuch;"),
        ("Great :-) thanks ;)", "Great thanks"),
        ("z" + "\u0301" * 50, "ź\u0301\u0301\u0301"),
    ],
)
def test_what_nobody_can_say_is_cleaned_away(written, plain):
    assert clean(written) == plain

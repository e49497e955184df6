"""Words behind the signs and short forms of English texts."""

# ruff: noqa: RUF001 - mathematical signs look like others.

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

MONTHS: Mapping[str, str] = {
    "jan": "January",
    "feb": "February",
    "mar": "March",
    "apr": "April",
    "may": "May",
    "jun": "June",
    "jul": "July",
    "aug": "August",
    "sep": "September",
    "sept": "September",
    "oct": "October",
    "nov": "November",
    "dec": "December",
}
MONTH_NAMES = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

# Sign or code: one, several, a hundredth, several of them.
MONEY: Mapping[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
MONEY_CODES: Mapping[str, str] = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
SCALES: Mapping[str, str] = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "b": "billion",
    "bn": "billion",
    "t": "trillion",
}

UNITS: Mapping[str, tuple[str, str]] = {
    "%": ("percent", "percent"),
    "¢": ("cent", "cents"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"),
    "km": ("kilometer", "kilometers"),
    "m": ("meter", "meters"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "nm": ("nanometer", "nanometers"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"),
    "mph": ("mile per hour", "miles per hour"),
    "mi": ("mile", "miles"),
    "ft": ("foot", "feet"),
    "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"),
    "mg": ("milligram", "milligrams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "L": ("liter", "liters"),
    "l": ("liter", "liters"),
    "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"),
    "h": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"),
    "s": ("second", "seconds"),
    "sec": ("second", "seconds"),
    "secs": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "KB": ("kilobyte", "kilobytes"),
    "kB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"),
    "KiB": ("kibibyte", "kibibytes"),
    "MiB": ("mebibyte", "mebibytes"),
    "GiB": ("gibibyte", "gibibytes"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "W": ("watt", "watts"),
    "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"),
    "kWh": ("kilowatt hour", "kilowatt hours"),
    "V": ("volt", "volts"),
    "dB": ("decibel", "decibels"),
    "kcal": ("kilocalorie", "kilocalories"),
    "px": ("pixel", "pixels"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "fps": ("frame per second", "frames per second"),
    "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"),
    "sq ft": ("square foot", "square feet"),
    "sq m": ("square meter", "square meters"),
    "sq mi": ("square mile", "square miles"),
    # As `clean` leaves what has a small figure.
    "m squared": ("square meter", "square meters"),
    "km squared": ("square kilometer", "square kilometers"),
    "cm squared": ("square centimeter", "square centimeters"),
    "m cubed": ("cubic meter", "cubic meters"),
    "cm cubed": ("cubic centimeter", "cubic centimeters"),
    "μm": ("micrometer", "micrometers"),
    "μs": ("microsecond", "microseconds"),
    "μg": ("microgram", "micrograms"),
    "dL": ("deciliter", "deciliters"),
}

# Short forms, without their last point, in small letters: before a name, before a number, and with
# a capital after one.
TITLES: Mapping[str, str] = {
    "dr": "Doctor",
    "mr": "Mister",
    "mrs": "Missus",
    "ms": "Miz",
    "prof": "Professor",
    "rev": "Reverend",
    "gen": "General",
    "capt": "Captain",
    "lt": "Lieutenant",
    "sgt": "Sergeant",
    "col": "Colonel",
    "sen": "Senator",
    "gov": "Governor",
    "mt": "Mount",
}
COUNTED: Mapping[str, str] = {
    "no": "number",
    "nos": "numbers",
    "fig": "figure",
    "figs": "figures",
    "vol": "volume",
    "eq": "equation",
    "ch": "chapter",
    "p": "page",
    "pp": "pages",
    "rm": "room",
    "sec": "section",
}
SUFFIXES: Mapping[str, str] = {
    "jr": "Junior",
    "sr": "Senior",
    "ave": "Avenue",
    "blvd": "Boulevard",
    "rd": "Road",
    "inc": "Incorporated",
    "ltd": "Limited",
    "co": "Company",
    "corp": "Corporation",
}
# Wherever they stand.
ABBREVIATIONS: Mapping[str, str] = {
    "vs": "versus",
    "etc": "et cetera",
    "e.g": "for example",
    "i.e": "that is",
    "a.k.a": "also known as",
    "approx": "approximately",
    "dept": "department",
    "cf": "compare",
}

# Words in capitals that begin a sentence rather than follow a short form.
BEGINNINGS = "A|After|And|As|At|But|For|He|However|I|If|In|It|On|She|So|The|They|This|We"

# Capitals that are said as a word. Others of two and three letters are spelled.
SAID_AS_WORDS = (
    "AIDS ASAP COVID DARPA FIFA GIF JPEG JSON LASER LEGO NASA NATO NASDAQ OPEC PIN POTUS RADAR "
    "RAM ROM SARS SCOTUS SCUBA SIM SONAR SWAT TASER UNESCO UNICEF YAML ZIP A ACT ADD AGO ALL AM "
    "AN AND ANY ARE AS ASK AT BAD BE BIG BUT BUY BY CAN CAR CAT DAY DID DO DOG DON END EYE FAR "
    "FEW FOR FUN GET GO GOD GOT HAD HAS HE HER HEY HIM HIS HOT HOW IF IN IS ITS JOB LET LOT MAN "
    "MAY ME MEN MY NEW NO NOR NOT NOW OF OFF OH OK OLD ON ONE OR OUR OUT OWN PUT RED RUN SAD "
    "SAW SAY SEE SET SHE SIT SO SON TEN THE TO TOO TOP TRY TWO UP USE VERY WAR WAS WAY WE WHY "
    "WIN WON YES YET YOU"
)
ROMAN: Mapping[str, int] = {
    "II": 2,
    "III": 3,
    "IV": 4,
    "V": 5,
    "VI": 6,
    "VII": 7,
    "VIII": 8,
    "IX": 9,
    "X": 10,
    "XI": 11,
    "XII": 12,
    "XIII": 13,
    "XIV": 14,
    "XV": 15,
    "XVI": 16,
    "XVII": 17,
    "XVIII": 18,
    "XIX": 19,
    "XX": 20,
    "XXI": 21,
}
# A Roman number after one of these names says which of them it was; after other words, how many.
REGENTS = (
    "Albert Alexander Alfonso Benedict Catherine Charles Christian Clement Edward Elizabeth "
    "Francis Frederick George Gregory Gustav Harald Henry Innocent Ivan James John Joseph Juan "
    "Leo Leopold Louis Mary Napoleon Nicholas Otto Paul Peter Philip Pius Ramses Richard Robert "
    "Rudolf Umberto Urban Victor Wilhelm William"
)
NUMBERED = (
    "Act Appendix Article Book Chapter Class Division Episode Figure Grade Group Level Mark "
    "Part Phase Scene Section Stage Table Title Type Unit Volume"
)
SYMBOLS: Mapping[str, str] = {
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "%": " percent ",
    "$": " dollar ",
    "€": " euro ",
    "£": " pound ",
    "×": " times ",
    "÷": " divided by ",
    "±": " plus or minus ",
    "≈": " about ",
    "≠": " is not ",
    "≤": " at most ",
    "≥": " at least ",
    "→": " to ",
    "°": " degrees ",
    "/": " slash ",
    "<": " less than ",
    ">": " greater than ",
    "^": " to the power of ",
    "√": " square root of ",
    "π": " pi ",
    "∞": " infinity ",
}


@cache
def words_of(listed: str) -> frozenset[str]:
    return frozenset(listed.split())

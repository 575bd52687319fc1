"""Dates, clock times and durations in words, and stamps told in words.

Stamps are nanoseconds since an epoch that the source chooses. When they look like Unix time (after 2001), clock times
and dates mean the calendar; else only relative times ("two minutes ago", "at second 12") mean something, and moments
are told as seconds since the memory's first stamp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

S = 1_000_000_000
CALENDAR_FROM_NS = 978_307_200 * S
"""2001-01-01 as Unix time: later stamps are calendar time."""

_LAST_NS = 2**63 - 1

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2592000, "year": 31536000}
_ALIASES = {"sec": "second", "s": "second", "min": "minute", "h": "hour", "hr": "hour"}
_ONES = "a one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_COUNTS: dict[str, float] = {word: max(value, 1) for value, word in enumerate(_ONES.split(" "))}
_COUNTS |= {"an": 1, "couple": 2, "few": 3, "half a": 0.5, "half an": 0.5}
_COUNTS |= {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60}
_PARTS = {"morning": (5, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (18, 30)}

_NUMBER = r"(?:\d+(?:\.\d+)?|half an?|(?:a )?(?:couple|few)(?: of)?|" + "|".join(sorted(_COUNTS, key=len)[::-1]) + ")"
_UNIT = r"(?:seconds?|secs?|s|minutes?|mins?|hours?|hrs?|h|days?|weeks?|months?|years?)"
_CLOCK = r"(?:\d{1,2}:\d\d(?::\d\d)?(?: ?[ap]m)?|\d{1,2} ?[ap]m|\d{1,2} o'clock|noon|midday|midnight)"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = (
    rf"(?:\d{{4}}-\d\d?-\d\d?|\d{{1,2}}[./]\d{{1,2}}[./]\d{{4}}|"
    rf"\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH}(?:,? \d{{4}})?|"
    rf"{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?!:)(?:,? \d{{4}})?)"
)
_ABOUT = r"(?:at )?(?:around|about) "
_DAY = rf"(?:today|yesterday|(?:last |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day|{_DATE})"
_PHRASES = (
    r"(?:(?:(?:with)?in|during|over|for) )?(?P<the>the |these |this )?(?:last|past|previous) "
    rf"(?P<n>{_NUMBER} )?(?P<unit>{_UNIT})\b",
    rf"(?:about |around )?(?P<ago>{_NUMBER}) (?P<ago_unit>{_UNIT}) ago\b",
    r"(?:at )?(?:second |t ?= ?)(?P<at>\d+(?:\.\d+)?)\b",
    r"(?:at )?(?P<at_s>\d+(?:\.\d+)?) ?(?:s|secs?|seconds?)\b",
    rf"(?:(?:on|in) (?:the )?)?(?P<part_day>this |last |{_DAY} )(?P<part>morning|afternoon|evening|night)\b",
    r"(?P<tonight>tonight)\b",
    r"this (?P<this_unit>week|month|year)\b",
    rf"(?:on )?(?P<day>{_DAY})(?:,? (?P<about>{_ABOUT})?(?:at )?(?P<day_clock>{_CLOCK}))?(?![\w:])",
    rf"(?P<about2>{_ABOUT})?(?:at )?(?P<clock>{_CLOCK})(?: (?:on |of )?(?P<clock_day>{_DAY}))?(?![\w:])",
    r"at (?P<hour>\d{1,2})(?![\w:.])",
    rf"in (?P<period>{_MONTH}(?: \d{{4}})?|(?:19|20)\d\d)\b",
)
_WITH_DAY = re.compile(
    rf"(?:at )?(?P<clock>{_CLOCK}|\d{{1,2}})(?:,? (?:on |of )?(?P<day>{_DAY}))?|"
    rf"(?:on )?(?P<day_before>{_DAY}),? (?:at )?(?P<clock_after>{_CLOCK}|\d{{1,2}})"
)
_TIME = re.compile(rf"(?<![\w.:])(?:{'|'.join(_PHRASES)})")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time.

    Attributes:
        begin_ns: Its first moment, ns.
        end_ns: Its last moment, ns.
        exact: It is meant as a moment (a clock time), not as a stretch (a day).
    """

    begin_ns: int
    end_ns: int
    exact: bool = False


class TimeNotKnown(Exception):
    """A phrase names a time that cannot be told in this memory; the message says why. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and how stamps and calendar relate.

    Attributes:
        now_ns: Now, ns.
        start_ns: Second 0 where stamps are no calendar time, ns.
        zone: Of clock times and dates.
    """

    now_ns: int
    start_ns: int = 0
    zone: tzinfo = timezone.utc

    @property
    def is_calendar(self) -> bool:
        """Whether stamps look like Unix time."""
        return self.now_ns >= CALENDAR_FROM_NS

    def local(self, stamp_ns: int) -> datetime:
        """A stamp as local date and time."""
        return datetime.fromtimestamp(stamp_ns // S, self.zone).replace(microsecond=stamp_ns % S // 1000)

    def stamp(self, local: datetime) -> int:
        """The stamp of a local date and time without zone; whole microseconds."""
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (local.replace(tzinfo=self.zone) - epoch) // timedelta(microseconds=1) * 1000

    def tell(self, stamp_ns: int) -> str:
        """A moment in words: "10:15:03", with the date when that is not today's, or "at 12.3 s"."""
        if not self.is_calendar:
            return f"at {(stamp_ns - self.start_ns) / S:.1f} s"
        when, now = self.local(stamp_ns), self.local(self.now_ns)
        return f"{when:%H:%M:%S}" if when.date() == now.date() else f"{when:%Y-%m-%d %H:%M:%S}"

    def ago(self, stamp_ns: int) -> str:
        """How long ago in words: "12 s ago"."""
        seconds = (self.now_ns - stamp_ns) / S
        if abs(seconds) < 1:
            return "just now"
        for size, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
            if abs(seconds) >= 2 * size or size == 1:
                return f"{abs(seconds) / size:.0f} {name} {'ago' if seconds > 0 else 'from now'}"
        raise AssertionError("seconds are always told")

    def when(self, stamp_ns: int) -> str:
        """A moment with its distance from now: "at 12.3 s, 5 s ago"."""
        moment = self.tell(stamp_ns)
        return f"{moment if moment.startswith('at ') else 'at ' + moment}, {self.ago(stamp_ns)}"


def find_time(text: str, clock: Clock) -> tuple[Span | None, str]:
    """The first phrase of time in a plain text, and the text without it.

    Raises:
        TimeNotKnown: The phrase means nothing in this memory.
    """
    found = _TIME.search(text)
    if found is None:
        return None, text
    return _span(found, clock), " ".join((text[: found.start()] + " " + text[found.end() :]).split())


def read_time(text: str, clock: Clock) -> Span | None:
    """A phrase that is a time and nothing else; None when it is something else.

    Raises:
        TimeNotKnown: The phrase means nothing in this memory.
    """
    text = text.strip()
    found = _TIME.fullmatch(text) or (_TIME.fullmatch(f"at {text}") if text.isdecimal() else None)
    found = found or _TIME.fullmatch(f"in {text}")
    if text == "now":
        return Span(clock.now_ns, clock.now_ns, exact=True)
    return None if found is None else _span(found, clock)


def of_one_day(first: str, last: str, clock: Clock) -> tuple[str, str]:
    """Both ends of a span, where a day that is said with one of them is meant for both ("8:00", "9:00 yesterday")."""
    ends = [_WITH_DAY.fullmatch(text.strip()) for text in (first, last)]
    days = [end and (end["day"] or end["day_before"]) for end in ends]
    clocks = [end and (end["clock"] or end["clock_after"]) for end in ends]
    if not clocks[0] or not clocks[1] or bool(days[0]) == bool(days[1]):
        return first, last
    day = days[0] or days[1]
    made = [f"{time}:00 {day}" if time.isdecimal() else f"{time} {day}" for time in clocks if time]
    try:
        begin, end = read_time(made[0], clock), read_time(made[1], clock)
    except TimeNotKnown:
        return first, last
    if begin is None or end is None or end.end_ns < begin.begin_ns:  # "from 23:00 yesterday to 1:00"
        return first, last
    return made[0], made[1]


def day_before(words: str, first: str, last: str, clock: Clock) -> tuple[str, str, str]:
    """Words and both ends of a span, with the day that the words end with at both ends ("... yesterday between 8:00 and
    9:00"), where they name none themselves.
    """
    found = re.search(rf"(?: on)? (?P<day>{_DAY})$", words)
    if found is not None:
        begin, end = of_one_day(f"{first} {found['day']}", last, clock)
        if end != last:
            return words[: found.start()], begin, end
    return (words, *of_one_day(first, last, clock))


def _span(found: re.Match[str], clock: Clock) -> Span:
    group = found.groupdict()
    if group["ago"]:
        length = _length(group["ago"], group["ago_unit"])
        if clock.is_calendar and _unit(group["ago_unit"]) == "day":
            return _whole_day(clock.local(max(clock.now_ns - length, 0)), clock)
        half = min(length, _length("one", group["ago_unit"])) // 2  # "2 minutes ago" is good to half a minute
        return _clamped(clock.now_ns - length - half, min(clock.now_ns - length + half, clock.now_ns), True)
    if group["unit"] and _is_duration(group):
        return _clamped(clock.now_ns - _length(group["n"] or "one", group["unit"]), clock.now_ns)
    seconds = group["at"] or group["at_s"]
    if seconds:
        at = clock.start_ns + int(min(float(seconds), 1e10) * S)
        return _clamped(at - S // 2, at + S // 2, True)
    if not clock.is_calendar:
        raise TimeNotKnown(
            f"the stamps of this memory are no calendar time, so {found[0].strip()!r} means nothing here; "
            "ask by seconds ('at second 12', 'in the last 30 seconds')"
        )
    try:
        return _calendar(group, clock)
    except (ValueError, OverflowError) as error:
        raise TimeNotKnown(f"{found[0].strip()!r} is no date or time that I understand") from error


def _is_duration(group: dict[str, Any]) -> bool:
    """Whether it is a length: "in the last week" is the past seven days; "last week" is the one of the calendar."""
    return bool(group["n"] or group["the"] or _unit(group["unit"]) in ("second", "minute", "hour"))


def _unit(word: str) -> str:
    word = word if word == "s" else word.removesuffix("s")
    return _ALIASES.get(word, word)


def _length(number: str, unit: str) -> int:
    """A duration, ns."""
    number = number.strip()
    if number not in _COUNTS:
        number = number.removeprefix("a ").removesuffix(" of")
    count = float(_COUNTS[number]) if number in _COUNTS else float(number)
    return int(min(count * _UNITS[_unit(unit)], 1e10) * S)


def _clamped(begin: int, end: int, exact: bool = False) -> Span:
    return Span(min(max(begin, 0), _LAST_NS), min(max(end, 0), _LAST_NS), exact)


def _calendar(group: dict[str, Any], clock: Clock) -> Span:
    today = clock.local(clock.now_ns).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if group["unit"] or group["this_unit"]:
        return _period(today, _unit(group["unit"] or group["this_unit"]), bool(group["unit"]), clock)
    if group["tonight"] or group["part"]:
        day, part = (group["part_day"] or "this").strip(), group["part"] or "night"
        base = today - timedelta(days=day == "last")
        if day not in ("this", "last"):
            base = _parse(day, clock)[0].replace(hour=0, minute=0, second=0, microsecond=0)
        begin, end = _PARTS[part]
        return _between(base + timedelta(hours=begin), base + timedelta(hours=end), clock)
    time = group["clock"] or group["day_clock"] or (f"{group['hour']}:00" if group["hour"] else "")
    day = (group["day"] or group["clock_day"] or group["period"] or "").removeprefix("this ")
    when, period = _parse(f"{day} {time}".strip(), clock)
    if time:
        margin = timedelta(minutes=15) if group["about"] or group["about2"] else timedelta(0)
        fine = timedelta(seconds=1) if time.count(":") == 2 else timedelta(minutes=1)
        return _between(when - margin, when + margin + fine, clock, True)
    if period == "month":
        month = when.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return _between(month, (month + timedelta(days=32)).replace(day=1), clock)
    if period == "year":
        return _between(datetime(when.year, 1, 1), datetime(when.year + 1, 1, 1), clock)
    return _whole_day(when, clock)


def _whole_day(when: datetime, clock: Clock) -> Span:
    midnight = when.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return _between(midnight, midnight + timedelta(days=1), clock)


def _period(today: datetime, unit: str, previous: bool, clock: Clock) -> Span:
    """This or the previous day, week, month or year of the calendar."""
    if unit == "day":
        begin = today
    elif unit == "week":
        begin = today - timedelta(days=today.weekday())
    else:
        begin = today.replace(day=1) if unit == "month" else today.replace(month=1, day=1)
    if not previous:
        return _between(begin, clock.local(clock.now_ns).replace(tzinfo=None), clock)
    before = begin - timedelta(days=1)
    if unit == "week":
        before = begin - timedelta(days=7)
    elif unit != "day":
        before = before.replace(day=1) if unit == "month" else before.replace(month=1, day=1)
    return _between(before, begin, clock)


def _between(begin: datetime, end: datetime, clock: Clock, exact: bool = False) -> Span:
    """From begin until just before end."""
    return _clamped(clock.stamp(begin), clock.stamp(end) - 1, exact)


def _parse(phrase: str, clock: Clock) -> tuple[datetime, str]:
    """Local date and time of a phrase, the latest that is not after now, and how fine it is."""
    from dateparser.date import DateDataParser  # slow to import

    phrase = re.sub(r"\b(\d{1,2}) o'clock", r"\1:00", phrase).replace("midday", "noon").replace("midnight", "00:00")
    settings = {
        "RELATIVE_BASE": clock.local(clock.now_ns).replace(tzinfo=None),
        "PREFER_DATES_FROM": "past",
        "RETURN_TIME_AS_PERIOD": True,
        "DATE_ORDER": "DMY" if re.search(r"\d\.\d", phrase) else "MDY",
    }
    if re.match(r"\d{4}-", phrase):
        settings["DATE_ORDER"] = "YMD"
    data = DateDataParser(languages=["en"], settings=settings).get_date_data(phrase)
    if data.date_obj is None:
        raise ValueError(phrase)
    return data.date_obj.replace(tzinfo=None), str(data.period)

"""A strict reader of the text format of Prometheus, version 0.0.4: what is not right raises ValueError.

    prometheus.parse(text)["huskd_hosts"]    # a number
"""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
TYPES = ("counter", "gauge", "histogram", "summary", "untyped")


def parse(text):
    """{name: value}. Every metric has one HELP, one TYPE and one value, in this order, with nothing between them;
    counters end in _total and gauges do not."""
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    values, lines = {}, text[:-1].split("\n")
    if len(lines) % 3:
        raise ValueError("a metric without HELP, TYPE or value")
    for at in range(0, len(lines), 3):
        told = re.fullmatch(rf"# HELP ({NAME}) (\S.*)", lines[at])
        typed = re.fullmatch(rf"# TYPE ({NAME}) (\w+)", lines[at + 1])
        value = re.fullmatch(rf"({NAME}) (\S+)", lines[at + 2])
        if not told or not typed or not value:
            raise ValueError(f"not HELP, TYPE and value: {lines[at:at + 3]}")
        name = told[1]
        if not name == typed[1] == value[1]:
            raise ValueError(f"three names: {lines[at:at + 3]}")
        if name in values:
            raise ValueError(f"{name} is there twice")
        if "\\" in told[2].replace("\\\\", "").replace("\\n", ""):
            raise ValueError(f"an escape that is none: {told[2]}")
        if typed[2] not in TYPES or (typed[2] == "counter") != name.endswith("_total"):
            raise ValueError(f"{name} is no {typed[2]}")
        values[name] = float(value[2])
        if values[name] < 0 and typed[2] == "counter":
            raise ValueError(f"{name} is below 0")
    return values

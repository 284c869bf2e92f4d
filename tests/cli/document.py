"""What --json prints: exactly one document of the form every verb keeps to."""

import json
import re

import husk

WORDS = {"failed", "usage", "not-found", "exists", "busy", "locked", "denied", "unsupported", "too-new", "corrupt",
         "wrong-key", "changed", "no-space", "no-memory", "interrupted", "erased", "pending", "unreachable",
         "incomplete"}
# What each exit status may say in error.code.
STATUS_OF = {"failed": 1, "usage": 2, "not-found": 1, "exists": 3, "busy": 3, "locked": 3, "denied": 3,
             "unsupported": 3, "too-new": 3, "corrupt": 1, "wrong-key": 3, "changed": 3, "no-space": 1, "no-memory": 1,
             "interrupted": 1, "erased": 3, "pending": 4, "unreachable": 4, "incomplete": 5}


class Malformed(AssertionError):
    pass


def demand(holds, what, done):
    if not holds:
        raise Malformed(f"{what}: {done}")


def check(done, verb):
    """The document of a run with --json, after checking all that every one of them must be."""
    demand(done.out.endswith("\n") and done.out.count("\n") == 1, "not exactly one line", done)
    document = json.loads(done.out)
    demand(list(document) == ["schema", "changed", "result", "findings", "error"], "members", done)
    demand(document["schema"] == f"husk.{verb.split()[0]}/1", "schema", done)
    demand(isinstance(document["changed"], bool) and isinstance(document["result"], dict), "types", done)
    for finding in document["findings"]:
        demand(list(finding) == ["kind", "subject", "cause", "remedy"], "members of a finding", done)
        demand(all(isinstance(value, str) for value in finding.values()), "types of a finding", done)
        demand(re.fullmatch(r"[a-z0-9-]+", finding["kind"]) and finding["cause"], "a finding", done)
    error = document["error"]
    demand((error is None) == (done.status == 0), "error and exit status", done)
    if error is not None:
        demand(list(error) == ["code", "subject", "message", "remedy"], "members of error", done)
        demand(all(isinstance(value, str) for value in error.values()), "types of error", done)
        demand(error["code"] in WORDS and STATUS_OF[error["code"]] == done.status, "code and exit status", done)
        demand(error["message"] and "\n" not in error["message"], "message", done)
    return document


def run(verb, *arguments, expect=None, **options):
    """Run a verb with --json; (how it ended, its document)."""
    done = husk.run(*verb.split(), *arguments, json=True, **options)
    if expect is not None:
        done.expect(expect)
    return done, check(done, verb)


def kinds(document):
    return [finding["kind"] for finding in document["findings"]]

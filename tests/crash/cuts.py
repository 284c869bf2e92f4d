"""Runs a scenario through all power cuts: records it once, then checks every state a cut could have left.

A Scenario prepares a disk, runs what is recorded, and checks a state: the disk, mounted after its journal was replayed.
try_all() divides the states among worker processes, says how far it is, and returns the failures.
"""

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
import traceback

import disk
import recorder
import undo
from undo import Undo


class Scenario:
    name = "scenario"
    size_mib = 48
    mkfs = ("-O", "encrypt")

    def prepare(self, d):
        """Fill the disk `d`; what it needs later goes into attributes of self."""

    def run(self, d):
        """What is recorded; raises unless it ended well."""

    def recorded(self, log):
        """Called with the log of what run() did. While that ran, self.log_size() told how long the log was."""

    def check(self, d, state):
        """Raise unless the mounted disk `d` is as it must be after a cut, and after going on from there."""


class Failure:
    def __init__(self, scenario, state, story, kept):
        self.scenario, self.state, self.story, self.kept = scenario, state, story, kept

    def __str__(self):
        return f"{self.scenario}, {self.state} (image: {self.kept})\n{self.story}"


def record(scenario):
    """Returns (log, where in it the scenario began)."""
    with recorder.recording(scenario.size_mib, scenario.mkfs) as recording:
        scenario.prepare(recording.disk)
        # Mounted afresh, so that what is recorded starts from a clean cache, as after a boot.
        recording.disk.remount()
        begin = recording.position()
        scenario.log_size = recording.size
        scenario.run(recording.disk)
        log = recording.finish()
        scenario.recorded(log)
        return log, begin


def try_all(scenario, random_states, jobs=2, seed=1, only_flushes=None, stop_after=3):
    """Record and check; returns (number of states, number of flushes, list of Failure)."""
    begun = time.monotonic()
    log, begin = record(scenario)
    states = recorder.Replay(log).states(begin, random_states, seed)
    flushes = sum(state.seed < 0 for state in states)
    if only_flushes is not None and flushes > only_flushes:
        states = _thin(states, flushes, only_flushes)
    say(f"{scenario.name}: recorded in {time.monotonic() - begun:.1f} s: {len(log.entries)} writes and flushes; to check: "
        f"{len(states)} states, {sum(state.seed >= 0 for state in states)} of them random")
    failures = _share_out(scenario, log, states, jobs, stop_after)
    say(f"{scenario.name}: {len(states)} states, {len(failures)} failures, {time.monotonic() - begun:.0f} s")
    return len(states), flushes, failures


def _thin(states, flushes, wanted):
    """Keep all random states, the first and the last flush, and `wanted` flushes evenly in all."""
    kept, number = [], -1
    for state in states:
        number += state.seed < 0
        if state.seed >= 0 or number == flushes - 1 or number * wanted // flushes != (number - 1) * wanted // flushes:
            kept.append(state)
    return kept


def say(line):
    print(line, file=sys.stderr, flush=True)


def _share_out(scenario, log, states, jobs, stop_after):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    # Neighbouring states to one worker, so that it can go on from the image it has.
    share = -(-len(states) // jobs)
    workers = [context.Process(target=_worker, args=(scenario, log, states[at:at + share], results))
               for at in range(0, len(states), share)]
    for worker in workers:
        worker.start()
    failures = None
    try:
        failures = _collect(scenario, results, workers, len(states), stop_after)
        return failures
    finally:
        for worker in workers if failures is None or len(failures) >= stop_after else []:
            worker.terminate()
        for worker in workers:
            worker.join()


def _collect(scenario, results, workers, total, stop_after):
    failures, done, told = [], 0, time.monotonic()
    while done < total:
        try:
            failure = results.get(timeout=5)
        except multiprocessing.queues.Empty:
            if not any(worker.is_alive() for worker in workers) and results.empty():
                raise RuntimeError(f"{scenario.name}: a worker ended with {total - done} states unchecked") from None
            continue
        done += 1
        if failure:
            failures.append(failure)
            if len(failures) >= stop_after:
                break
        if time.monotonic() - told > 20:
            say(f"{scenario.name}: {done} of {total} states")
            told = time.monotonic()
    return failures


def _worker(scenario, log, states, results):
    with contextlib.suppress(undo.Terminated), Undo() as mine:
        directory = disk.scratch(mine)
        image = os.path.join(directory, "image")
        replay = recorder.Replay(log)
        replay.write(states[0], image)
        d = disk.Disk(mine, "ext4", "", disk.attach(mine, image), image, directory)
        for state in states:
            results.put(_try(scenario, d, replay, state))


def _try(scenario, d, replay, state):
    try:
        replay.write(state, d.image)
        d.drop_cache()
        recorder.mend(d.image)
        d.drop_cache()
        d.mount()
        scenario.check(d, state)
        return None
    except Exception:
        story = traceback.format_exc()
    finally:
        d.unmount()
        d.drop_cache()
    return Failure(scenario.name, state, story, _keep(replay, state))


def _keep(replay, state):
    """The image of a failed state, as it was before anyone touched it."""
    kept = tempfile.NamedTemporaryFile(prefix="husk-cut-", suffix=".image", delete=False,
                                       dir=os.environ.get("HUSK_TEST_KEEP"))
    kept.close()
    plain = kept.name + ".full"
    replay.write(state, plain)
    disk.run("cp", "--sparse=always", plain, kept.name)
    os.unlink(plain)
    return kept.name

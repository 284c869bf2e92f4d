"""scripts/bench authority: huskd beside tang, and how it bears many hosts. On a real ext4: what is durable is."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import authority
import disk
import fleet
import husk
from undo import Undo

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(authority.__file__)), "..", "http"))
import known_address

ROUNDS, EACH, KEPT, CONNECTIONS = 3, 5000, 256, 256
STORM, BEATING, PERIOD_S, POLLS, MANY, GROUP, WORK = 10_000, 100_000, 60, 1000, 1_000_000, 10_000, 20_000
TANGD = "/usr/libexec/tangd"


def say(text=""):
    print(text, flush=True)


def tell(what, value, unit, goal, reached):
    say(f"  {what:<52} {value:9.2f} {unit:<4} goal: {goal}, {'reached' if reached else 'NOT reached'}")


def at_most(what, value, unit, goal):
    tell(what, value, unit, f"at most {goal:g}", value <= goal)


class Fleet(fleet.Fleet):
    def fill(self, first, count, group="fleet"):
        begun = time.monotonic()
        super().fill(first, count, group)
        say(f"  {count:,} hosts written in {time.monotonic() - begun:.0f} s "
            f"(database {os.path.getsize(self.path + '/authority.db') / 1e6:,.0f} MB)")

    def greet(self, count):
        """huskd has heard them since it started, as it has any host that ran before it boots again."""
        told = self.play("greet", 0, count, 64)
        if told["greeted"] != count:
            raise SystemExit(f"bench: not all were heard: {told}")

    def timed(self, *words):
        begun = time.monotonic()
        self.ok(*words)
        return time.monotonic() - begun


class Tang:
    """tang as socat serves it: a process of tangd for each connection."""

    def __init__(self, undo, directory):
        self.keys, self.body = f"{directory}/tang", f"{directory}/body"
        os.mkdir(self.keys)
        subprocess.run([TANGD + "-keygen", self.keys], check=True)
        jwk = subprocess.run(["jose", "jwk", "gen", "-i", '{"alg":"ECMR"}'], check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["jose", "jwk", "pub", "-i-", "-o", self.body], input=jwk, check=True)
        self.port = 17_000 + os.getpid() % 1000
        process = subprocess.Popen(["socat", f"TCP-LISTEN:{self.port},fork,reuseaddr,bind=127.0.0.1,backlog=512",
                                    f"EXEC:{TANGD} {self.keys}"], stderr=subprocess.DEVNULL)
        undo.push(process.wait)
        undo.push(process.terminate)
        time.sleep(0.5)

    def path(self):
        for name in sorted(os.listdir(self.keys)):
            with open(f"{self.keys}/{name}") as file:
                if "deriveKey" in json.load(file)["key_ops"]:
                    thumbprint = subprocess.run(["jose", "jwk", "thp", "-i", f"{self.keys}/{name}", "-a", "S256"],
                                                check=True, stdout=subprocess.PIPE).stdout.decode().strip()
                    return f"/rec/{thumbprint}"
        raise SystemExit("bench: tang has no exchange key")

    def recover(self, how, count, connections):
        told = fleet.load(how, self.body, self.port, self.path(), "application/jwk+json", count, connections)
        if told["refused"]:
            raise SystemExit(f"bench: tang refused: {told}")
        return told["answered"] / told["seconds"]


def grants(undo, directory):
    say("\ngrants of auto hosts that ran before, each durable before it leaves, beside tang's recoveries, which keep nothing:")
    tang = Tang(undo, directory)
    server = Fleet(directory, "--connection-rate", "1000000")
    server.fill(0, 2 * ROUNDS * EACH)
    server.start()
    server.greet(2 * ROUNDS * EACH)
    rates, alone, kept, single = [], [], [], []
    for number in range(ROUNDS):
        kept.append(tang.recover("keep", 2000, 16))
        for action, connections, found in (("kept", KEPT, rates), ("open", CONNECTIONS, alone)):
            told = server.play(action, (2 * number + (action == "open")) * EACH, EACH, connections)
            if told["granted"] != EACH:
                raise SystemExit(f"bench: not all were granted: {told}")
            found.append(told["granted"] / told["seconds"])
        single.append(tang.recover("post", 100, 16))
    server.ok("ledger", "verify")
    server.end()
    for name, values in ((f"huskd, {KEPT} connections that are kept", rates), ("tang, 16 connections that are kept", kept),
                         (f"huskd, a connection each, {CONNECTIONS} at a time", alone),
                         ("tang, a connection each, 16 at a time", single)):
        say(f"  {name:<52} {statistics.median(values):9.0f} /s   ({min(values):.0f} to {max(values):.0f})")
    ratio = statistics.median(rates) / statistics.median(kept)
    tell("huskd to tang, connections kept", ratio, "", "at least 4", ratio >= 4)


def storm(undo, directory):
    del undo
    say(f"\n{STORM:,} hosts of one address, which ran before, open at once, with the limits huskd has when nobody says otherwise:")
    server = Fleet(directory)
    server.fill(0, STORM)
    server.start()
    server.greet(STORM)
    told = server.play("open", 0, STORM, STORM)
    server.ok("ledger", "verify")
    server.end()
    say(f"  {told['granted']:,} granted in {told['seconds']:.2f} s, {told['tries']:,} requests; "
        f"p50 {told['p50_ms']:.0f} ms, the last {told['most_ms']:.0f} ms")
    at_most("p99", told["p99_ms"] / 1000, "s", 3)


def clevis_seals(directory, tang):
    advertisement = f"{directory}/advertisement"
    script = (f"curl -sf http://127.0.0.1:{tang.port}/adv >{advertisement} && echo secret | clevis encrypt tang "
              f"'{{\"url\":\"http://127.0.0.1:{tang.port}\",\"adv\":\"{advertisement}\"}}' >{directory}/sealed")
    subprocess.run(["sh", "-c", script], check=True)


def wall(argv, stdin=os.devnull):
    """Of the command alone: what Python's subprocess does around it is as long as a tenth of an unlock."""
    files = [(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    begun = time.monotonic()
    _, status = os.waitpid(os.posix_spawnp(argv[0], argv, os.environ, file_actions=files), 0)
    taken = time.monotonic() - begun
    if status != 0:
        raise SystemExit(f"bench: {' '.join(argv)} failed")
    return taken


def work(server, directory):
    """Start an authority that has done so much before that its log does not grow any more, as it never does after a day."""
    descriptor = f"{directory}/descriptor"
    fleet.load("fill", server.path, "fleet", "auto", 0, WORK, descriptor)
    server.start()
    for action, connections in ("greet", 64), ("open", CONNECTIONS):
        fleet.load(action, descriptor, server.port, 0, WORK, connections)


def unlock(undo, directory):
    rounds = 21
    say(f"\nhusk unlock with an authority keyslot beside clevis decrypt, over loopback, {rounds} interleaved rounds:")
    tang = Tang(undo, directory)
    clevis_seals(directory, tang)
    server = known_address.Server(directory).init()
    server.words += ["--connection-rate", "1000000"]
    work(server, directory)
    server.unlock_by("auto")
    times = {"husk": [], "clevis": []}
    with disk.ext4() as d:
        os.mkdir(f"{d.path}/data")
        status = os.stat(d.path)
        undo.push(shutil.rmtree, f"/run/husk/{status.st_dev:x}-{status.st_ino:x}", True)
        husk.ok("enroll", server.url, "--token", server.token(), "--at", d.path)
        husk.ok("protect", f"{d.path}/data", "--vault", "bench", "--authority", "--recovery-out", f"{directory}/recovery",
                "--at", d.path)
        for _ in range(rounds):
            husk.ok("lock", "bench", "--at", d.path)
            times["husk"].append(wall([husk.PROGRAM, "unlock", "bench", "--at", d.path]))
            times["clevis"].append(wall(["clevis", "decrypt"], f"{directory}/sealed"))
    server.end()
    for name, values in times.items():
        say(f"  {name:<52} {statistics.median(values) * 1000:9.1f} ms   ({min(values) * 1000:.1f} to "
            f"{max(values) * 1000:.1f})")
    ratio = statistics.median(times["clevis"]) / statistics.median(times["husk"])
    tell("clevis to husk", ratio, "", "at least 25", ratio >= 25)


def beats(undo, directory):
    del undo
    say(f"\n{BEATING:,} hosts, a heartbeat of each in {PERIOD_S} s, each over a connection of its own:")
    server = Fleet(directory, "--connection-rate", "1000000")
    server.fill(0, BEATING)
    server.start()
    process = subprocess.Popen([fleet.LOAD, "beat", server.descriptor, str(server.address[1]), "0", str(BEATING), str(PERIOD_S)],
                               stdout=subprocess.PIPE)
    greeted = json.loads(process.stdout.readline())
    begun, cpu = time.monotonic(), server.cpu_s()
    told = json.loads(process.stdout.readline())
    seconds, cpu = time.monotonic() - begun, server.cpu_s() - cpu
    process.wait()
    memory = server.memory_mb()
    server.end()
    say(f"  {told['beats']:,} heartbeats in {seconds:.0f} s, {told['refused']} refused (greeted: {greeted['greeted']:,}); "
        f"p50 {told['p50_ms']:.1f} ms, p99 {told['p99_ms']:.1f} ms")
    at_most("memory", memory, "MB", 150)
    at_most("processors", cpu / PERIOD_S, "", 0.5)


def polls(undo, directory):
    del undo
    say(f"\n{POLLS:,} held polls:")
    server = Fleet(directory, "--connection-rate", "1000000")
    server.fill(0, 10_000)
    server.start()
    server.play("open", 5000, 2000, CONNECTIONS)  # warm: what it takes to work at all is not the polls'
    before = server.memory_mb()
    process = subprocess.Popen([fleet.LOAD, "poll", server.descriptor, str(server.address[1]), "0", str(POLLS), "6"],
                               stdout=subprocess.PIPE)
    time.sleep(4)
    memory = server.memory_mb() - before
    held = json.loads(process.communicate()[0])["held"]
    server.end()
    if held != POLLS:
        raise SystemExit(f"bench: only {held} polls were held")
    at_most(f"memory they add to {before:.0f} MB", memory, "MB", 40)


def erase(undo, directory):
    del undo
    say(f"\nerasing among {MANY:,} hosts, by the command:")
    server = Fleet(directory)
    server.fill(0, MANY - GROUP)
    server.fill(MANY - GROUP, GROUP, "customer")
    begun = time.monotonic()
    server.start()
    say(f"  huskd started in {time.monotonic() - begun:.1f} s, {server.memory_mb():.0f} MB")
    names = [fleet.name_of(number * (MANY // 23)) for number in range(1, 22)]
    times = [server.timed("host", "erase", name, "--confirm", name) for name in names]
    whole = server.timed("group", "erase", "customer", "--confirm", "customer")
    server.end()
    say(f"  one host, 21 of them: the fastest {min(times) * 1000:.0f} ms, the slowest {max(times) * 1000:.0f} ms; judged is the "
        "median")
    at_most("one host, the median of 21", statistics.median(times) * 1000, "ms", 100)
    at_most(f"a group of {GROUP:,}", whole, "s", 2)


PARTS = {part.__name__: part for part in (grants, storm, unlock, polls, beats, erase)}


def on_what(directory):
    told = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "-T", directory], check=True, stdout=subprocess.PIPE)
    kind, source = told.stdout.decode().split()[:2]
    if kind != "ext4":
        raise SystemExit(f"bench: {directory} is on {kind}: HUSK_BENCH_DIR has to be on ext4")
    say(f"databases on ext4, {source}, with every fsync; {os.cpu_count()} processors for servers and hosts together")


def run(only):
    parent = os.environ.get("HUSK_BENCH_DIR", authority.BUILD)
    for name in only or PARTS:
        with Undo() as undo:
            directory = tempfile.mkdtemp(prefix="authority-", dir=parent)
            undo.push(shutil.rmtree, directory)
            if name == next(iter(only or PARTS)):
                on_what(directory)
            PARTS[name](undo, directory)

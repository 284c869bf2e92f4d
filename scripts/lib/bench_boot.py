"""scripts/bench boot: how long husk takes in a boot that its authority lets in by itself. Real boots of a guest, emulated."""

import os
import re
import statistics
import sys
import time

import authority
import husk
from undo import Undo

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(authority.__file__)))
sys.path += [os.path.join(TESTS, "http"), os.path.join(TESTS, "vm")]
from protected_guest import Server
from root_guest import PATIENCE_S, RootGuest, build_package

GOAL_S = 0.5
RETURN_S = 95  # an authority that was started so long ago takes none of the boots before for one that may still run


def say(text=""):
    print(text, flush=True)


def make_plain(undo):
    guest = RootGuest("bench-plain", network=True)
    undo.push(guest.close)
    guest.install(build_package())
    return guest


def make_encrypted(undo, plain, server):
    """Bound to the authority and nothing else but a recovery key; booted once, so that its network is recorded and the
    hashes are kept that a boot tells."""
    guest = RootGuest("bench-boot", like=plain, network=True)
    undo.push(guest.close)
    with guest.attached() as root:
        husk.ok("enroll", server.url, "--token", server.token(), "--name", "bench", "--at", root)
        guest.protect(root, "--authority", "--skip-free-space", "--recovery-out", guest.recovery)
    guest.boot()
    guest.wait_ready(PATIENCE_S)
    guest.check("until test -e /.husk/network.json && test -e /.husk/boot-files.json; do sleep 1; done", PATIENCE_S)
    guest.power_off()
    return guest


def boot(guest):
    """(seconds until commands can be run, husk's own seconds or None)"""
    begun = time.monotonic()
    guest.boot()
    guest.wait_ready(PATIENCE_S)
    whole = time.monotonic() - begun
    told = re.search(r"husk: the root is open after (\d+\.\d+) s", guest.console.text())
    guest.power_off()
    return whole, told and float(told[1])


def line(name, seconds):
    return f"  {name:<44} {statistics.median(seconds):8.2f} s   ({min(seconds):.2f} to {max(seconds):.2f})"


def run(rounds):
    with Undo() as undo:
        say("preparing two guests, one with an encrypted root (some minutes)")
        server = Server(authority.make_directory())
        undo.push(server.end)
        server.init().start()
        server.unlock_by("auto")
        plain = make_plain(undo)
        encrypted = make_encrypted(undo, plain, server)
        wholes, shares, plains, loads = [], [], [], []
        for number in range(rounds):
            # As after a while: an authority that heard of an earlier boot just now first asks whether that still runs.
            server.end()
            server.start()
            started = time.monotonic()
            plains.append(boot(plain)[0])
            time.sleep(max(0, started + RETURN_S - time.monotonic()))
            whole, share = boot(encrypted)
            wholes.append(whole)
            shares.append(share)
            loads.append(os.getloadavg()[0])
            say(f"round {number + 1}: husk {share:.2f} s of {whole:.1f} s, unencrypted {plains[-1]:.1f} s")
    say(f"medians of {rounds} interleaved boots in an emulated guest (lowest to highest), on {os.cpu_count()} processors "
        f"at a load of {min(loads):.1f} to {max(loads):.1f}:")
    say(line("husk, from the mounted root to the key", shares))
    say(line("the whole boot, encrypted root", wholes))
    say(line("the whole boot, the same guest unencrypted", plains))
    say("  (an authority that heard of an earlier boot in the last minutes first asks whether that still runs: 3 s more)")
    share = statistics.median(shares)
    say(f"  husk's own share: {share:.2f} s, goal: at most {GOAL_S:g}, {'reached' if share <= GOAL_S else 'NOT reached'}")

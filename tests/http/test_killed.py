"""huskd killed with -9 while hosts open and an administrator erases: nothing that anybody saw is lost."""

import os
import random
import shutil
import subprocess
import time
import unittest

import authority
import fleet

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
ROUNDS = 50 if LONG else 5
HOSTS, CONNECTIONS = 600, 32


class KilledTest(unittest.TestCase):
    def setUp(self):
        self.directory = authority.make_directory()
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = fleet.Fleet(self.directory)
        self.server.fill(0, ROUNDS * HOSTS)
        self.addCleanup(self.end)
        self.seen_path = f"{self.directory}/seen"

    def end(self):
        if self.server.process is not None:
            self.server.process.kill()
            self.server.process.wait()

    def kill_while_it_works(self, first, chance):
        """Returns (requests that were seen granted, whether the erase was answered)."""
        with open(self.seen_path, "wb") as output:
            hosts = self.server.seen(first, HOSTS, CONNECTIONS, output)
        limit = time.monotonic() + 60
        while self.requests_since_start() == 0 and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        erase = subprocess.Popen([authority.PROGRAM, "host", "erase", fleet.name_of(first), "--confirm",
                                  fleet.name_of(first), "--dir", self.server.path], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.4))
        self.server.process.kill()
        self.server.process.wait()
        self.assertEqual(hosts.wait(60), 0)
        with open(self.seen_path) as file:
            return {line.split()[1] for line in file}, erase.wait(60) == 0

    def requests_since_start(self):
        with self.server.database() as database:
            return database.execute("SELECT count(*) FROM requests WHERE created_at >= ?", (self.begun,)).fetchone()[0]

    def test_what_anybody_saw_is_there_after_a_kill(self):
        chance = random.Random(20260401)
        total = cut = 0
        erased = {}
        for number in range(ROUNDS):
            with self.subTest(round=number):
                self.server.start()
                self.begun = int(time.time())
                seen, erased[number * HOSTS] = self.kill_while_it_works(number * HOSTS, chance)
                total, cut = total + len(seen), cut + (len(seen) < HOSTS - 1)
                self.server.start()
                self.server.check_whole()
                self.assertEqual(seen - self.server.granted(), set())
                for host, was_answered in erased.items():
                    state, keyslots = self.server.state_of(host)
                    self.assertIn((state, keyslots), [("erased", 0)] if was_answered else [("erased", 0), ("active", 1)])
                self.assertEqual(self.server.end(), 0)
        print(f"note: {ROUNDS} rounds, {cut} of them killed amid opens; {total} grants seen, "
              f"{sum(erased.values())} of {ROUNDS} erases answered", flush=True)
        self.assertGreater(total, 0)
        self.assertGreater(cut, 0)


if __name__ == "__main__":
    unittest.main()

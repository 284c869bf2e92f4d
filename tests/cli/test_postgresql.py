"""A real PostgreSQL cluster in a vault: converted while stopped, run, locked, run again."""

import contextlib
import glob
import os
import pwd
import signal
import subprocess
import time
import unittest

import disk
import husk
from canary import Canaries

PROGRAMS = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [None])[-1]
CREATE = """
CREATE TABLE letters (id integer PRIMARY KEY, text text NOT NULL);
INSERT INTO letters SELECT n, 'letter ' || n || ' {canary}' FROM generate_series(1, 20000) AS n;
"""
WRITE = """
INSERT INTO letters SELECT n, 'after ' || n FROM generate_series(20001, 25000) AS n;
UPDATE letters SET text = text || ' again' WHERE id % 7 = 0;
DELETE FROM letters WHERE id % 11 = 0;
CREATE INDEX letters_text ON letters (text);
VACUUM FULL letters;
CHECKPOINT;
"""
CONTENT = "SELECT count(*), md5(string_agg(id || text, ',' ORDER BY id)) FROM letters"


class Cluster:
    """A cluster in `data`; its socket and log lie beside the filesystem, in `directory`."""

    def __init__(self, directory, data):
        self.directory, self.data = directory, data
        self.postmaster = None  # its pid while it runs
        self.log = os.path.join(directory, "log")
        user = pwd.getpwnam("postgres")
        for path in (directory, data):
            os.makedirs(path, exist_ok=True)
            os.chown(path, user.pw_uid, user.pw_gid)
        self.run("initdb", "--pgdata", data, "--auth", "trust", "--encoding", "UTF8", "--locale", "C")

    def run(self, program, *arguments):
        return self.attempt(program, *arguments, check=True).stdout.decode()

    def attempt(self, program, *arguments, **options):
        # Not in a pipe: the server pg_ctl starts would hold it open.
        with open(os.path.join(self.directory, "out"), "w+b") as out:
            os.chmod(out.name, 0o666)
            done = subprocess.run([os.path.join(PROGRAMS, program), *arguments], cwd="/", user="postgres", group="postgres",
                                  extra_groups=[], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  timeout=120)
            out.seek(0)
            done.stdout = out.read()
        if options.get("check") and done.returncode:
            raise AssertionError(f"{program} ended with {done.returncode}: {done.stdout.decode()}")
        return done

    def start(self):
        done = self.attempt("pg_ctl", "--pgdata", self.data, "--log", self.log, "--wait", "--timeout=60", "start",
                            "--options", f"-p 5432 -k {self.directory} -c listen_addresses=''")
        if done.returncode == 0:
            with open(os.path.join(self.data, "postmaster.pid")) as file:
                self.postmaster = int(file.readline())
        return done

    def stop(self):
        self.run("pg_ctl", "--pgdata", self.data, "--wait", "--mode=fast", "stop")
        self.postmaster = None

    def stop_if_running(self):
        """By its number: the file that holds it may be locked."""
        if self.postmaster is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.postmaster, signal.SIGQUIT)
            for _ in range(200):
                os.kill(self.postmaster, 0)
                time.sleep(0.05)

    def sql(self, text):
        return self.run("psql", "--host", self.directory, "--dbname", "postgres", "--no-psqlrc", "--tuples-only",
                        "--no-align", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", text).strip()


@unittest.skipIf(husk.missing(), husk.missing())
@unittest.skipUnless(PROGRAMS, "PostgreSQL is not installed")
class PostgresqlTest(unittest.TestCase):
    def setUp(self):
        self.disk = self.enterContext(disk.ext4(size_mib=768))
        os.chmod(self.disk.directory, 0o711)  # the user postgres has to get through
        self.key = husk.keyfile(self.disk.directory)
        self.canary = Canaries()
        self.cluster = Cluster(os.path.join(self.disk.directory, "run"), os.path.join(self.disk.path, "srv/postgresql"))
        self.addCleanup(self.cluster.stop_if_running)
        self.started()
        needle = self.canary.needles["content"].decode()
        for command in CREATE.format(canary=needle).strip().split(";\n"):
            self.cluster.sql(command)
        self.cluster.sql("CHECKPOINT")
        self.content = self.cluster.sql(CONTENT)

    def started(self):
        done = self.cluster.start()
        if done.returncode:
            with open(self.cluster.log) as file:
                self.fail(f"PostgreSQL does not start: {done.stdout.decode()}{file.read()[-2000:]}")

    def husk(self, verb, *arguments, **options):
        return husk.run(verb, *arguments, "--at", self.disk.path, **options)

    def protect(self, **options):
        return self.husk("protect", self.cluster.data, "--vault", "database", "--keyfile", self.key, **options)

    def state(self):
        return self.husk("status", "database", json=True).expect(husk.DONE).document["result"]["vaults"][0]["state"]

    def assert_names_the_server(self, done):
        told = " ".join(" ".join(map(str, finding.values())) for finding in done.document["findings"])
        self.assertIn(f"postgres (pid {self.cluster.postmaster})", told)

    def test_a_cluster_is_converted_and_runs_and_is_locked_and_runs_again(self):
        with self.subTest("running, it is refused by name"):
            refused = self.protect(json=True).expect(husk.REFUSED)
            self.assert_names_the_server(refused)
            self.assertFalse(refused.document["changed"])
            self.assertEqual(self.cluster.sql(CONTENT), self.content)

        self.cluster.stop()
        self.assertIn("content", self.canary.find(self.disk))
        self.protect().expect(husk.DONE)
        self.canary.gone(self.disk)

        self.started()
        self.assertEqual(self.cluster.sql(CONTENT), self.content)
        for command in WRITE.strip().split(";\n"):
            self.cluster.sql(command)
        written = self.cluster.sql(CONTENT)
        self.assertNotEqual(written, self.content)

        with self.subTest("locked while it runs, husk says who holds it open, and it goes on once unlocked"):
            busy = self.husk("lock", "database", json=True).expect(husk.REFUSED, husk.INCOMPLETE)
            self.assert_names_the_server(busy)
            self.assertEqual(self.state(), "busy")
            self.husk("unlock", "database", "--keyfile", self.key).expect(husk.DONE)
            self.assertEqual(self.state(), "unlocked")
            self.assertEqual(self.patient_sql(CONTENT), written)

        self.cluster.stop()
        self.husk("lock", "database").expect(husk.DONE)
        self.assertNotEqual(self.cluster.start().returncode, 0)
        self.husk("unlock", "database", "--keyfile", self.key).expect(husk.DONE)
        self.started()
        self.assertEqual(self.cluster.sql(CONTENT), written)
        self.cluster.sql("SELECT count(*) FROM letters WHERE text LIKE 'letter%'")
        self.cluster.stop()
        self.canary.gone(self.disk)
        self.disk.fsck()

    def patient_sql(self, text):
        """A server that could not open a file for a moment may be recovering."""
        for _ in range(50):
            done = self.cluster.attempt("psql", "--host", self.cluster.directory, "--dbname", "postgres", "--command", "SELECT 1")
            if done.returncode == 0:
                break
            time.sleep(0.2)
        return self.cluster.sql(text)


if __name__ == "__main__":
    unittest.main()

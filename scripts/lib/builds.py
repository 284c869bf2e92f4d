"""What scripts/check makes below build/ before it tests, and what is in it."""

import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JOBS = os.cpu_count() or 1
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
}


class Build:
    def __init__(self, name, directory, compiler, options, environment=None):
        self.name, self.compiler, self.options = name, compiler, options
        self.directory = os.path.join(ROOT, "build", directory)
        self.environment = {"HUSK": self.husk(), **(environment or {})}

    def husk(self):
        return os.path.join(self.directory, "husk")

    def configure(self):
        if os.path.exists(os.path.join(self.directory, "build.ninja")):
            return "true"
        return f"CC={self.compiler} meson setup {self.directory} {' '.join(self.options)}"

    def configure_argv(self):
        return ["sh", "-c", self.configure()]

    def argv(self):
        """Configure where needed, then compile; warnings are errors in every build."""
        return ["nice", "sh", "-c", f"{self.configure()} && meson compile -C {self.directory} --jobs {JOBS} --ninja-args=-k,0"]


# What the cli and crash tiers run: as people get it, but with the fault points.
TEST = Build("gcc", "test", "gcc", ["--buildtype=release", "-Dfaults=true", "-Dtests=enabled"])
# What clang-tidy reads, which tells clang's warnings as well. Compiled in the long form alone: the sanitized build runs what
# clang makes.
CLANG = Build("clang", "clang", "clang-14", ["--buildtype=debugoptimized", "-Dtests=enabled"])
SANITIZED = Build("sanitized", "sanitized", "clang-14",
                  ["--buildtype=debugoptimized", "-Dfaults=true", "-Dtests=enabled", "-Dstatic=false",
                   "-Db_sanitize=address,undefined", "-Db_lundef=false"], SANITIZERS)
FUZZ = Build("fuzz", "fuzz", "clang-14",
             ["--buildtype=debugoptimized", "-Dfuzz=true", "-Dtests=disabled", "-Dstatic=false", "-Db_lundef=false"],
             SANITIZERS)


class Guest:
    """The image that the vm tests boot, for as long as its recipe does not change."""
    name = "guest image"

    @staticmethod
    def argv():
        return [os.path.join(ROOT, "tests", "vm", "guest-image")]


GUEST = Guest()


def unit_tests(build):
    """[(name, argv)] of the tests meson knows in this build."""
    told = subprocess.run(["meson", "introspect", "--tests", build.directory], stdout=subprocess.PIPE, check=True)
    return [(test["name"], test["cmd"]) for test in json.loads(told.stdout)]


def fuzz_targets(seconds):
    """[(name, argv)] of the fuzz targets, each bounded in time; its corpus is read, what is new stays out of it."""
    directory = os.path.join(FUZZ.directory, "fuzz")
    targets = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            continue
        fresh = os.path.join(directory, name + ".new")
        os.makedirs(fresh, exist_ok=True)
        corpus = os.path.join(ROOT, "fuzz", "corpus", name)
        argv = [path, f"-max_total_time={seconds}", "-timeout=25", "-rss_limit_mb=2048", "-print_final_stats=1",
                f"-artifact_prefix={directory}/{name}-", fresh] + ([corpus] if os.path.isdir(corpus) else [])
        targets.append((name, argv))
    return targets

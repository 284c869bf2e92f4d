"""scripts/bench: see there. Runs in a mount namespace of its own."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))

import disk
from undo import Undo

HUSK = os.environ.get("HUSK", os.path.join(ROOT, "build", "husk"))
FILES_LEAST, BYTES_LEAST, BYTES_MOST = 20_000, 500 << 20, 650 << 20
STAGES = ("looking", "copying", "verifying", "making", "scrubbing", "overwriting")
COPY_GOAL, UNLOCK_GOAL, MEMORY_GOAL_MB = 0.6, 1 / 3, 64


def say(text=""):
    print(text, flush=True)


def run(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def timed(argv):
    """Run it; returns (seconds, peak memory in MB, [(seconds since its start, line of its stderr)])."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    mine, its = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, its, 2)]
    begun = time.monotonic()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    os.close(its)
    lines = []
    while piece := os.read(mine, 65536):
        lines += [(time.monotonic() - begun, line) for line in piece.decode(errors="replace").splitlines()]
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - begun
    for fd in (null, mine):
        os.close(fd)
    if status != 0:
        told = "\n".join(line for _, line in lines[-20:])
        raise SystemExit(f"bench: {' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}\n{told}")
    return seconds, usage.ru_maxrss / 1024, lines


def stages(lines, end):
    """{first word of a stage of husk: seconds}. husk writes a line when a stage begins, and some as it goes on; the sync
    that ends a stage is in it."""
    told, name, since = {}, None, 0
    for at, line in lines + [(end, "the end")]:
        this = line.split(": ")[0]
        if this != name:
            if name and name.split()[0] in STAGES:
                word = name.split()[0]
                told[word] = told.get(word, 0) + at - since
            name, since = this, at
    return told


class Numbers:
    """Named series of measurements."""

    def __init__(self):
        self.series = {}

    def add(self, name, value):
        self.series.setdefault(name, []).append(value)

    def median(self, name):
        return statistics.median(self.series[name])

    def line(self, name, unit="s", factor=1):
        values = [value * factor for value in self.series[name]]
        return (f"  {name:<44} {statistics.median(values):8.2f} {unit}"
                f"   ({min(values):.2f} to {max(values):.2f})")


def tell_goal(what, value, goal):
    say(f"  {what:<44} {value:8.2f}     goal: at most {goal:.2f}, {'reached' if value <= goal else 'NOT reached'}")


# --- trees -----------------------------------------------------------------------------------------------------------

def measure(top):
    """(regular files, entries, bytes) of a tree."""
    files = entries = size = 0
    for directory, names, here in os.walk(top):
        entries += len(names) + len(here)
        for name in here:
            status = os.lstat(os.path.join(directory, name))
            if not os.path.islink(os.path.join(directory, name)):
                files += 1
                size += status.st_size
    return files, entries, size


def directories_of_machine():
    for top in ("/usr/include", "/usr/share", "/usr/lib", "/usr/libexec", "/usr/bin", "/usr/sbin"):
        if top in ("/usr/share", "/usr/lib"):
            yield from sorted(entry.path for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False))
        elif os.path.isdir(top):
            yield top


def build_tree(target):
    """Copies of real directories of this machine until there are enough files and bytes."""
    os.makedirs(target)
    files = entries = size = turn = 0
    while files < FILES_LEAST or size < BYTES_LEAST:
        before = files
        for source in directories_of_machine():
            told = measure(source)
            if size + told[2] > BYTES_MOST or (files >= FILES_LEAST and size >= BYTES_LEAST):
                continue
            place = f"{target}/{turn}{source}"
            os.makedirs(os.path.dirname(place), exist_ok=True)
            run("cp", "-a", source, place)
            files, entries, size = files + told[0], entries + told[1], size + told[2]
        turn += 1
        if files == before:
            raise SystemExit(f"bench: this machine gives only {files} files and {size >> 20} MB")
    say(f"tree: {files:,} files, {entries:,} entries, {size / 1e6:,.0f} MB, copied from /usr of this machine")


def build_many(target, count):
    """A tree of `count` names: small files, empty ones and hard links, a thousand in each directory."""
    os.makedirs(target)
    for directory in range(0, count, 1000):
        here = f"{target}/{directory // 1000:06}"
        os.mkdir(here)
        for number in range(min(1000, count - directory)):
            path = f"{here}/file-{number:04}"
            if number % 10 == 9 and directory:
                os.link(f"{target}/{directory // 1000 - 1:06}/file-{number - 1:04}", path)
                continue
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            if number % 20 == 0:
                os.write(fd, b"%08d" % number * 12)
            os.close(fd)


# --- convert ---------------------------------------------------------------------------------------------------------

def keyfile(directory):
    path = os.path.join(directory, "key")
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(os.urandom(64))
    return path


def protect(d, directory, work, numbers=None, options=()):
    """husk protect of a directory. Returns its peak memory; the times of its stages go to numbers."""
    argv = [HUSK, "protect", f"{d.path}/{directory}", "--vault", "bench", "--keyfile", keyfile(work), "--at", d.path,
            *options]
    seconds, memory, lines = timed(argv)
    if numbers is not None:
        numbers.add("husk protect, all of it", seconds)
        for word, taken in stages(lines, seconds).items():
            numbers.add(f"husk: {word}", taken)
    return memory


def husk_round(d, work, numbers):
    numbers.add("memory", protect(d, "tree", work, numbers))


def copier(name, command):
    """A round that copies the tree with a shell command into an encrypted directory made before, sync included."""
    def measure_copier(d, work, numbers):
        os.mkdir(f"{d.path}/copy")
        protect(d, "copy", work)
        script = f"cd {d.path} && {command} && sync -f {d.path}"
        seconds, _, _ = timed(["sh", "-c", script])
        numbers.add(name, seconds)
    return measure_copier


CONTENDERS = (
    ("husk", husk_round),
    ("cp -a", copier("cp -a", "cp -a tree/. copy/")),
    ("rsync", copier("rsync -aHAXS", "rsync -aHAXS tree/ copy/")),
    ("tar", copier("tar to tar", "tar -C tree --acls --xattrs -cf - . | tar -C copy --acls --xattrs -xpf -")),
)


def one_round(number, stage, work, numbers):
    """Each contender on a filesystem of its own, made anew, in an order that turns by one each round."""
    turn = number % len(CONTENDERS)
    for name, measure_it in CONTENDERS[turn:] + CONTENDERS[:turn]:
        with disk.ext4(size_mib=2048, whole=True) as d:
            run("cp", "-a", stage, f"{d.path}/tree")
            disk.sync(d.path)
            measure_it(d, work, numbers)
    say(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:.2f} s" for name, values in numbers.series.items()
                                           if name in ("husk: copying", "cp -a", "rsync -aHAXS", "tar to tar")))


def convert(options):
    numbers = Numbers()
    with Undo() as undo:
        work = disk.scratch(undo, "husk-bench-")
        build_tree(f"{work}/tree")
        for number in range(options.runs or 7):
            one_round(number, f"{work}/tree", work, numbers)
    say(f"\nmedian of {options.runs or 7} interleaved rounds (lowest to highest), sync included:")
    names = [name for name in numbers.series if name not in ("memory", "husk: copying")]
    for name in ["husk: copying"] + [name for name in names if not name.startswith("husk")]:
        say(numbers.line(name))
    tell_goal("husk's copy to cp -a", numbers.median("husk: copying") / numbers.median("cp -a"), COPY_GOAL)
    say("\nwhat else husk did:")
    for name in [name for name in names if name.startswith("husk")]:
        say(numbers.line(name))
    say("\nmemory:")
    tell_goal("peak memory of husk, MB", max(numbers.series["memory"]), MEMORY_GOAL_MB)


def memory(options):
    with disk.ext4(size_mib=8192, inodes=options.files * 2 + 100_000) as d, Undo() as undo:
        work = disk.scratch(undo, "husk-bench-")
        begun = time.monotonic()
        build_many(f"{d.path}/tree", options.files)
        disk.sync(d.path)
        say(f"tree: {options.files:,} files, made in {time.monotonic() - begun:.0f} s")
        numbers = Numbers()
        peak = protect(d, "tree", work, numbers, ["--skip-free-space"])
        for name in numbers.series:
            say(numbers.line(name))
        tell_goal("peak memory of husk, MB", peak, MEMORY_GOAL_MB)


# --- unlock ----------------------------------------------------------------------------------------------------------

FSCRYPT_CONF = {
    "source": "custom_passphrase",
    "hash_costs": {"time": "1", "memory": "131072", "parallelism": "2"},
    "options": {"padding": "32", "contents": "AES_256_XTS", "filenames": "AES_256_CTS", "policy_version": "2"},
    "use_fs_keyring_for_v1_policies": False,
    "allow_cross_user_metadata": False,
}


def configure_fscrypt(undo):
    """/etc/fscrypt.conf as fscrypt wants it, seen in this mount namespace only."""
    work = disk.scratch(undo, "husk-bench-")
    for name in ("upper", "work"):
        os.mkdir(f"{work}/{name}")
    run("mount", "-t", "tmpfs", "none", work)
    undo.push(run, "umount", work)
    for name in ("upper", "work"):
        os.mkdir(f"{work}/{name}")
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/etc,upperdir={work}/upper,workdir={work}/work", "/etc")
    undo.push(run, "umount", "/etc")
    with open("/etc/fscrypt.conf", "w") as file:
        json.dump(FSCRYPT_CONF, file)


def prepare_fscrypt(d, work):
    with open(f"{work}/raw", "wb") as file:
        file.write(os.urandom(32))
    run("fscrypt", "setup", d.path, "--quiet")
    os.mkdir(f"{d.path}/data")
    run("fscrypt", "encrypt", f"{d.path}/data", "--source=raw_key", f"--key={work}/raw", "--name=bench", "--quiet")


def unlock_round(by_husk, by_fscrypt, work, numbers):
    run(HUSK, "lock", "bench", "--at", by_husk.path)
    run("fscrypt", "lock", f"{by_fscrypt.path}/data", "--quiet")
    argv = [HUSK, "unlock", "bench", "--keyfile", f"{work}/key", "--at", by_husk.path]
    numbers.add("husk unlock --keyfile", timed(argv)[0])
    argv = ["fscrypt", "unlock", f"{by_fscrypt.path}/data", f"--key={work}/raw", "--quiet"]
    numbers.add("fscrypt unlock, raw key", timed(argv)[0])
    for d in (by_husk, by_fscrypt):
        with open(f"{d.path}/data/file") as file:
            assert file.read() == "readable"


def unlock(options):
    runs = options.runs or 41
    numbers = Numbers()
    with Undo() as undo, disk.ext4() as by_husk, disk.ext4() as by_fscrypt:
        configure_fscrypt(undo)
        work = disk.scratch(undo, "husk-bench-")
        os.mkdir(f"{by_husk.path}/data")
        protect(by_husk, "data", work)
        prepare_fscrypt(by_fscrypt, work)
        for d in (by_husk, by_fscrypt):
            with open(f"{d.path}/data/file", "w") as file:
                file.write("readable")
            disk.sync(d.path)
        for _ in range(runs):
            unlock_round(by_husk, by_fscrypt, work, numbers)
    say(f"median of {runs} interleaved rounds (lowest to highest):")
    for name in numbers.series:
        say(numbers.line(name, "ms", 1000))
    ratio = numbers.median("husk unlock --keyfile") / numbers.median("fscrypt unlock, raw key")
    tell_goal("husk to fscrypt", ratio, UNLOCK_GOAL)


def measure_authority(options):
    import bench_authority  # pylint: disable=import-outside-toplevel
    bench_authority.run(options.only)


def measure_boot(options):
    import bench_boot  # pylint: disable=import-outside-toplevel
    bench_boot.run(options.runs or 7)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("what", choices=("convert", "unlock", "memory", "authority", "boot"))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", metavar="PART")
    options = parser.parse_args()
    {"convert": convert, "unlock": unlock, "memory": memory, "authority": measure_authority,
     "boot": measure_boot}[options.what](options)


if __name__ == "__main__":
    main()

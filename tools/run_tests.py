"""Linter, formatter, type checker and tests: what ``make test`` runs.

Tests run as an ordinary user (DESIGN 12 "Tests"): permission tests mean nothing as root. Started as root,
this installs the programs the interop tests need, copies the working tree to a user of its own, starts the
small helper for what needs root (Postfix's master, the bare system) and runs everything as that user.

With RADPOST_REQUIRE_PEERS=1 (``.ci/run``) a skipped test is a failure.
"""

import argparse
import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER = "radpost-test"
HOME = Path("/var/lib/radpost-test")
CODE = ("src", "tests", "tools", "benchmarks", "fuzz")
KEPT = (".venv", ".tools", ".mypy_cache", ".ruff_cache")
FOREIGN = ("GNUPGHOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "PYTHONPATH")


def say(text: str) -> None:
    """Print one progress line, in order with the output of the programs."""
    print(text, flush=True)


# As the ordinary user


def lint() -> int:
    """Run linter, formatter and type checker; return how many complained."""
    bin_ = ROOT / ".venv/bin"
    code = [name for name in CODE if (ROOT / name).is_dir()]
    failed = 0
    for argv in (["ruff", "check", *code], ["ruff", "format", "--check", *code], ["mypy", *code]):
        say(f"$ {' '.join(argv)}")
        failed += subprocess.run([bin_ / argv[0], *argv[1:]], cwd=ROOT, check=False).returncode != 0
    return failed


def skipped(report: Path) -> list[str]:
    """Return the tests that were skipped, with their reasons, from pytest's report."""
    found = []
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            if skip.get("type") != "pytest.xfail":
                found.append(f"{case.get('classname')}.{case.get('name')}: {reason}")
    return found


def pytest(arguments: Sequence[str]) -> int:
    """Run the tests; where peers are mandatory, a skip fails."""
    strict = os.environ.get("RADPOST_REQUIRE_PEERS") == "1"
    with tempfile.TemporaryDirectory(prefix="radpost-report-") as folder:
        report = Path(folder) / "junit.xml"
        extra = ["--junitxml", str(report)] if strict else []
        argv = [str(ROOT / ".venv/bin/python"), "-m", "pytest", *extra, *arguments]
        status = subprocess.run(argv, cwd=ROOT, check=False).returncode
        left_out = skipped(report) if strict and report.exists() else []
    if left_out:
        say("radpost: here every test must run (RADPOST_REQUIRE_PEERS=1), and these were skipped:")
        for line in left_out:
            say(f"  {line}")
        return status or 1
    return status


def as_user(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Do everything in this directory, with the rights we have."""
    done = subprocess.run([sys.executable, ROOT / "tools/bootstrap.py", "--dev"], check=False)
    if done.returncode:
        return done.returncode
    if args.soak:
        os.environ.setdefault("RADPOST_SOAK", "50")
        return pytest(["-m", "soak", "--timeout=0", *rest])
    failed = lint()
    if args.lint:
        return 1 if failed else 0
    # The tests run even so: one run shows all there is to mend.
    status = pytest(rest)
    if failed:
        say("radpost: the tests stand above; the linter or the type checker complained before them")
    return status or (1 if failed else 0)


# As root


def test_user() -> pwd.struct_passwd:
    """Return the account of the tests; make it the first time."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        say(f"radpost: making the user {USER} for the tests")
        home = ["--create-home", "--home-dir", str(HOME)]
        subprocess.run(["useradd", "--system", "--user-group", *home, "--shell", "/bin/sh", USER], check=True)
        return pwd.getpwnam(USER)


def own(path: Path, uid: int, gid: int) -> None:
    """Give a tree to a user."""
    subprocess.run(["chown", "-R", "-h", f"{uid}:{gid}", path], check=True)


def tracked() -> list[Path]:
    """Return the files of the working tree: what git knows or would add."""
    argv = [
        "git",
        "-c",
        f"safe.directory={ROOT}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def copy_tree(place: Path, account: pwd.struct_passwd) -> None:
    """Bring the copy to the state of the working tree; what is costly to make is kept."""
    place.mkdir(exist_ok=True)
    own(place, 0, 0)
    for entry in place.iterdir():
        if entry.name not in KEPT:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for name in tracked():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    if (ROOT / ".git").is_dir():
        shutil.copytree(ROOT / ".git", place / ".git", symlinks=True)
    link = place.parent / "shared"
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    shared = ROOT.parent / "shared"
    if not shared.is_dir():
        return
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if subprocess.run([*drop, "test", "-r", shared, "-a", "-x", shared], check=False).returncode == 0:
        link.symlink_to(shared)
    else:
        shutil.copytree(shared, link)
        own(link, account.pw_uid, account.pw_gid)


def environment(account: pwd.struct_passwd, helper: Path) -> dict[str, str]:
    """Return the test user's environment: ours without what belongs to root's home."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    env |= {"HOME": account.pw_dir, "USER": USER, "LOGNAME": USER, "RADPOST_ROOT_HELPER": str(helper)}
    env["PATH"] = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
    return env


def as_root(arguments: Sequence[str]) -> int:
    """Prepare user, copy and helper, and run everything as the user."""
    if shutil.which("apt-get") and os.environ.get("RADPOST_INSTALL_PEERS", "1") == "1":
        status = subprocess.run([ROOT / "tools/install_peers"], check=False).returncode
        if status and os.environ.get("RADPOST_REQUIRE_PEERS") == "1":
            return status
    account = test_user()
    with tempfile.TemporaryDirectory(prefix="radpost-helper-") as folder, (HOME / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"radpost: other tests run as {USER}; waiting for them")
            fcntl.flock(lock, fcntl.LOCK_EX)
        Path(folder).chmod(0o711)
        place = HOME / "radpost"
        copy_tree(place, account)
        # Set up by root, who has the way to the packages; not linked into root's cache, as the owner changes.
        env = {**os.environ, "UV_LINK_MODE": "copy"}
        done = subprocess.run([sys.executable, place / "tools/bootstrap.py", "--dev"], env=env, check=False)
        if done.returncode:
            return done.returncode
        own(place, account.pw_uid, account.pw_gid)
        socket_path = Path(folder) / "socket"
        serve = [sys.executable, str(ROOT / "tools/root_helper.py"), "serve", str(socket_path), USER]
        helper = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if helper.stdout is None or helper.stdout.readline() != "ready\n":
                say("radpost: the helper for what needs root did not start")
                return 1
            drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
            argv = [*drop, sys.executable, str(place / "tools/run_tests.py"), *arguments]
            say(f"radpost: testing as {USER} in {place}")
            return subprocess.run(
                argv, cwd=place, env=environment(account, socket_path), check=False
            ).returncode
        finally:
            helper.communicate()


def main() -> int:
    """Run from the command line; arguments we do not know are pytest's."""
    parser = argparse.ArgumentParser(prog="tools/run_tests.py", description="Check and test Radpost.")
    parser.add_argument("--lint", action="store_true", help="no tests")
    parser.add_argument("--soak", action="store_true", help="only the long runs")
    args, rest = parser.parse_known_args()
    # A Python in root's home is closed to the test user; Debian's own is for everybody.
    system = Path("/usr/bin/python3")
    if os.geteuid() != 0:
        return as_user(args, rest)
    if Path(sys.executable).resolve() != system.resolve() and system.exists():
        os.execv(system, [str(system), *sys.argv])  # noqa: S606 - replaces this process by design
    return as_root(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

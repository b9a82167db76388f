"""Prove the set-up where nothing is prepared: a bare Debian, a fresh clone, an empty home, an ordinary user.

Run as root (``make bare-root``); the only thing that needs root is making the bare system, in a folder of its
own, with debootstrap. Inside it an ordinary user first meets a system without GnuPG (must be told what to
install, before any download), then sets Radpost up without pip, venv or package lists. How this machine
reaches Debian's and Python's packages (apt sources, pip settings, proxies, certificates) is carried over and
written nowhere else.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bootstrap import pip_settings  # after the path above: the tools are scripts, not a package

ROOT = Path(__file__).resolve().parent.parent
USER = "radiology"
UID = 1000
HOME = f"/home/{USER}"
PACKAGES = ("python3", "git", "make")
SUITE = 1500
"""So many tests at least need no program that a new user lacks."""
PORTS = "8000-15000"
"""Where the tests inside listen: the network is that of the machine, on which other tests may run."""
# How the machine reaches the network, by name of variable; the values stay on the machine.
CARRIED = re.compile(
    r"(?i)(https?|all|no|ftp)_proxy|SSL_CERT_(FILE|DIR)|PIP_CERT|REQUESTS_CA_BUNDLE|GIT_SSL_CAINFO"
)


class BareRootError(Exception):
    """The proof failed; the message says at which step."""


def say(text: str) -> None:
    """Print one progress line."""
    print(text, flush=True)


def sources() -> tuple[str, str]:
    """Return address and release of the archive this machine's apt uses."""
    form = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(CREATED_BY)"]
    lines = subprocess.run(form, check=True, capture_output=True, text=True).stdout.splitlines()
    codename = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text("utf-8"), re.MULTILINE)
    if codename is None:
        raise BareRootError("this machine is not a Debian release")
    for line in lines:
        address, release, component, kind = line.split()
        if (release, component, kind) == (codename[1], "main", "Packages"):
            return address, release
    raise BareRootError(f"apt has no source for {codename[1]} main")


def make_root(target: Path, base: Path | None) -> None:
    """Make the bare system, or unpack the one kept from an earlier run."""
    if base is not None and base.exists():
        subprocess.run(["tar", "-C", target, "-xf", base], check=True)
        return
    address, release = sources()
    include = ",".join(PACKAGES)
    argv = ["debootstrap", "--variant=minbase", f"--include={include}", release, str(target), address]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BareRootError("debootstrap failed:\n" + done.stdout[-3000:] + done.stderr[-1000:])
    if base is not None:
        subprocess.run(["tar", "-C", target, "-cf", base, "."], check=True)


def carry(target: Path) -> list[Path]:
    """Copy the machine's way to the network into the bare system; return local folders that pip reads."""
    for name in ("sources.list", "sources.list.d", "apt.conf.d", "auth.conf.d", "trusted.gpg.d", "keyrings"):
        _copy(Path("/etc/apt") / name, target)
    for name in (
        "/usr/share/keyrings",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/etc/ssl/certs",
        "/etc/hosts",
    ):
        _copy(Path(name), target)
    shutil.copyfile("/etc/resolv.conf", target / "etc/resolv.conf")
    settings = pip_settings(os.environ)
    settings.pop("config-file", None)
    lines = [f"{name} = {' '.join(value.split())}" for name, value in settings.items()]
    (target / "etc/pip.conf").write_text("\n".join(["[global]", *lines, ""]), "utf-8")
    words = " ".join(settings.values()).split()
    local = [Path(word.removeprefix("file://")) for word in words if word.startswith(("/", "file:///"))]
    for path in local:
        if path.is_file():
            _copy(path, target)
    # A mirror on disk keeps its files beside the folder "simple".
    return [path.parent if path.name == "simple" else path for path in local if path.is_dir()]


def _copy(path: Path, target: Path) -> None:
    if path.exists():
        place = (target / path.relative_to("/")).parent
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "--remove-destination", path, place], check=True)


class BareRoot:
    """The bare system: commands run in it, as root or as the ordinary user, in mounts that end with them."""

    def __init__(self, target: Path, shared: Sequence[Path]) -> None:
        self.target = target
        self.shared = shared

    def environment(self, home: str) -> dict[str, str]:
        """Return a new user's environment, with the machine's proxies and certificates."""
        own = {
            "RADPOST_TEST_PORTS": PORTS,
            "HOME": home,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
        }
        return own | {name: value for name, value in os.environ.items() if CARRIED.fullmatch(name)}

    def run(
        self, command: str, *, root: bool = False, cwd: str = HOME, limit: float = 900
    ) -> tuple[int, str]:
        """Run a shell command; return status and output."""
        mounts = ["mount --make-rprivate /", f"mount -t proc proc {self.target}/proc"]
        mounts += [f"mount --rbind /dev {self.target}/dev"]
        for folder in self.shared:
            inside = self.target / folder.relative_to("/")
            inside.mkdir(parents=True, exist_ok=True)
            mounts.append(f"mount --bind -o ro {folder} {inside}")
        who = [] if root else [f"--userspec={UID}:{UID}", "--groups="]
        script = " && ".join([*mounts, 'exec chroot "$@"'])
        inner = ["/bin/sh", "-c", f"cd {cwd} && {command}"]
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]
        done = subprocess.run(
            [*argv, *who, str(self.target), *inner],
            env=self.environment("/root" if root else HOME),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
        return done.returncode, done.stdout

    def must(
        self, step: str, command: str, *, root: bool = False, cwd: str = HOME, limit: float = 900
    ) -> str:
        """Run a command that has to succeed; return its output."""
        start = time.monotonic()
        status, output = self.run(command, root=root, cwd=cwd, limit=limit)
        if status:
            raise BareRootError(f"{step}: status {status}\n{output[-6000:]}")
        say(f"ok   {step} ({time.monotonic() - start:.1f} s)")
        return output


def expect(step: str, holds: bool, output: str) -> None:
    """Fail with the output unless the statement holds."""
    if not holds:
        raise BareRootError(f"{step}: not so\n{output[-6000:]}")
    say(f"ok   {step}")


def prepare(bare: BareRoot, repository: Path) -> None:
    """Make the ordinary user with an empty home, and a repository to clone from; forget apt's lists."""
    target = bare.target
    with (target / "etc/passwd").open("a", encoding="utf-8") as passwd:
        passwd.write(f"{USER}:x:{UID}:{UID}:A new user:{HOME}:/bin/sh\n")
    with (target / "etc/group").open("a", encoding="utf-8") as group:
        group.write(f"{USER}:x:{UID}:\n")
    (target / HOME.lstrip("/")).mkdir(mode=0o700)
    bundle = target / "srv/radpost.git"
    git = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--bare", "--no-hardlinks", str(repository)]
    subprocess.run([*git, str(bundle)], check=True, env={**os.environ, **_safe()})
    for path in (target / HOME.lstrip("/"), bundle, *bundle.rglob("*")):
        os.chown(path, UID, UID)
    for lists in (target / "var/lib/apt/lists").glob("*"):
        shutil.rmtree(lists) if lists.is_dir() else lists.unlink()
    (target / "tmp").chmod(0o1777)


def _safe() -> Mapping[str, str]:
    # The repository may belong to another user (git's "dubious ownership"); it is only read.
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


def prove(bare: BareRoot, *, demo: bool, test: bool) -> None:
    """Do what a new user does, and look at what happens."""
    bare.must("git clone as an ordinary user", "git clone --quiet /srv/radpost.git radpost")
    project = f"{HOME}/radpost"
    status, output = bare.run("make demo", cwd=project)
    told = status != 0 and "gpg-agent" in output and "sudo apt install" in output
    expect("without GnuPG it says what to install", told, output)
    left = bare.must("look", "ls -A . .. ; ls -A ~", cwd=project)
    expect("and has downloaded nothing", ".tools" not in left and ".cache" not in left, left)
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends gpg gpg-agent"
    bare.must("what it named is installed", f"{install} && rm -rf /var/lib/apt/lists/*", root=True, cwd="/")
    output = bare.must("python3 has no pip and no ensurepip", _no_pip(), cwd=project)
    say(bare.must("tools/bootstrap", "tools/bootstrap", cwd=project).strip())
    output = bare.must(
        "Radpost and all it needs can be imported",
        "ls .tools/debian/state/lists/*Packages* && " + _imports(),
        cwd=project,
    )
    start = time.monotonic()
    output = bare.must("tools/bootstrap again", "tools/bootstrap", cwd=project)
    expect("does nothing", output == "" and time.monotonic() - start < 2.0, output)
    if demo:
        output = bare.must("make demo", "make demo", cwd=project)
        say(output[-3000:])
    if test:
        output = bare.must("make test", "make test", cwd=project, limit=1500)
        say(output[-6000:])
        count = re.search(r"(\d+) passed", output)
        expect("the whole suite ran", count is not None and int(count[1]) >= SUITE, output)


def _no_pip() -> str:
    return "! python3 -c 'import pip' 2>/dev/null && ! python3 -c 'import ensurepip' 2>/dev/null"


def _imports() -> str:
    modules = "radpost, cryptography, imagecodecs, isal, msgspec, numpy, pybase64, pydicom, sqlalchemy"
    return f".venv/bin/python -c 'import {modules}'"


def main() -> int:
    """Run the proof: 0 proven, 1 not, 2 cannot be tried here."""
    parser = argparse.ArgumentParser(prog="tools/bare_root.py", description=__doc__.splitlines()[0])
    parser.add_argument("--demo", action="store_true", help="also run make demo")
    parser.add_argument("--test", action="store_true", help="also run make test")
    parser.add_argument("--base", type=Path, help="keep the bare system in this tar file and use it again")
    args = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        print("needs root and debootstrap (apt install debootstrap)", file=sys.stderr)
        return 2
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="radpost-bare-") as folder:
        target = Path(folder) / "root"
        target.mkdir()
        Path(folder).chmod(0o755)
        try:
            make_root(target, args.base)
            say(f"ok   a bare Debian ({time.monotonic() - start:.0f} s)")
            bare = BareRoot(target, carry(target))
            prepare(bare, ROOT)
            prove(bare, demo=args.demo, test=args.test)
        except (BareRootError, subprocess.SubprocessError, OSError) as error:
            print(f"FAIL {error}", file=sys.stderr)
            return 1
    say(f"proven in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

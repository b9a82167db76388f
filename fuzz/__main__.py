"""``python -m fuzz [TARGET ...] [--seconds N | --runs N]``: search for inputs that break what must hold."""

import argparse
import sys
from pathlib import Path

from fuzz import runner
from fuzz.target import bounded

KEPT = 30_000
"""Bytes of the repository's corpus for one target."""


def main() -> int:
    """Run from the command line; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(runner.NAMES)}; none: all")
    parser.add_argument("--seconds", type=int, default=0, help="how long each; default 10")
    parser.add_argument("--runs", type=int, default=0, help="how many inputs each")
    parser.add_argument("--seed", type=int, default=1, help="the same seed takes the same way")
    parser.add_argument("--corpus", type=Path, help="keep new inputs in DIR/TARGET and begin with them")
    parser.add_argument("--findings", type=Path, default=Path(), help="where a finding is written")
    parser.add_argument(
        "--committed-only", action="store_true", help="begin with the repository's corpus only"
    )
    parser.add_argument(
        "--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs once, uninstrumented"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="make the repository's corpus anew out of DIR/TARGET"
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args, options = parser.parse_known_args()
    names = args.targets or list(runner.NAMES)
    if args.here:
        runner.fuzz(names[0], options, repository_only=args.committed_only)
    if args.replay:
        for path in args.replay:
            bounded(runner.load(names[0]))(path.read_bytes())
        return 0
    if args.keep:
        for name in names:
            count, size = runner.keep(name, args.keep / name, KEPT)
            print(f"{name}: {count} inputs, {size} bytes")
        return 0
    return max(one(name, args, options) for name in names)


def one(name: str, args: argparse.Namespace, options: list[str]) -> int:
    """Run one target and say what came of it."""
    limit = [f"-runs={args.runs}"] if args.runs else [f"-max_total_time={args.seconds or 10}"]
    args.findings.mkdir(parents=True, exist_ok=True)
    options = [*limit, f"-seed={args.seed}", f"-artifact_prefix={args.findings}/{name}-", *options]
    if args.committed_only:
        options.append("--committed-only")
    if args.corpus:
        (args.corpus / name).mkdir(parents=True, exist_ok=True)
        options.append(str(args.corpus / name))
    result = runner.run(name, options, quiet=not sys.stdout.isatty())
    verdict = "nothing found" if result.clean else "FOUND"
    sys.stdout.write(
        f"{name}: {verdict}; {result.executions} inputs, {result.branches} branches, "
        f"{result.features} features, corpus {result.corpus}\n"
    )
    if not result.clean:
        sys.stdout.write(result.log[-6000:])
    return 0 if result.clean else 1


if __name__ == "__main__":
    sys.exit(main())

# Radpost: what there is to do. Everything is set up inside this directory; no root is needed.
#   make demo      the main job, shown
#   make test      the whole test suite
ARGS   ?=
PYTEST ?=

.PHONY: help demo test lint bench soak lock bare-root clean
help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo:            ## show the main job: a study travels between two institutions (ARGS="--slices 40")
	@tools/bootstrap
	@.venv/bin/radpost demo $(ARGS)

test:            ## linter, type checker, tests (PYTEST="tests/unit -k mdn" for a part)
	@tools/test $(PYTEST)

lint:            ## linter, formatter and type checker only
	@tools/bootstrap --dev
	@tools/test --lint

bench:           ## measure the figures of the design, as ratios (BENCH_JSON=path also writes them)
	@tools/bootstrap --dev
	@.venv/bin/python -m benchmarks $(ARGS)

soak:            ## the long runs: kills, simulation, fuzzing (SECONDS_EACH=600)
	@tools/test --soak $(PYTEST)

lock:            ## write requirements/*.lock anew; UPGRADE=1 takes the newest versions
	@tools/lock $(if $(UPGRADE),--upgrade)

bare-root:       ## as root: prove the set-up in a bare Debian (needs debootstrap)
	@/usr/bin/python3 tools/bare_root.py $(ARGS)

clean:           ## remove what was set up here
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis

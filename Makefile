# Radpost: what there is to do. Everything is set up inside this directory; no root is needed.
#   make demo      the main job, shown
#   make test      the whole test suite
ARGS   ?=
PYTEST ?=
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)

.PHONY: help demo test lint bench fuzz soak lock bare-root clean
help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo:            ## show the main job: a study travels between two institutions (ARGS="--slices 40")
	@tools/bootstrap
	@.venv/bin/radpost demo $(ARGS)

test:            ## linter, type checker, tests (PYTEST="tests/unit -k mdn" for a part)
	@$(PYTHON) tools/run_tests.py $(PYTEST)

lint:            ## linter, formatter and type checker only
	@$(PYTHON) tools/run_tests.py --lint

bench:           ## measure the figures of the design, as ratios (BENCH_JSON=path also writes them)
	@tools/bootstrap --dev
	@.venv/bin/python -m benchmarks $(ARGS)

fuzz:            ## search for mails and objects that break the readers (ARGS="mime --seconds 1800")
	@tools/bootstrap --dev
	@.venv/bin/python -m fuzz $(ARGS)

soak:            ## the long runs: kills, simulation, fuzzing (RADPOST_SOAK=50 times the usual length)
	@$(PYTHON) tools/run_tests.py --soak $(PYTEST)

lock:            ## write requirements/*.lock anew; UPGRADE=1 takes the newest versions
	@tools/lock $(if $(UPGRADE),--upgrade)

bare-root:       ## as root: prove the set-up in a bare Debian (needs debootstrap)
	@$(PYTHON) tools/bare_root.py $(ARGS)

clean:           ## remove what was set up here
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Every target makes the environment first. ARGS passes flags through: make audit ARGS="--seed 7"
PYTHON ?= python3.11
STORE  ?= $(CURDIR)/runs/audit
CODEC_STORE ?= $(CURDIR)/runs/codec
EMBEDDING_STORE ?= $(CURDIR)/runs/embedding
PRESET ?= desk
ARGS   ?=
PY     := .venv/bin/python
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help env audit codec-audit codec-frontier model-inference inversion test test-slow lint types bench ui clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 17

env: .venv/.ready  ## make .venv from requirements.lock (about four minutes and 6 GB the first time)

.venv/.ready: requirements.lock pyproject.toml
	@python=; for p in $(PYTHON) python3.11 python3 python; do \
	  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	    && python=$$p && break; done; \
	if [ -z "$$python" ]; then \
	  echo "make env: needs Python 3.11 (or 3.12), found $$(python3 --version 2>&1); install it, or name it: make PYTHON=/path/to/python3.11"; \
	  exit 1; fi; \
	"$$python" -m venv .venv
	$(PY) -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

audit: env  ## audit the synthetic stand-in, as a job on a local Ray of its own (at most 20 minutes on 2 cores)
	$(PY) jobs/submit.py jobs/mia_sweep.py --preset $(PRESET) --store "$(STORE)" $(ARGS)

codec-audit: env  ## audit a learned codec on the synthetic stand-in, alike (at most 15 minutes on 2 cores)
	$(PY) jobs/submit.py jobs/codec_audit.py --preset $(PRESET) --store "$(CODEC_STORE)" $(ARGS)

codec-frontier: env  ## the same with the whole frontier: three victims a defence, each at every lambda (hours)
	$(PY) jobs/submit.py jobs/codec_audit.py --preset frontier --store "$(CODEC_STORE)" $(ARGS)

model-inference: env  ## which network made this vector? (at most 15 minutes on 2 cores)
	$(PY) jobs/submit.py jobs/model_inference.py --preset $(PRESET) --store "$(EMBEDDING_STORE)" $(ARGS)

inversion: env  ## from one stolen vector to a picture that gets in? (at most 15 minutes on 2 cores)
	$(PY) jobs/submit.py jobs/embedding_inversion.py --preset $(PRESET) --store "$(EMBEDDING_STORE)" $(ARGS)

test: env  ## the tests that every change passes (at most 16 minutes on 2 cores)
	$(PY) -m pytest -m "not slow" $(ARGS)

test-slow: env  ## the rest: calibration of the statistics, planted leaks, killed workers
	$(PY) -m pytest -m slow --timeout 3600 $(ARGS)

lint: env  ## ruff
	$(PY) -m ruff check .

types: env  ## mypy
	$(PY) -m mypy

bench: env  ## every benchmark beside its peer, in one run; adds the extras `matcher` and `peers` to .venv
	$(PY) -m pip install --disable-pip-version-check --quiet --no-build-isolation -c requirements.lock -e ".[matcher,peers]"
	@failed=0; for b in benchmarks/*.py; do echo "== $$b"; $(PY) "$$b" || failed=1; done; exit $$failed

ui: env  ## the MLflow UI on the runs under STORE
	$(PY) -m mlflow ui --backend-store-uri "sqlite:///$(STORE)/mlflow.db" $(ARGS)

clean:  ## remove the environment and the caches; results under runs/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

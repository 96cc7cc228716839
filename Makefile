# make envs   build the environments that are missing or whose requirements changed
# make demo   quantize a model, index, search, compare int8 with fp32
# make test   the whole test suite, in each environment what can run there
# make lint   ruff and mypy
#
# Of the native engine's library (a C++ compiler is needed for all of them):
# make sanitize      its test program under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
# make test-levels   each level of instruction sets on this CPU, and AVX2 alone on an emulated one (needs qemu-user)
# make wheel         a wheel in dist/ for every Python on this platform
# make test-wheel    the wheel and the sdist, each installed into an environment that has nothing else

PYTHON ?= python3.11
UV := .venv/uv/bin/uv
HAYSTACK1 := .venv/haystack1

# Packages that cannot live together: Haystack 1; fastRAG 3 on Haystack 2; Haystack 3.
ENVIRONMENTS := haystack1 fastrag haystack

# pip's extra folder of wheels, where a machine has one, serves uv too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_HTTP_TIMEOUT ?= 300

.PHONY: envs demo test lint clean sanitize test-levels wheel test-wheel $(ENVIRONMENTS:%=test-%)
.PRECIOUS: .venv/%/.requirements .venv/%/.package

envs: $(ENVIRONMENTS:%=.venv/%/.package)

demo: $(HAYSTACK1)/.package
	$(HAYSTACK1)/bin/python demo/run.py

test: $(ENVIRONMENTS:%=test-%)

$(ENVIRONMENTS:%=test-%): test-%: .venv/%/.package
	.venv/$*/bin/python -m pytest

lint: $(HAYSTACK1)/.lint
	$(HAYSTACK1)/bin/ruff check .
	$(HAYSTACK1)/bin/ruff format --check .
	$(HAYSTACK1)/bin/mypy

sanitize:
	$(MAKE) -C tests/native -j $(shell nproc) sanitize

test-levels:
	$(MAKE) -C tests/native -j $(shell nproc) levels

wheel: $(UV)
	$(UV) build --wheel --out-dir dist .

test-wheel: $(UV)
	tests/native/test-wheel $(UV) $(PYTHON)

clean:
	rm -rf .venv demo-output build dist

$(UV):
	$(PYTHON) -m venv .venv/uv
	.venv/uv/bin/pip install --quiet uv

.venv/%/.requirements: requirements/%.txt | $(UV)
	$(UV) venv --clear --quiet --python $(PYTHON) .venv/$*
	$(UV) pip install --python .venv/$*/bin/python -r $<
	touch $@

.venv/%/.package: .venv/%/.requirements setup.cfg setup.py pyproject.toml $(wildcard fastrag_quant/engines/native/cpp/*)
	$(UV) pip install --quiet --python .venv/$*/bin/python --no-deps --editable .
	touch $@

$(HAYSTACK1)/.lint: $(HAYSTACK1)/.package requirements/lint.txt
	$(UV) pip install --quiet --python $(HAYSTACK1)/bin/python -r requirements/lint.txt
	touch $@

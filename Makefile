# make envs   build the environments that are missing or whose requirements changed
# make demo   quantize a model, index, search, compare int8 with fp32
# make test   the whole test suite, in each environment what can run there
# make lint   ruff and mypy

PYTHON ?= python3.11
UV := .venv/uv/bin/uv
HAYSTACK1 := .venv/haystack1

# Packages that cannot live together: Haystack 1; fastRAG 3 on Haystack 2; Haystack 3.
ENVIRONMENTS := haystack1 fastrag haystack

# pip's extra folder of wheels, where a machine has one, serves uv too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_HTTP_TIMEOUT ?= 300

.PHONY: envs demo test lint clean $(ENVIRONMENTS:%=test-%)
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

clean:
	rm -rf .venv demo-output

$(UV):
	$(PYTHON) -m venv .venv/uv
	.venv/uv/bin/pip install --quiet uv

.venv/%/.requirements: requirements/%.txt | $(UV)
	$(UV) venv --clear --quiet --python $(PYTHON) .venv/$*
	$(UV) pip install --python .venv/$*/bin/python -r $<
	touch $@

.venv/%/.package: .venv/%/.requirements setup.cfg pyproject.toml
	$(UV) pip install --quiet --python .venv/$*/bin/python --no-deps --editable .
	touch $@

$(HAYSTACK1)/.lint: $(HAYSTACK1)/.package requirements/lint.txt
	$(UV) pip install --quiet --python $(HAYSTACK1)/bin/python -r requirements/lint.txt
	touch $@

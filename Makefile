# make envs   build the environments that are missing or whose requirements changed
# make demo   quantize a model, index, search, compare int8 with fp32
# make test   the whole test suite
# make lint   ruff and mypy

PYTHON ?= python3.11
UV := .venv/uv/bin/uv
HAYSTACK1 := .venv/haystack1

# pip's extra folder of wheels, where a machine has one, serves uv too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_HTTP_TIMEOUT ?= 300

.PHONY: envs demo test lint clean

envs: $(HAYSTACK1)/.package

demo: envs
	$(HAYSTACK1)/bin/python demo/run.py

test: envs
	$(HAYSTACK1)/bin/python -m pytest

lint: $(HAYSTACK1)/.lint
	$(HAYSTACK1)/bin/ruff check .
	$(HAYSTACK1)/bin/ruff format --check .
	$(HAYSTACK1)/bin/mypy

clean:
	rm -rf .venv demo-output

$(UV):
	$(PYTHON) -m venv .venv/uv
	.venv/uv/bin/pip install --quiet uv

$(HAYSTACK1)/.requirements: requirements/haystack1.txt | $(UV)
	$(UV) venv --clear --quiet --python $(PYTHON) $(HAYSTACK1)
	$(UV) pip install --python $(HAYSTACK1)/bin/python -r requirements/haystack1.txt
	touch $@

$(HAYSTACK1)/.package: $(HAYSTACK1)/.requirements setup.cfg pyproject.toml
	$(UV) pip install --quiet --python $(HAYSTACK1)/bin/python --no-deps --editable .
	touch $@

$(HAYSTACK1)/.lint: $(HAYSTACK1)/.package requirements/lint.txt
	$(UV) pip install --quiet --python $(HAYSTACK1)/bin/python -r requirements/lint.txt
	touch $@

# Two commands on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
# Each makes its own virtual environment. Python 3.11: pybullet's wheels end there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)

.PHONY: demo test lint format docs open-prior clean

demo: .venv/ready
	.venv/bin/twohand demo
	.venv/bin/twohand make demo --out demo-out/recipe

test: .venv-test/ready
	.venv-test/bin/python -m pytest -n auto --dist loadfile

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

format: .venv-test/ready
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

docs: .venv/ready
	.venv/bin/python -m twohand500k.shards.format_doc > docs/format.md

# The prior that ships, from nothing: its data (11 minutes on 2 cores), its training (half an hour).
# On another machine the same but for rounding. Threads are part of the bits.
open-prior: .venv-test/ready
	.venv-test/bin/twohand make open-500k --set samples=20000 --set builds.hands.count=20000 \
		--out build/open-20k
	.venv-test/bin/twohand train-prior --preset open --threads 1 --data build/open-20k/dataset \
		--out build/open
	cp build/open/prior.safetensors build/open/card.md interaction_prior/open_prior/

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --editable .
	touch $@

# The test environment adds torch and smplx: the companion tier and the oracle of our kinematics.
.venv-test/ready: pyproject.toml requirements-test.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --upgrade pip
	.venv-test/bin/python -m pip install --quiet --requirement requirements-test.txt
	.venv-test/bin/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-test demo-out build dist *.egg-info

# Run `make help` for the targets. Each stage of the demo is remade only if what it is made from has changed.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help site refresh status promote restore demo test pythons lint serve browser bench reproduce notebooks clean
.PHONY: chromium axe announcement

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
SERVE_PY := .venv-serve/bin/python
# or requirements.lock and requirements-serve.lock: the very files, their hashes checked
REQUIREMENTS ?= requirements-stages.txt
SERVE_REQUIREMENTS ?= deployment/requirements.txt webapp/requirements.txt

DATA := data/demo
MODELS := models/demo
REPORTS := reports/demo
MODEL := all-minilm-l6-v2
SITE_PORT ?= 8765
GRADIO_PORT ?= 7860
FORM_PORT ?= 8000
PAGE_PORT ?= 8080
PAGE := build/browser
SERVED := deployment/model
MODEL_FOLDER ?= $(SERVED)
BENCH := reports/bench

# The demo writes into its folders with --force, and clean removes them: nobody's own data may be there.
$(foreach name,DATA MODELS REPORTS BENCH,$(if $(filter-out file,$(origin $(name))),\
	$(error $(name) is the demo's own folder; for data of your own, run the stages one by one, as the README shows)))

# Where a container forbids it, each stage would compile the libraries anew, which takes longer than to load them.
unexport PYTHONDONTWRITEBYTECODE

# $(call NAMED,SITE): the variable, or an error that asks for it
NAMED = $(or $($(1)),$(error $@ needs a site: make $@ $(1)=cooking))

ifdef FORCE
.PHONY: $(DATA)/ques_details.csv
endif

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

demo: announcement $(REPORTS)/comparison.json ## run every stage on the embedded sample site (FORCE=1: anew)
	@cat $(REPORTS)/comparison.md
	$(call STAGE,8,tag a question)
	@$(PY) deployment/predict.py --model $(MODELS)/$(MODEL)/onnx \
		--title "Loss becomes NaN when I train a CNN" \
		--description "My Keras model on small images diverges after a few batches. Which learning rate should I try?"
	@echo "What to try next:"
	@echo "  $(PY) deployment/predict.py --model $(MODELS)/$(MODEL)/onnx --title 'a question of your own'"
	@echo "  make serve                                       the tagger of a real site, on http://127.0.0.1:$(FORM_PORT)"
	@echo "  make site SITE=cooking CONTACT=you@example.org   a tagger for a site of your choice; QUICK=1: in minutes"

announcement:
	@echo "8 stages on the embedded sample site: 4 to 12 minutes on 2 idle cores, by processor. Stage 4 says how long it takes."
	@echo "A stage is left out if its input has not changed since the last demo."

site: .venv/installed $(if $(filter pages,$(SOURCE)),chromium) ## from the name of a site to a tagger: SITE=cooking CONTACT=you@example.org (QUICK=1, SOURCE=dump FILE=...)
	@$(PY) onnx_export/build_site.py $(call NAMED,SITE) $(if $(SOURCE),--source $(SOURCE)) $(if $(FILE),--file "$(FILE)") \
		$(if $(CONTACT),--contact $(CONTACT)) $(if $(QUICK),--quick) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(PRECISION),--precision $(PRECISION))

refresh: .venv/installed ## monthly: fetch what is new, train again if the tag watch says so: SITE=cooking (QUICK=1)
	@$(PY) onnx_export/build_site.py $(call NAMED,SITE) --refresh $(if $(QUICK),--quick)

status promote restore: .venv/installed
	@$(PY) onnx_export/release.py $(call NAMED,SITE) $@
status: ## the releases of a site and their figures: SITE=cooking
promote: ## put the staged release into service if it is no worse: SITE=cooking
restore: ## put the release before back into service: SITE=cooking

test: .venv/all .venv/ray .venv/transformers_js/installed .venv-serve/installed chromium axe browser ## run the whole test suite
	$(PY) -m pytest -n 3 --dist loadfile

pythons: .venv/all ## install and start the serving files under each Python from 3.11 to 3.13 that is here
	$(PY) -m pytest -m pythons tests/test_pythons.py

lint: .venv/all ## check style, formatting and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy --platform win32 --cache-dir .mypy_cache/win32
	$(PY) -m mypy --platform darwin --cache-dir .mypy_cache/darwin

# set -m: each app gets a group of its own, so Ctrl-C reaches the trap alone. A gunicorn worker that takes SIGINT from the
# terminal and SIGQUIT from its master at once locks itself up, and the stop takes 30 s (seen with gunicorn 27.0.1).
serve: .venv-serve/installed ## Gradio app on http://127.0.0.1:7860, form on port 8000, page in the browser on port 8080
	@test -f $(SERVED)/onnx/model_quantized.onnx || test -f $(SERVED)/model_quantized.onnx || test -f $(SERVED)/releases.json || \
		{ echo "$(SERVED) holds no model_quantized.onnx" >&2; exit 1; }
	@page=; if $(MAKE) --no-print-directory browser; then page=http://127.0.0.1:$(PAGE_PORT); \
	else echo "the page that tags in the browser is not served, since it could not be built" >&2; fi; \
	echo "serving $(SERVED); Ctrl-C stops all servers"; set -m; \
	TAGGER_MODEL=$(SERVED) $(SERVE_PY) deployment/app.py --port $(GRADIO_PORT) & servers=$$!; \
	TAGGER_SPACE=http://127.0.0.1:$(GRADIO_PORT) TAGGER_BROWSER_PAGE=$$page $(SERVE_PY) -m gunicorn \
		--bind 127.0.0.1:$(FORM_PORT) --threads 16 "webapp.app:create_app()" & servers+=" $$!"; \
	if test "$$page"; then \
		$(SERVE_PY) -m http.server --bind 127.0.0.1 --directory $(PAGE) $(PAGE_PORT) & servers+=" $$!"; fi; \
	set +m; trap 'kill $$servers 2>/dev/null; wait; exit 0' INT TERM HUP; \
	run() { for server in $$servers; do kill -0 $$server || return; done; }; while run; do sleep 0.5; done 2>/dev/null; \
	kill $$servers 2>/dev/null; wait; echo "a server stopped; so did the others" >&2; exit 1

browser: .venv-serve/installed ## build the page that tags without a server into build/browser
	@deployment/browser/install_node.sh
	@$(SERVE_PY) deployment/build_browser.py --model $(SERVED) --output $(PAGE) --force

bench: $(REPORTS)/comparison.json .venv/ray .venv/rivals .venv-serve/installed chromium browser ## measure speed and scale, as ratios; fail if the demo's model has become worse
	$(PY) onnx_export/quality_gate.py --models-dir $(MODELS) --model $(MODEL) --best assets/best_demo
	@failed=; \
	run() { echo "--- $$1"; $(PY) benchmarks/$$1.py --output $(BENCH)/$$1.md "$${@:2}" || failed+=" $$1"; }; \
	run inference $(WHERE) --model $(MODEL); \
	run frontier $(WHERE) --model $(MODEL); \
	run int8_recipes $(WHERE) --model $(MODEL); \
	run session --questions $(DATA)/ques_details.csv; \
	run tfidf --data-dir $(DATA); \
	run fine_tuning --data-dir $(DATA) --model $(MODEL); \
	run bulk --questions $(DATA)/ques_details.csv; \
	run growth --questions $(DATA)/ques_details.csv; \
	run scale --questions $(DATA)/ques_details.csv; \
	run scraping; \
	run dump; \
	run load --python $(SERVE_PY); \
	run thresholds --model $(MODELS)/$(MODEL)/onnx --data-dir $(DATA); \
	run similar --model $(MODELS)/$(MODEL)/onnx --data-dir $(DATA); \
	run vocabulary --model $(MODELS)/$(MODEL)/onnx --data-dir $(DATA); \
	run doubt --own $(DATA)/ques_details.csv; \
	run cost --questions $(DATA)/ques_details.csv; \
	run browser --questions $(DATA)/ques_details.csv; \
	cat $(BENCH)/*.md > reports/benchmark.md; echo "-> reports/benchmark.md"; \
	test -z "$$failed" || { echo "missed:$$failed" >&2; exit 1; }

reproduce: .venv/installed ## make the served model again: fetch its questions, train and compare (CONTACT=you@example.org)
	$(PY) onnx_export/reproduce.py --model $(MODEL_FOLDER) $(if $(API),--api $(API)) $(if $(CONTACT),--contact $(CONTACT))

notebooks: demo .venv/all ## execute the notebooks on the demo's results, and save their outputs
	$(PY) -m pytest --quiet --nbmake --overwrite notebooks

clean: ## remove what the demo made, the built page, and the virtual environments
	rm -rf .venv .venv-serve build/browser build/npm $(DATA) $(MODELS) $(REPORTS) $(BENCH) reports/benchmark.md

# --- set-up ---------------------------------------------------------------------------------------------------------

# Training and serving have an environment each: the exporter needs an older huggingface_hub than Gradio does.
# A virtual environment knows its folder: once that was moved or copied, `activate` would lead into the first one.
ENVIRONMENTS := .venv/installed .venv-serve/installed
.PHONY: $(foreach file,$(ENVIRONMENTS),$(if $(filter-out "$(CURDIR)","$(shell cat $(file) 2>/dev/null)"),$(file)))

.venv/installed: $(REQUIREMENTS)
.venv-serve/installed: $(SERVE_REQUIREMENTS)

# --no-compile: Python compiles what it imports, a small part of what is installed.
$(ENVIRONMENTS):
	@"$(PYTHON)" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv); or name one: make PYTHON=..." >&2; exit 1; }
	"$(PYTHON)" -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile $(addprefix --requirement ,$^)
	@echo "$(CURDIR)" >$@

# Gradio, and what the tests need.
.venv/all: .venv/installed requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.txt
	@touch $@

# The project's own packages stay as they are: a rival whose requirements exclude one of them cannot be installed.
.venv/rivals: .venv/installed pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --constraint requirements-stages.txt '.[bench]' || \
		echo "the rivals of benchmarks/frontier.py could not be installed, so those that are missing are left out" >&2
	@touch $@

.venv/ray: .venv/installed deployment/requirements-ray.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --requirement deployment/requirements-ray.txt
	@touch $@

# Of onnxruntime's binaries, those of other systems are left out.
.venv/transformers_js/installed: tests/transformers_js/package-lock.json | .venv/installed
	@deployment/browser/install_node.sh
	@mkdir -p $(@D) && cp tests/transformers_js/package.json tests/transformers_js/package-lock.json $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@rm -r $(@D)/node_modules/onnxruntime-node/bin/napi-v6/darwin $(@D)/node_modules/onnxruntime-node/bin/napi-v6/win32
	@touch $@

chromium:
	@scraper/install_browser.sh

axe: .venv/installed
	@tests/install_axe.sh .venv/axe.min.js

# --- the demo's stages ----------------------------------------------------------------------------------------------

# $(call STAGE,number,what it does)
STAGE = @echo "--- stage $(1) of 8: $(2)"

SITE_SOURCES := $(shell find data/sample_site -type f -not -path '*/__pycache__/*')
WHERE := --data-dir $(DATA) --models-dir $(MODELS)

$(DATA)/ques_details.csv: $(SITE_SOURCES) $(wildcard scraper/*.py) | .venv/installed chromium
	$(call STAGE,1,scrape the questions with a browser)
	@mkdir -p $(DATA) && rm -f $(DATA)/site_url
	@$(PY) data/sample_site/server.py --port $(SITE_PORT) --port-file $(DATA)/site_url & server=$$!; \
	trap 'kill $$server' EXIT; \
	until test -f $(DATA)/site_url; do kill -0 $$server; sleep 0.1; done; site=$$(cat $(DATA)/site_url); \
	$(PY) scraper/question_url_scraper.py --site $$site --workers 2 --delay 0 --output $(DATA)/ques_urls.csv --force; \
	$(PY) scraper/question_details_scraper.py --workers 2 --delay 0 --input $(DATA)/ques_urls.csv --output $@ --force

$(DATA)/split.csv: $(DATA)/ques_details.csv $(addprefix training/,filter_tags.py tags.py splits.py) data/duplicates.py
	$(call STAGE,2,drop rare tags and split the questions)
	$(PY) training/filter_tags.py --data-dir $(DATA) --min-frequency 0.02 --force

$(MODELS)/tfidf-baseline/thresholds.json: $(DATA)/split.csv $(addprefix training/,baseline.py tfidf.py thresholds.py)
	$(call STAGE,3,train the baseline)
	$(PY) training/baseline.py $(WHERE) --force

TRAINING := $(addprefix training/,finetune.py trainers.py results.py recipes.py model.py losses.py dataset.py \
	checkpoints.py thresholds.py backbones.py duration.py frozen.py tokenized.py)
COMPARING := data/markdown.py onnx_export/compare.py $(wildcard onnx_export/evaluation/*.py)
COMPARING += $(addprefix training/,metrics.py calibration.py)
$(MODELS)/$(MODEL)/run.json: $(DATA)/split.csv $(TRAINING) $(wildcard deployment/tagging/*.py)
	$(call STAGE,4,fine-tune an encoder: the longest stage)
	$(PY) training/finetune.py --model $(MODEL) $(WHERE) --force \
		--max-length 128 --epochs 8 --batch-size 16 --learning-rate 3e-4 --consistency 0

$(MODELS)/$(MODEL)/onnx/model.onnx: $(MODELS)/$(MODEL)/run.json onnx_export/export.py
	$(call STAGE,5,export to ONNX)
	$(PY) onnx_export/export.py --model $(MODEL) $(WHERE) --force

$(MODELS)/$(MODEL)/onnx/model_quantized.onnx: $(MODELS)/$(MODEL)/onnx/model.onnx $(addprefix onnx_export/,quantize.py quantization.py int8.py)
	$(call STAGE,6,quantize to int8)
	$(PY) onnx_export/quantize.py --model $(MODEL) $(WHERE) --force

$(REPORTS)/comparison.json: $(MODELS)/tfidf-baseline/thresholds.json $(MODELS)/$(MODEL)/onnx/model_quantized.onnx \
		$(COMPARING)
	$(call STAGE,7,compare the models on the test questions)
	$(PY) onnx_export/compare.py $(WHERE) --reports-dir $(REPORTS) --force

# DICOM 批量导入服务。需要 Python 3.11+ 与 GNU make，不需要 root。
#   make demo     一条命令看完整流程（自带 XieHe 沙箱与样例影像）；参数用 DEMO_ARGS，例如 DEMO_ARGS="--contract 1 --keep-running"
#   make run      按 .env 启动服务            make sandbox  在 8000 端口启动一个 XieHe 沙箱
#   make test     日常测试（约 3 分钟）        make test-all 全部测试，含故障、强杀、Dask、浏览器（约 15 分钟）
#   make lint     ruff、codespell、mypy --strict、import-linter   make check  make lint，然后 make test-all
#   make browser  安装测试用的 Chromium 与 nginx（已有则什么也不做；Debian/Ubuntu 上需要 root）
#   make pictures 重拍文档中管理界面的截图
#   make fuzz     对读文件与像素路径做变异测试  时长用 FUZZ_SECONDS，种子用 FUZZ_SEED
#   make bench    测量性能并写 benchmarks/RESULTS.md（约 20 分钟，机器须空闲）；BENCH_ARGS="--quick render" 只看一项
# 变量：PYTHON=python3.12 选择解释器；PYTEST_ARGS="-k name" 传给 pytest。

ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
endif

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

DEMO_ARGS ?=
PYTEST_ARGS ?= -n 5 --dist loadscope --no-loadscope-reorder -p no:schemathesis
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
BENCH_ARGS ?=
SANDBOX_PORT ?= 8000
SANDBOX_CONTRACT ?= 4
SANDBOX_TOKEN ?= sandbox-token

.DEFAULT_GOAL := help
.PHONY: help demo run sandbox browser pictures test test-all lint check fuzz bench
.NOTPARALLEL:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -9

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "需要 Python 3.11 或更高版本；用 make PYTHON=/path/to/python3 指定" >&2; exit 1; }
	@echo "创建虚拟环境 $(VENV)（$(PYTHON)）"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "无法创建虚拟环境：Debian/Ubuntu 上通常缺少 python3-venv 包" >&2; exit 1; }

$(VENV)/.installed: $(VENV)/pyvenv.cfg requirements.txt requirements-sandbox.txt constraints.txt
	@echo "安装依赖（requirements-sandbox.txt）"
	@$(INSTALL) -r requirements-sandbox.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt requirements-dask.txt
	@echo "安装测试与检查工具（requirements-dev.txt）"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/python -m demo $(DEMO_ARGS)

run: $(VENV)/.installed
	@test -f .env || { echo "没有 .env：请先 cp .env.example .env 并填写" >&2; exit 1; }
	@$(BIN)/python main.py

sandbox: $(VENV)/.installed
	@echo "XieHe 沙箱（就绪时打印地址）  账号 importer  密码 sandbox-password  数据 sandbox-data/"
	@echo "API_TOKEN=$(SANDBOX_TOKEN)"
	@$(BIN)/python -m sandbox --contract $(SANDBOX_CONTRACT) --port $(SANDBOX_PORT) --data-dir sandbox-data \
		--token $(SANDBOX_TOKEN) --user importer --password sandbox-password

browser:
	@sh tests/browser/install_chromium.sh

pictures: $(VENV)/.installed-dev
	@sh tests/browser/install_chromium.sh --fonts
	@$(BIN)/python -m tests.browser.take_pictures

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: $(VENV)/.installed-dev browser
	@$(BIN)/python -m pytest -m "not slow" --cov --cov-report= $(PYTEST_ARGS)
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/mypy .
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -p no:schemathesis tests/unit/test_layers.py

check: lint test-all

fuzz: $(VENV)/.installed-dev
	@$(BIN)/python tests/fuzz/fuzz_read_file.py $(FUZZ_SECONDS) $(FUZZ_SEED)

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

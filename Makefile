# What a person types. `make help` lists it.

TARGET  := $(or $(CARGO_TARGET_DIR),target)
PLUGINS := rest pilot db
CRATES  := $(PLUGINS:%=mshost-plugin-%)

# The plugins apart from the host: built together, they would get its features of tokio, and with them a signal driver that
# each reload leaves behind.
BUILD   := cargo build --release -p mshost && cargo build --release $(CRATES:%=-p %)

.DEFAULT_GOAL := help
.PHONY: help build run test variants memcheck miri lint bench chaos soak

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A running host must never see a half-written plugin: write under a name that it does not watch, then rename.
build: ## Build the host and the plugins in release, and put the plugins into plugins/
	$(BUILD)
	@for plugin in $(PLUGINS); do \
		built=$(TARGET)/release/lib$$plugin.so; placed=plugins/lib$$plugin.so; \
		cmp -s $$built $$placed || { cp $$built $$placed.tmp && mv $$placed.tmp $$placed; } || exit 1; \
	done

run: build ## Build all, then serve the movie example on http://127.0.0.1:8080/movies/
	@cat .ci/welcome.txt
	@exec $(TARGET)/release/mshost --topology topology.toml

test: ## Run every test (installs rabbitmq-server and nodejs through apt where they are absent)
	.ci/install-rabbitmq
	.ci/install-peer
	.ci/test

variants: ## Load plugins that were built in every way that is known to differ: optimisation, LTO, allocator, plugin-api
	cargo test -p mshost-tests --test abi -- --include-ignored build_variants

# The probe and cargo, which are processes of their own, run as usual. What needs exact times cannot run here.
MEMCHECK := valgrind --quiet --error-exitcode=99 --exit-on-first-error=yes --fair-sched=yes --num-callers=30

memcheck: ## Load, call and unload plugins under Valgrind: no access to memory that is not theirs, or no longer
	.ci/install-valgrind
	cargo test --config "target.'cfg(all())'.runner = '$(MEMCHECK)'" -p mshost-tests --test abi -- \
		--test-threads=1 --skip blocking_jobs_overlap --skip optimisation --skip bad_files --skip probe_property --skip state

miri: ## Interpret a plugin and a host that know each other by the ABI alone: no undefined behaviour, nothing leaked
	.ci/install-miri
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=8 cargo +nightly miri test -p mshost-plugin-api --lib --test crossing

lint: ## Check format, lints, documentation and, where cargo-deny is installed, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --document-private-items
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; \
	else echo "cargo-deny is not installed: dependencies are not checked (cargo install cargo-deny)"; fi

bench: ## Measure, each figure next to its baseline
	.ci/install-rabbitmq
	$(BUILD)
	cargo bench -p mshost-tests --bench movies

chaos: ## Break a pipeline on RabbitMQ at random for 10 minutes, and prove that nothing is lost (MSHOST_CHAOS_SEED repeats a run)
	.ci/install-rabbitmq
	cargo bench -p mshost-tests --bench chaos

soak: ## Reload 10,000 times under load, then 10 minutes of faults: nothing lost, no request failed, nothing grows (MSHOST_SOAK_SEED repeats a run)
	cargo bench -p mshost-tests --bench soak

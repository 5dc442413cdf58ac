# SPDX-License-Identifier: Apache-2.0
# Thin front of meson: see README.md. BUILD chooses the build folder, MESONFLAGS its options when it
# is made. `make release` is the hardened build (ThinLTO, cfi-icall, no debug checks) that `make install`
# installs; `make` and the tests use one with debug checks.
BUILD ?= build
MESONFLAGS ?=
CMD ?= echo "hello from $$(uname -sr), pid $$$$, $$(ls / | wc -l) entries in /"
PREFIX ?= /usr/local
RELEASE ?= build-release
export BUILD CMD

all: build

deps:
	@tools/deps.sh

# Configures, and again whenever a source file has come or gone.
setup: deps
	@mkdir -p $(BUILD)
	@tools/sources.sh all >$(BUILD)/.sources.new
	@if [ ! -f $(BUILD)/build.ninja ]; then \
	    CC="$${CC:-clang-19}" CC_LD=lld meson setup $(BUILD) --native-file tools/native.ini --prefix=$(PREFIX) $(MESONFLAGS) >/dev/null; \
	elif ! cmp -s $(BUILD)/.sources.new $(BUILD)/.sources; then \
	    meson setup --reconfigure $(BUILD) >/dev/null; \
	fi
	@mv $(BUILD)/.sources.new $(BUILD)/.sources

build: setup
	@ninja -C $(BUILD) --quiet

# A program in a sandbox over the host's own files, read-only, with a throw-away overlay.
run: build
	@$(BUILD)/nacre do -- /bin/sh -c "$$CMD"

test: build
	@tools/deps.sh engines || echo "no container engines: the client tests will say what they skip"
	@tools/test.sh

soak: build
	@tools/test.sh soak

bench: build
	@bench/run.sh

lint:
	@tools/layers.py

doc: build
	@tools/doc.sh $(BUILD)/nacre

release:
	@$(MAKE) --no-print-directory BUILD=$(RELEASE) MESONFLAGS="$(MESONFLAGS) -Dproduction=true -Ddebug_checks=false" build

install: release
	@meson configure $(RELEASE) --prefix=$(PREFIX) >/dev/null && meson install -C $(RELEASE) --quiet

clean:
	@rm -rf $(BUILD) $(BUILD)-san-* $(BUILD)-fuzz $(RELEASE)

.PHONY: all deps setup build run test soak bench lint doc release install clean

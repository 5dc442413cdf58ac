# SPDX-License-Identifier: Apache-2.0
# Thin front of meson: see README.md.
BUILD ?= build
CMD ?= uname -a
all: build
deps:
	@tools/deps.sh
setup: deps
	@tools/sources.sh product >/tmp/.nacre-src.$$$$ ; tools/sources.sh unit >>/tmp/.nacre-src.$$$$ ; \
	if [ ! -f $(BUILD)/build.ninja ]; then CC=clang-19 meson setup $(BUILD) $(MESONFLAGS) >/dev/null && mv /tmp/.nacre-src.$$$$ $(BUILD)/.srclist; \
	elif ! cmp -s /tmp/.nacre-src.$$$$ $(BUILD)/.srclist; then mv /tmp/.nacre-src.$$$$ $(BUILD)/.srclist; meson setup --reconfigure $(BUILD) >/dev/null; \
	else rm -f /tmp/.nacre-src.$$$$; fi
build: setup
	@ninja -C $(BUILD) --quiet
run: build
	@$(BUILD)/nacre do -- sh -c '$(CMD)'
test: build
	@tools/test.sh
install: build
	@meson install -C $(BUILD) --quiet
.PHONY: all deps setup build run test install

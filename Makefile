# postern - build, test, install.
#   make                 build/bin/posternd, posternfwd, postern
#   make SAN=1           the same in build-san/, with AddressSanitizer and UndefinedBehaviorSanitizer
#   make CC=clang        the same in build-clang/
#   make check           every everyday test (as root: the end-to-end tests need namespaces); make check-unit without root
#   make install         PREFIX=/usr/local DESTDIR= ; make uninstall
# Each folder gets only the -I of the folders it may use (docs/architecture.md): a forbidden include does not compile.

VERSION := 0.1.0
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/postern
UNITDIR ?= $(PREFIX)/lib/systemd/system

ifeq ($(origin CC),default)
CC := gcc
endif
CC_NAME := $(notdir $(firstword $(CC)))
B := build$(if $(filter-out gcc cc,$(CC_NAME)),-$(CC_NAME))$(if $(SAN),-san)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wwrite-strings -Wimplicit-fallthrough
HARDEN := -fstack-protector-strong -fPIE
OPT := -O2 -g
LINK := -pie -Wl,-z,relro,-z,now
ifdef SAN
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LINK += -fsanitize=address,undefined
else
HARDEN += -D_FORTIFY_SOURCE=2
endif
ifdef WERROR
WARN += -Werror
endif

PKG := $(shell command -v pkg-config)
pkg_cflags = $(shell $(PKG) --cflags $(1) 2>/dev/null)
pkg_libs = $(shell $(PKG) --libs $(1) 2>/dev/null)
LIBS := $(call pkg_libs,libuv libpcre2-8 libconfuse libseccomp libcares) -lpthread
CLI_LIBS := $(call pkg_libs,jansson)
# Only posternd speaks to netfilter.
NET_LIBS := $(call pkg_libs,libmnl)
# The home of ICU is content/.
CONTENT_LIBS := $(call pkg_libs,icu-uc)
# Only posternfwd speaks TLS: the others are not even linked with it.
FWD_LIBS := $(call pkg_libs,libssl libcrypto)

BASE_CFLAGS := -std=c11 -D_GNU_SOURCE -DPOSTERN_VERSION='"$(VERSION)"' -DPOSTERN_SYSCONFDIR='"$(SYSCONFDIR)"' $(OPT) $(WARN) $(HARDEN) $(CFLAGS)

# Who may use whom.
USES_lib := lib
USES_kernel-glue := lib kernel-glue
USES_rules := lib rules
USES_spool := lib spool
USES_content := lib rules content
USES_proxy := lib kernel-glue rules spool content proxy
USES_fwd := lib kernel-glue spool fwd
USES_cli := lib rules spool content cli
FOLDERS := lib kernel-glue rules spool content proxy fwd cli
USES_tests/unit := $(FOLDERS) tests/unit
USES_tests/bench := $(FOLDERS) tests/bench
USES_tests/fuzz := $(FOLDERS) tests/fuzz

# Programs: the file with main() in it; everything else of a folder goes into the folder's archive.
MAINS := proxy/posternd.c fwd/posternfwd.c cli/postern.c
LIBS_postern := $(CLI_LIBS) $(CONTENT_LIBS)
LIBS_posternd := $(NET_LIBS) $(CONTENT_LIBS)
LIBS_posternfwd := $(FWD_LIBS)
BINS := $(B)/bin/posternd $(B)/bin/posternfwd $(B)/bin/postern

SRCS := $(foreach f,$(FOLDERS),$(wildcard $(f)/*.c))
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_BINS := $(UNIT_SRCS:%.c=$(B)/%)
UNIT_HELPERS := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
BENCH_BINS := $(patsubst %.c,$(B)/%,$(filter-out tests/bench/slow_sync.c,$(wildcard tests/bench/*.c)))
SLOW_SYNC := $(B)/tests/bench/slow_sync.so
archive = $(B)/$(1)/$(1).a
objs = $(patsubst %.c,$(B)/%.o,$(filter-out $(MAINS),$(wildcard $(1)/*.c)))

.PHONY: all unit check check-unit check-e2e check-long bench bench-rules bench-queue bench-reload bench-tarpit bench-gate bench-held bench-sets bench-filter bench-mime fuzz tidy format install uninstall clean includes
all: $(BINS)

define folder_rules
$(B)/$(1)/%.o: $(1)/%.c Makefile | includes
	@mkdir -p $$(@D)
	$(CC) $(BASE_CFLAGS) $(foreach d,$(USES_$(1)),-I$(d)) -MMD -MP -c -o $$@ $$<
endef
$(foreach f,$(FOLDERS) tests/unit tests/bench tests/fuzz,$(eval $(call folder_rules,$(f))))

define archive_rules
$(call archive,$(1)): $(call objs,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call archive_rules,$(f))))

# Dependents first, as a static linker wants it.
ARCH_posternd := proxy content kernel-glue rules spool lib
ARCH_posternfwd := fwd kernel-glue spool lib
ARCH_postern := cli content rules spool lib
ALL_ARCH := cli proxy content fwd kernel-glue rules spool lib

$(B)/bin/posternd: $(B)/proxy/posternd.o $(foreach a,$(ARCH_posternd),$(call archive,$(a)))
$(B)/bin/posternfwd: $(B)/fwd/posternfwd.o $(foreach a,$(ARCH_posternfwd),$(call archive,$(a)))
$(B)/bin/postern: $(B)/cli/postern.o $(foreach a,$(ARCH_postern),$(call archive,$(a)))
$(BINS):
	@mkdir -p $(@D)
	$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(LIBS) $(LIBS_$(@F))

$(B)/tests/unit/test_%: $(B)/tests/unit/test_%.o $(UNIT_HELPERS:%.c=$(B)/%.o) $(foreach a,$(ALL_ARCH),$(call archive,$(a)))
	$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(LIBS) $(CLI_LIBS) $(FWD_LIBS) $(NET_LIBS) $(CONTENT_LIBS) -lcmocka
# Loaded into a peer whose syncs are to take longer.
$(SLOW_SYNC): tests/bench/slow_sync.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARN) -fPIC -shared -o $@ $<
$(B)/tests/bench/%: $(B)/tests/bench/%.o $(foreach a,$(ALL_ARCH),$(call archive,$(a)))
	$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(LIBS) $(CLI_LIBS) $(FWD_LIBS) $(NET_LIBS) $(CONTENT_LIBS)

# "../" in an include would go round the -I rule.
includes:
	@! grep -nE '#include "[^"]*\.\./|#include "[^"]*/' $(SRCS) $(wildcard $(FOLDERS:%=%/*.h)) || { echo 'include: a project header is named without its folder' >&2; exit 1; }

# Fuzz targets without libFuzzer: their seeds and a few thousand inputs each, every day.
SMOKE_BINS := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/smoke.o $(foreach a,$(ALL_ARCH),$(call archive,$(a)))
	$(CC) $(LINK) $(LDFLAGS) -o $@ $^ $(LIBS) $(FWD_LIBS) $(CLI_LIBS) $(NET_LIBS) $(CONTENT_LIBS)

unit: $(UNIT_BINS) $(SMOKE_BINS)

check-unit: all unit
	tests/run unit $(UNIT_BINS) $(SMOKE_BINS)
# bench_mime shows the tests what the MIME walk shows.
check-e2e: all $(B)/tests/bench/bench_mime
	POSTERN_BUILD=$(abspath $(B)) tests/run e2e
check: all unit $(B)/tests/bench/bench_mime
	POSTERN_BUILD=$(abspath $(B)) tests/run all $(UNIT_BINS) $(SMOKE_BINS)
# Each fuzz target for FUZZ_SECONDS, and the slower proofs.
FUZZ_SECONDS ?= 60
check-long: all unit fuzz $(B)/tests/bench/bench_mime
	POSTERN_BUILD=$(abspath $(B)) FUZZ_SECONDS=$(FUZZ_SECONDS) LONG_UNIT_BINS="$(B)/tests/unit/test_rules_index $(B)/tests/unit/test_resolver" tests/run long $(FUZZ_BINS)
bench: all $(BENCH_BINS) $(SLOW_SYNC)
	POSTERN_BUILD=$(abspath $(B)) tests/bench/run
bench-rules: $(B)/tests/bench/bench_rules
	POSTERN_BUILD=$(abspath $(B)) tests/bench/rules
bench-mime: $(B)/tests/bench/bench_mime
	$(B)/tests/bench/bench_mime "$$(tests/corpus)"
bench-queue: all
	POSTERN_BUILD=$(abspath $(B)) tests/bench/queue
bench-held: all $(B)/tests/bench/bench_held
	POSTERN_BUILD=$(abspath $(B)) tests/bench/held
bench-gate: all $(B)/tests/bench/bench_gate
	POSTERN_BUILD=$(abspath $(B)) tests/bench/gate
bench-sets: all
	POSTERN_BUILD=$(abspath $(B)) tests/bench/sets
bench-tarpit: all
	POSTERN_BUILD=$(abspath $(B)) tests/bench/tarpit
bench-filter: $(B)/tests/bench/bench_filter
	POSTERN_BUILD=$(abspath $(B)) tests/bench/filter
bench-reload: all
	POSTERN_BUILD=$(abspath $(B)) tests/bench/reload

# libFuzzer is clang's, so fuzz targets have a build of their own.
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_FOLDERS := lib kernel-glue rules spool content fwd
FUZZ_BINS := $(FUZZ_SRCS:tests/fuzz/%.c=build-fuzz/%)
FUZZ_LIB := $(patsubst %.c,build-fuzz/%.o,$(filter-out $(MAINS),$(foreach f,$(FUZZ_FOLDERS),$(wildcard $(f)/*.c))))
FUZZ_FLAGS := -std=c11 -D_GNU_SOURCE -DPOSTERN_VERSION='"fuzz"' -DPOSTERN_SYSCONFDIR='"/etc"' -O1 -g \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
fuzz: $(FUZZ_BINS)
build-fuzz/%.o: %.c
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) $(foreach d,$(FUZZ_FOLDERS),-I$(d)) -MMD -MP -c -o $@ $<
build-fuzz/all.a: $(FUZZ_LIB)
	@rm -f $@
	ar rcs $@ $^
build-fuzz/fuzz_%: build-fuzz/tests/fuzz/fuzz_%.o build-fuzz/all.a
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS) $(FWD_LIBS) $(NET_LIBS) $(CONTENT_LIBS)
.SECONDARY: $(FUZZ_SRCS:%.c=build-fuzz/%.o)
-include $(FUZZ_LIB:.o=.d) $(FUZZ_SRCS:%.c=build-fuzz/%.d)

tidy:
	clang-tidy --quiet $(SRCS) -- -std=c11 -D_GNU_SOURCE -DPOSTERN_VERSION='""' -DPOSTERN_SYSCONFDIR='""' $(FOLDERS:%=-I%)
format:
	clang-format -i $(SRCS) $(wildcard $(FOLDERS:%=%/*.h)) $(wildcard tests/*/*.c tests/*/*.h)

-include dist/install.mk

clean:
	rm -rf build build-*

-include $(patsubst %.c,$(B)/%.d,$(SRCS) $(UNIT_SRCS) $(UNIT_HELPERS) $(wildcard tests/bench/*.c tests/fuzz/*.c))

# The two commands are `make demo` and `make test`. Both work from a clean clone, as root or not;
# what is missing is installed (root on Debian) or named.

.PHONY: demo test servers build check fuzz bench clean help

help:
	@echo 'make demo      the whole way on a sample database: create, inspect, verify, restore, damage'
	@echo 'make test      all tests, those on PostgreSQL 14 to 18 included'
	@echo 'make servers   only get the PostgreSQL servers for the tests'
	@echo 'make check     formatting, lints, documentation, the library without features'
	@echo 'make fuzz      every fuzz target for a short while (scripts/fuzz.sh SECONDS TARGET for more)'
	@echo 'make bench     time, size and memory against pg_dump and pg_restore (SCALE=0.1 for a tenth)'

demo:
	@bash scripts/demo.sh

test:
	@bash scripts/test.sh

servers:
	@bash scripts/servers.sh

build:
	@bash scripts/prepare.sh build
	cargo build --release

check:
	@bash scripts/check.sh

fuzz:
	@bash scripts/fuzz.sh

bench:
	@bash bench/measure.sh

clean:
	cargo clean
	rm -rf .cache

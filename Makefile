# The front door: each target is one script in scripts/, which says on top what it does and what it takes.

# The PostgreSQL to install into, for install, installcheck and package (as with PGXS).
PG_CONFIG ?= pg_config
# The major versions to test, or the one to check, demo or measure; empty means the script's default.
PG ?=

export PG_CONFIG DESTDIR

.PHONY: help demo demo-stop test test-clients check fuzz chaos bench install installcheck package clean

help:
	@echo 'make demo          real callback sequences folded in a private cluster, ready to look at (demo-stop ends it)'
	@echo 'make test          all tests on PostgreSQL 15, 16, 17 and 18; PG=17 or PG="15 17" for some of them'
	@echo 'make test-clients  the tests of client libraries alone (PG=17)'
	@echo 'make check         formatting, lints and the tests on one version (PG=15)'
	@echo 'make fuzz          ten minutes of anything for each parser and validator'
	@echo 'make chaos         an hour of random schemas and work, compared with a model (PG=15)'
	@echo 'make bench         the measurements'
	@echo 'make install       build and install into the PostgreSQL of PG_CONFIG'
	@echo 'make installcheck  the SQL tests against a running server of PG_CONFIG; PGHOST, PGPORT, PGUSER say which'
	@echo 'make package       the files of make install, below target/package'
	@echo 'make clean         remove what was built and every cluster of this clone'

demo:
	scripts/demo $(PG)

demo-stop:
	scripts/cluster stop demo

test:
	scripts/test $(PG)

test-clients:
	scripts/clients $(PG)

check:
	scripts/check $(PG)

fuzz:
	scripts/fuzz

chaos:
	scripts/chaos $(PG)

bench:
	bench/run $(PG)
	bench/poll $(PG)

install:
	scripts/install

installcheck:
	scripts/installcheck

package:
	scripts/install --package

clean:
	scripts/clean

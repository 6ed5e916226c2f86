# Everything here does its own set-up on a bare Debian 12 machine with Rust: `make help`.
.PHONY: help demo test test-zc audit fuzz miri loom bench bench-smoke bench-docs bench-lines bench-instructions instructions tools lint bpf bpf-check

help:
	@echo "make demo       an echo server and an HTTP server on ringwire, driven by ping, socat, ncat, curl..."
	@echo "make test       every test; those that need privileges are listed as skipped without them"
	@echo "make test-zc    ringwire on drivers with zero copy (virtio_net, igb), in a guest that QEMU emulates"
	@echo "make audit      that no byte of payload is touched on the zero-copy paths, under valgrind"
	@echo "make fuzz       every libFuzzer target for ten seconds (needs a nightly compiler)"
	@echo "make miri       what has unsafe code and needs no kernel, under Miri (needs it and a nightly compiler)"
	@echo "make loom       what two threads of a ring do with each other, in every order that there is"
	@echo "make bench      ringwire beside the kernel's io_uring, epoll and raw AF_XDP loops (15 minutes; CELLS=W3-udp-64: that"
	@echo "                one alone; target/release/compare --list names them all)"
	@echo "make bench-smoke  the least of each of these: does it still run?"
	@echo "make bench-docs   all of these, and the figures of docs/PERFORMANCE.md anew"
	@echo "make bench-lines  goodput through impaired lines beside Linux's (PEERS=--full: all of it, in 25 minutes)"
	@echo "make bench-instructions  instructions of requests in memory, by callgrind"
	@echo "make instructions  counts each operation's instructions (callgrind) and writes the record that make test holds"
	@echo "make tools      curl, wrk, iperf3 and nmap against ringwire and against Linux, compared"
	@echo "make lint       formatting and clippy"
	@echo "make bpf        compile the steering program again (needs clang 14)"
	@echo "make bpf-check  is the committed steering program what its source compiles to?"

demo:
	@scripts/setup.sh build demo
	@cargo build --release --quiet -p ringwire-examples
	@scripts/as-root.sh scripts/demo.sh

test:
	@scripts/setup.sh build audit
	@scripts/test.sh
	@scripts/bpf.sh check

test-zc:
	@scripts/setup.sh build
	@scripts/zc.sh $(DRIVERS)

audit:
	@scripts/audit.sh

fuzz:
	@scripts/setup.sh build
	@scripts/fuzz.sh

miri:
	@scripts/setup.sh build
	@scripts/miri.sh

loom:
	@scripts/setup.sh build
	@scripts/loom.sh

# CELLS, ROUNDS and MS: which cells, how often, and for how many milliseconds each time.
BENCH_BINS = $(addprefix --bin ,compare load serve send raw notifications multishot memory requests zero_copy scatter kernel_tcp echo)
BENCH_ARGS = $(if $(CELLS),--cells "$(CELLS)") $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MS),--ms $(MS))

bench bench-docs:
	@scripts/setup.sh build bench
	@cargo build --release --quiet -p ringwire-examples -p ringwire-bench $(BENCH_BINS)
	@RAW_XSK_RS=$$(scripts/xsk-rs.sh) scripts/as-root.sh target/release/compare $(BENCH_ARGS) $(if $(filter bench-docs,$@),--markdown docs/PERFORMANCE.md)

bench-smoke:
	@scripts/setup.sh build bench
	@cargo build --quiet -p ringwire-examples -p ringwire-bench $(BENCH_BINS)
	@scripts/as-root.sh target/debug/compare --smoke $(if $(CELLS),--cells "$(CELLS)")

bench-lines:
	@scripts/setup.sh build
	@cargo build --release --quiet -p ringwire-bench --bin peers
	@scripts/as-root.sh target/release/peers $(PEERS)

bench-instructions:
	@scripts/setup.sh build bench
	@cargo build --release --quiet -p ringwire-bench --bin requests --bin zero_copy --bin multishot
	@scripts/instructions.sh

instructions:
	@scripts/setup.sh build audit
	@cargo build --release --quiet -p ringwire-bench --bin instructions
	@target/release/instructions --record

tools:
	@scripts/setup.sh build
	@scripts/setup.sh tools || echo "not all tools can be installed: what needs them is skipped"
	@cargo build --release --quiet -p ringwire-examples
	@scripts/as-root.sh scripts/tools.sh

lint:
	@scripts/setup.sh build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bpf:
	@scripts/bpf.sh build

bpf-check:
	@scripts/bpf.sh check

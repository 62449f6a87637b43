# What is done again and again; `just --list` shows it. `just` is a Rust program: cargo install just

# Formatting, lints and the tests that need neither root nor a kernel of their own: under a minute once all is built.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo nextest run --workspace --lib --locked

# One scenario, or all whose names contain the words: just scenario affinity::it-ends
scenario name:
    cargo test -p switchyard-conformance --test scenarios -- {{name}}

# One scenario whose world stays up afterwards, with how to enter it.
keep name:
    SWITCHYARD_KEEP=1 cargo test -p switchyard-conformance --test scenarios -- {{name}}

# Everything that CI runs, virtual machines included (needs root).
test:
    bash .ci/test

# A shell, or any command, on another kernel: just vm, just vm --kernel 6.1 -- switchyard status
vm *arguments='--shell':
    cargo run -p switchyard-conformance --bin vm -- {{arguments}}

# The example cluster, forwarded and dialled (needs root).
demo *arguments:
    cargo run --release -- demo {{arguments}}

# Small benchmarks of pure code: render, diff, encode, decode, resolve.
bench *arguments:
    cargo bench --workspace --benches -- {{arguments}}

# Cost against the number of services, with the kernel (needs root and nft).
scale *arguments='--services 100,1000,10000':
    cargo run --release -p switchyard-conformance --bin scale -- {{arguments}}

# Random input for one decoder; `ls fuzz/fuzz_targets` names them. cargo install cargo-fuzz
fuzz target seconds='60':
    mkdir -p fuzz/corpus/{{target}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}} -timeout=10

# Writes docs/configuration.md and docs/metrics.md from the code.
docs:
    UPDATE_DOCS=1 cargo nextest run -p switchyard-agent docs

# What a change breaks in the published interfaces, against an older commit or tag. cargo install cargo-semver-checks
semver base='HEAD~1':
    cargo semver-checks --workspace --exclude switchyard-agent --exclude switchyard-conformance --baseline-rev {{base}}

# Every package as it would be published, built from its archive.
package:
    cargo package --workspace --allow-dirty

# One static binary in an empty image: docker build --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" .
# Release pipelines pin the first image by digest; the compiler's version decides about the bytes.
ARG RUST=1.95
FROM docker.io/library/rust:${RUST}-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/*
# The image's own compiler, and not the newest that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
RUN rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY . .
ARG SOURCE_DATE_EPOCH=0
RUN deploy/image/build /image

FROM scratch
COPY --from=build /image/ /
# Root without privileges: the only capability that forwarding needs, CAP_NET_ADMIN, reaches no other user where a
# container may not gain any at exec.
USER 0:0
ENTRYPOINT ["/usr/local/bin/switchyard"]
CMD ["run"]

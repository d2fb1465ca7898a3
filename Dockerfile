# Two stages: one that compiles, and one that holds the program, the TLS roots and nothing else of ours.

FROM rust:1.95-slim-bookworm AS build
# The C compiler that the image brings is all that the TLS library needs: neither cmake nor nasm.
WORKDIR /src
# Dependencies against empty sources first: a layer that is made again only when one of these two files changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/it/main.rs \
    && cargo build --release --locked \
    && rm -r src
COPY config config
COPY src src
# Cargo goes by time stamps, and the real sources may be older than the empty ones were.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin quicklogin

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin quicklogin
COPY --from=build /src/target/release/quicklogin /usr/local/bin/quicklogin
USER quicklogin
# A gateway's address, a worker's /livez, /readyz and /metrics, the simulator.
EXPOSE 8080 9090 8090
ENTRYPOINT ["quicklogin"]

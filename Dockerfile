# Builds with any builder, BuildKit or not: `docker build .`. The dependencies are a layer of their own, which is kept
# as long as the manifests and the lock file stay as they are.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY control/Cargo.toml control/
COPY dataplane/Cargo.toml dataplane/
COPY gateway/Cargo.toml gateway/
# With empty packages in place of ours, only what they depend on is built.
RUN mkdir -p proto/src control/src dataplane/src gateway/src \
    && touch proto/src/lib.rs control/src/lib.rs dataplane/src/lib.rs \
    && echo 'fn main() {}' | tee build.rs > gateway/src/main.rs \
    && cargo build --release --locked --package proxyxai
COPY . .
# Files come with the times they have outside, which may be earlier than those of the empty ones. The second command
# fails if these were taken for up to date.
RUN find build.rs proto control dataplane gateway -type f -exec touch {} + \
    && cargo build --release --locked --package proxyxai \
    && target/release/proxyxai config-table | grep -q DATA_DIR

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 proxyxai \
    && useradd --system --uid 10001 --gid 10001 --no-create-home proxyxai \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /src/target/release/proxyxai /usr/local/bin/proxyxai

# gRPC listens on the loopback unless told otherwise, which inside a container nobody can reach.
ENV DATA_DIR=/data \
    GRPC_LISTEN=0.0.0.0:3444
# By number, so that nobody has to look into the image to know whose a mounted folder must be.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 3443 3444
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["proxyxai", "healthcheck"]
ENTRYPOINT ["proxyxai"]

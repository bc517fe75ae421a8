FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package proxyxai \
    && cp target/release/proxyxai /proxyxai

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home proxyxai \
    && install --directory --owner proxyxai --group proxyxai --mode 0700 /data
COPY --from=build /proxyxai /usr/local/bin/proxyxai

# gRPC listens on the loopback unless told otherwise, which inside a container nobody can reach.
ENV DATA_DIR=/data \
    GRPC_LISTEN=0.0.0.0:3444
USER proxyxai
WORKDIR /data
VOLUME /data
EXPOSE 3443 3444
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["proxyxai", "healthcheck"]
ENTRYPOINT ["proxyxai"]

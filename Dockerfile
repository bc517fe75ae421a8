# Builds with any builder, BuildKit or not: `docker build .`. The dependencies are a layer of their own, which is kept
# as long as the manifests and the lock file stay as they are. The base is named by its tag: whoever needs the same image
# twice puts the digest of theirs behind it, `rust:1.95-slim-bookworm@sha256:…`.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/*
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

# All that the image holds: the program, the C library that it is linked with, certificates, time zones, a name for its
# user, and the licences of what is not ours. Names are looked up in DNS by the C library itself.
RUN mkdir -p /image/etc /image/usr/local/bin /image/usr/share \
    && cp target/release/proxyxai /image/usr/local/bin/ \
    && cp --parents --dereference $(ldd target/release/proxyxai | grep -o '/[^ ]*') /image \
    && cp --parents --dereference /etc/ssl/certs/ca-certificates.crt /image \
    && cp --archive /usr/share/zoneinfo /image/usr/share/ \
    && cp --parents /usr/share/doc/libc6/copyright /usr/share/doc/libgcc-s1/copyright \
        /usr/share/doc/ca-certificates/copyright /usr/share/doc/tzdata/copyright /image \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && echo 'proxyxai:x:10001:10001::/data:/usr/sbin/nologin' > /image/etc/passwd \
    && echo 'proxyxai:x:10001:' > /image/etc/group \
    && chmod --recursive go-w /image \
    && install --directory --mode 0700 /data

# Nothing else is in it: no shell, no package manager, nothing to run but the program.
FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=10001:10001 /data /data

# gRPC listens on the loopback unless told otherwise, which inside a container nobody can reach.
ENV PATH=/usr/local/bin \
    DATA_DIR=/data \
    GRPC_LISTEN=0.0.0.0:3444
# By number, so that nobody has to look into the image to know whose a mounted folder must be.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 3443 3444
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["proxyxai", "healthcheck"]
ENTRYPOINT ["proxyxai"]

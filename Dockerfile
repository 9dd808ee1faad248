# miro-siem in an image that holds the binary, the C library it is linked with, certificates, and nothing else: no shell, no package
# manager, no writable path but the state volume.
#
#   docker build --tag miro-siem .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 45 \
#     --volume miro-siem:/var/lib/miro-siem --volume "$PWD/config.toml:/etc/miro-siem/config.toml:ro" \
#     --volume "$PWD/secrets:/run/secrets/miro-siem:ro" miro-siem
#
# --stop-timeout: docker kills after 10 s by default, and a drain may take 25. Secrets are mounted as files, never built in and better
# not passed as environment, which `docker inspect` shows.

# The compiler's version follows rust-version in Cargo.toml; the release of Debian decides the C library that is copied below.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
# What comes in is an allow list: .dockerignore.
COPY . .
# The caches belong to the builder and never enter a layer, so the binary is moved out of them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin miro-siem \
    && deploy/container/assemble-root target/release/miro-siem /image

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="miro-siem" \
      org.opencontainers.image.description="Brings every Miro audit, content and AI log event into your SIEM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
# Again with their owner said aloud: not every builder keeps it. A fresh volume inherits it.
COPY --from=build --chown=65532:65532 /image/var/lib/miro-siem /var/lib/miro-siem
COPY --from=build --chown=65532:65532 /image/var/log/miro /var/log/miro
# By number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
WORKDIR /var/lib/miro-siem
# The journal and the checkpoints. Without a volume that outlives the container, every start begins anew.
VOLUME ["/var/lib/miro-siem"]
# The admin endpoint. It listens on loopback until the configuration says otherwise, which then asks for admin.token.
EXPOSE 9494
# Is there an answer: asked inside the container, where loopback is enough. Kubernetes ignores this and has its own probes.
HEALTHCHECK --interval=60s --timeout=10s --start-period=5m --retries=3 CMD ["/usr/bin/miro-siem", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/miro-siem"]
CMD ["run"]

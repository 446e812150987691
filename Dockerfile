# The signer as an image: built in one stage, run from another that holds nothing but Python and the installed package.
# The root file system may be read-only and all capabilities dropped; the user is a number, so that Kubernetes can
# check `runAsNonRoot`. Nothing here depends on the processor: every locked package has wheels for amd64 and arm64.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all:
WORKDIR /src
COPY docker/build.lock requirements.lock ./
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --quiet --require-hashes -r build.lock \
 && python -m venv /opt/signer \
 && /opt/signer/bin/python -m pip install --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/build/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/signer/bin/python -m pip install --quiet --no-deps --no-index --find-links /dist livepeer-remote-signer \
 && /opt/signer/bin/python -m pip check \
 && /opt/signer/bin/python -m pip uninstall --quiet --yes pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="livepeer-remote-signer" \
      org.opencontainers.image.description="Signs probabilistic-micropayment tickets for Livepeer gateways that hold no key." \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/signer /opt/signer
# The ledger and whatever else is kept; a volume mounted here starts with these owners. Group 0: a platform that picks the
# user's number itself gives it that group.
RUN install -d -m 0770 -o 65532 -g 0 /data
# STATE_DIRECTORY: where the funding commands note what they sent.
ENV PATH=/opt/signer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/data
WORKDIR /data
USER 65532:65532
EXPOSE 8936 8937
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["/opt/signer/bin/livepeer-remote-signer", "healthcheck", "--config", "/etc/livepeer-remote-signer/config.yaml"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/signer/bin/livepeer-remote-signer"]
CMD ["serve", "--config", "/etc/livepeer-remote-signer/config.yaml"]

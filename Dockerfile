# CTGI's images, one target each:
#
#   docker build --target orchestrator -t ctgi .          search; no torch, no kfp
#   docker build --target pipeline -t ctgi-pipeline .     every pipeline step; torch with CUDA
#   docker build --target demo -t ctgi-demo .             the rendered world and its small models
#
# It needs BuildKit and names no registry but that of BASE_IMAGE; docs/images.md says how to use a mirror of
# one's own. Packages come by hash from docker/*.txt (`make locks` writes them).

# Any image with Python 3.11 to 3.13 and its venv module.
ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm
# sha256:… pins it.
ARG BASE_DIGEST=

FROM ${BASE_IMAGE}${BASE_DIGEST:+@${BASE_DIGEST}} AS base
# Numbers rather than names, so that Kubernetes can see that it is not root. Some libraries want a name as well.
RUN echo 'ctgi:x:10001:10001:CTGI:/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'ctgi:x:10001:' >> /etc/group \
    && install --directory --owner=10001 --group=10001 /data \
    && touch --date=@315532800 /data /etc/group /etc/passwd /etc
# The root may be read-only: whatever a library keeps for itself goes to /tmp.
ENV PATH=/opt/ctgi/bin:/opt/venv/bin:$PATH \
    HOME=/tmp \
    HF_HOME=/tmp/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# What installs, apart from what is installed: the images hold no pip of their own.
FROM base AS tools
ENV PATH=$PATH:/opt/tools/bin PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    SOURCE_DATE_EPOCH=315532800
WORKDIR /build
COPY docker/tools.txt docker/*.sh docker/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/python -m pip install --require-hashes --requirement docker/tools.txt \
    && install docker/*.sh /opt/tools/bin \
    && python3 -m venv --without-pip /opt/venv \
    && site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && echo /opt/ctgi > "$site/ctgi.pth"

FROM tools AS orchestrator-packages
COPY docker/orchestrator.txt docker/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    --mount=type=cache,target=/root/.cache/pip \
    install.sh docker/orchestrator.txt

FROM tools AS pipeline-packages
COPY docker/pipeline.txt docker/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    --mount=type=cache,target=/root/.cache/pip \
    install.sh docker/pipeline.txt

# Only what the demo needs on top, so that its image shares the layer with torch.
FROM pipeline-packages AS demo-packages
COPY docker/demo.txt docker/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca.pem \
    --mount=type=cache,target=/root/.cache/pip \
    find /opt/venv ! -type d | sort > /tmp/before \
    && install.sh docker/demo.txt \
    && find /opt/venv ! -type d | sort | comm -13 /tmp/before - > /tmp/added \
    && mkdir /added \
    && tar --create --no-recursion --files-from=/tmp/added | tar --extract --directory=/added \
    && normalise.sh /added

FROM tools AS ctgi
COPY CHANGELOG.md LICENSE README.md constraints.txt pyproject.toml ./
COPY ctgi ctgi
RUN /opt/tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /wheel . \
    && /opt/tools/bin/pip --python /opt/venv/bin/python install --quiet --no-deps --no-index --no-compile \
        --target /opt/ctgi /wheel/*.whl \
    && normalise.sh /opt/ctgi

FROM ctgi AS ctgi-components
COPY components /opt/ctgi/components
COPY pipelines /opt/ctgi/pipelines
RUN normalise.sh /opt/ctgi

FROM ctgi AS ctgi-demo
COPY demo /opt/ctgi/demo
RUN normalise.sh /opt/ctgi

# With a bill of materials (CycloneDX) of the Python packages; docs/images.md has a word on the base image's.
FROM orchestrator-packages AS orchestrator-code
COPY --from=ctgi /opt/ctgi /opt/ctgi
RUN sbom.sh

FROM pipeline-packages AS pipeline-code
COPY --from=ctgi-components /opt/ctgi /opt/ctgi
RUN sbom.sh

FROM demo-packages AS demo-code
COPY --from=ctgi-demo /opt/ctgi /opt/ctgi
RUN sbom.sh


# From here on `cp` rather than COPY, which gives the folders it makes the time of the build: the layers would never
# be the same twice.
FROM base AS orchestrator
RUN --mount=from=orchestrator-packages,source=/opt/venv,target=/mnt \
    cp --archive /mnt /opt/venv && touch --date=@315532800 /opt
RUN --mount=from=orchestrator-code,source=/opt/ctgi,target=/mnt \
    cp --archive /mnt /opt/ctgi && touch --date=@315532800 /opt
ARG BASE_IMAGE
ARG BASE_DIGEST
ARG VERSION=
ARG REVISION=
ENV CTGI_GIT_REVISION=${REVISION}
LABEL org.opencontainers.image.title="CTGI orchestrator" \
    org.opencontainers.image.description="Search a gallery of people in words; no torch" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${BASE_IMAGE}" \
    org.opencontainers.image.base.digest="${BASE_DIGEST}"
# It says that the program and its interpreter are whole: there is no server in it yet to be asked.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["ctgi", "--version"]
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["ctgi"]
CMD ["--help"]


FROM base AS pipeline
RUN --mount=from=pipeline-packages,source=/opt/venv,target=/mnt \
    cp --archive /mnt /opt/venv && touch --date=@315532800 /opt
RUN --mount=from=pipeline-code,source=/opt/ctgi,target=/mnt \
    cp --archive /mnt /opt/ctgi && touch --date=@315532800 /opt
# The driver comes from the host, everything else of CUDA with torch.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG BASE_IMAGE
ARG BASE_DIGEST
ARG VERSION=
ARG REVISION=
ENV CTGI_GIT_REVISION=${REVISION}
LABEL org.opencontainers.image.title="CTGI pipeline steps" \
    org.opencontainers.image.description="Caption, train, evaluate, export, publish and index; torch with CUDA" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${BASE_IMAGE}" \
    org.opencontainers.image.base.digest="${BASE_DIGEST}"
# A step runs to its end; whether it does is for the scheduler to see.
HEALTHCHECK NONE
USER 10001:10001
WORKDIR /data
# No entry point: pipelines name the whole command of a step.
CMD ["ctgi", "--help"]


FROM base AS demo
RUN --mount=from=pipeline-packages,source=/opt/venv,target=/mnt \
    cp --archive /mnt /opt/venv && touch --date=@315532800 /opt
RUN --mount=from=demo-packages,source=/added/opt/venv,target=/mnt \
    cp --archive /mnt/. /opt/venv
RUN --mount=from=demo-code,source=/opt/ctgi,target=/mnt \
    cp --archive /mnt /opt/ctgi && touch --date=@315532800 /opt
ARG BASE_IMAGE
ARG BASE_DIGEST
ARG VERSION=
ARG REVISION=
ENV CTGI_GIT_REVISION=${REVISION}
LABEL org.opencontainers.image.title="CTGI demo" \
    org.opencontainers.image.description="Rendered people, two small models, and the whole loop on a laptop" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${BASE_IMAGE}" \
    org.opencontainers.image.base.digest="${BASE_DIGEST}"
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["ctgi", "--version"]
USER 10001:10001
WORKDIR /data
CMD ["python", "-m", "demo.run", "--out", "/data/demo"]

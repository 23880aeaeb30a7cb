# One image for every role. `make image` builds it, with docker, podman or buildah.
# Any image with Python >= 3.11, its venv module and a shell serves as base. Named in full: buildah
# and podman may refuse a short name. A tag moves; docs/security.md tells how to pin a digest.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Where pip finds packages and which authorities it trusts, where that is not the default.
ARG PIP_INDEX_URL
ARG PIP_CERT
ARG PIP_ONLY_BINARY=:all:
WORKDIR /src
COPY requirements/build.lock requirements/image.lock requirements/plugin.lock requirements/
# Byte code not by time of change: that would make two builds of the same differ. `kubernetes.aio`
# is half of that package, and nobody imports it.
RUN python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/build.lock \
 && python3 -m venv --without-pip /opt/oauth2-csi \
 && /build/bin/pip --python /opt/oauth2-csi/bin/python install --no-cache-dir --no-compile \
      --require-hashes --no-deps -r requirements/image.lock \
 && rm -r /opt/oauth2-csi/lib/python3*/site-packages/kubernetes/aio \
 && /opt/oauth2-csi/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/oauth2-csi/lib
COPY pyproject.toml README.md LICENSE ./
COPY csidriver csidriver
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /build/bin/pip --python /opt/oauth2-csi/bin/python install --no-deps --no-compile --no-index /wheels/*.whl \
 && /opt/oauth2-csi/bin/python -m compileall -q --invalidation-mode unchecked-hash \
      /opt/oauth2-csi/lib/python3*/site-packages/csidriver
# The command line of users, which they copy from here: it is of the same version as the driver.
COPY tools tools
RUN /build/bin/python -m tools.plugin \
 && cp build/kubectl-oauth2_csi build/kubectl_complete-oauth2_csi /opt/oauth2-csi/bin

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="oauth2-csi" \
      org.opencontainers.image.licenses="Apache-2.0"
# Nothing installs packages here, nothing gains rights, and the file system may be read-only, so
# that Python could not keep what it compiles.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* \
      /usr/bin/pip* /usr/lib/python3*/ensurepip /usr/lib/python3/dist-packages/pip* /usr/share/python-wheels \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && python3 -m compileall -q "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/oauth2-csi /opt/oauth2-csi
# One arena for all threads: 1.4 MiB less for the node plugin, and no growth with connections.
# A fixed threshold, or the heap would keep what large Secrets have needed: 850 MiB instead of 50.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072 PYTHONDONTWRITEBYTECODE=1
# The refresher and the webhook run as this; the node role needs root, which its pod asks for.
USER 65532:65532
ENTRYPOINT ["/opt/oauth2-csi/bin/oauth2-csi"]

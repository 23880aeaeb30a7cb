# One image for every role: docker build -t oauth2-csi . (or buildah bud -t oauth2-csi .)
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /src
COPY requirements/image.lock requirements/image.lock
RUN python3 -m venv /opt/oauth2-csi \
 && /opt/oauth2-csi/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/image.lock
COPY pyproject.toml README.md LICENSE ./
COPY csidriver csidriver
RUN /opt/oauth2-csi/bin/pip install --no-cache-dir --no-deps . \
 && /opt/oauth2-csi/bin/pip uninstall --yes pip

FROM ${BASE_IMAGE}
COPY --from=build /opt/oauth2-csi /opt/oauth2-csi
# One arena for all threads: 1.4 MiB less for the node plugin, and no growth with connections.
ENV MALLOC_ARENA_MAX=1
ENTRYPOINT ["/opt/oauth2-csi/bin/oauth2-csi"]

# The two images: `docker build --target worker .` and `docker build --target operator .`
# Any base with Python >= 3.11, its venv module and CA certificates will do.
# Behind a proxy with its own CA, or with a package mirror: --secret id=ca,src=BUNDLE.crt --secret id=pip,src=pip.conf
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/app/.venv \
    UV_PYTHON_DOWNLOADS=never
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY worker/pyproject.toml worker/README.md worker/
COPY operator/pyproject.toml operator/README.md operator/

# The locked dependencies are a layer of their own: a change of our code builds in seconds.
FROM build AS worker-build
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --package rochallor-worker --no-install-workspace
COPY worker/src worker/src
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --package rochallor-worker --no-editable

FROM ${BASE_IMAGE} AS worker
COPY --from=worker-build /app /app
# Libraries ask for the user's name and home; a numeric user has neither.
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 USER=rochallor HOME=/tmp
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["rochallor-worker"]
CMD ["run"]

# The Kubernetes client has 1,900 modules, of which the operator imports some 60: only those are compiled.
FROM build AS operator-build
ENV UV_COMPILE_BYTECODE=0
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --package rochallor-operator --no-install-workspace
COPY operator/src operator/src
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --package rochallor-operator --no-editable \
    && /app/.venv/bin/python -m compileall -q -x /site-packages/kubernetes/ /app/.venv/lib \
    && /app/.venv/bin/python -c "import rochallor_operator.__main__"

FROM ${BASE_IMAGE} AS operator
COPY --from=operator-build /app /app
# Libraries ask for the user's name and home; a numeric user has neither.
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 USER=rochallor HOME=/tmp
USER 65532:65532
ENTRYPOINT ["rochallor-operator"]

# The two images: `docker build --target worker .` and `docker build --target operator .`
# They hold Python, the application and what both load (image/runtime.py): no shell, no package manager.
# They are made from a base: any Debian with Python >= 3.11, its venv module and CA certificates will do.
# Behind a proxy with its own CA, or with a package mirror: --secret id=ca,src=BUNDLE.crt --secret id=pip,src=pip.conf
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/app/.venv \
    UV_PYTHON_DOWNLOADS=never
COPY image/uv.txt ./
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir --require-hashes --requirement uv.txt
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY LICENSE worker/pyproject.toml worker/README.md worker/
COPY LICENSE operator/pyproject.toml operator/README.md operator/

# The locked dependencies, and the root made for them, are steps of their own: a change of our code builds in seconds.
FROM build AS worker-libraries
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --package rochallor-worker --extra all --no-install-workspace

FROM worker-libraries AS worker-build
COPY worker/src worker/src
RUN /opt/uv/bin/uv sync --frozen --offline --no-dev --package rochallor-worker --extra all --no-editable \
    && rm -f /app/.venv/.lock && find /app/.venv/bin -type f ! -name rochallor-worker -delete

FROM ${BASE_IMAGE} AS worker-root
COPY image/runtime.py ./
COPY --from=worker-libraries /app /app
RUN python3 runtime.py /root/image /app

FROM scratch AS worker
COPY --from=worker-root /root/image /
COPY --from=worker-build /app /app
# Libraries ask for the user's name and home; a numeric user has neither.
ENV PATH=/app/.venv/bin PYTHONUNBUFFERED=1 USER=rochallor HOME=/tmp
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["rochallor-worker"]
CMD ["run"]

# The Kubernetes client has 1,900 modules, of which the operator imports some 60: only those are compiled.
FROM build AS operator-libraries
ENV UV_COMPILE_BYTECODE=0
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --frozen --no-dev --package rochallor-operator --no-install-workspace

FROM operator-libraries AS operator-build
COPY operator/src operator/src
RUN /opt/uv/bin/uv sync --frozen --offline --no-dev --package rochallor-operator --no-editable \
    && rm -f /app/.venv/.lock && find /app/.venv/bin -type f ! -name rochallor-operator -delete \
    && /app/.venv/bin/python -m compileall -q -x /site-packages/kubernetes/ /app/.venv/lib \
    && /app/.venv/bin/python -c "import rochallor_operator.__main__"

FROM ${BASE_IMAGE} AS operator-root
COPY image/runtime.py ./
COPY --from=operator-libraries /app /app
RUN python3 runtime.py /root/image /app

FROM scratch AS operator
COPY --from=operator-root /root/image /
COPY --from=operator-build /app /app
# Libraries ask for the user's name and home; a numeric user has neither.
ENV PATH=/app/.venv/bin PYTHONUNBUFFERED=1 USER=rochallor HOME=/tmp
USER 65532:65532
ENTRYPOINT ["rochallor-operator"]

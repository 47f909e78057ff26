# The gateway's image: hash-locked packages, no root, nothing written outside /data, no compiler and no pip inside.
# PYTHON_IMAGE takes a digest too: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv --without-pip /opt/gateway && python -m venv /opt/build
# The locks come first: a change of the code leaves this layer as it is.
COPY requirements.txt requirements-build.txt ./
RUN pip --python /opt/gateway/bin/python install --require-hashes --only-binary :all: --requirement requirements.txt \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: --requirement requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY gateway ./gateway
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && pip --python /opt/gateway/bin/python install --no-deps --no-index /wheel/*.whl

FROM ${PYTHON_IMAGE}
# Compiled modules were written at install, so a read-only root costs no start-up time.
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_PORT=8080 \
    GATEWAY_DATA_DIR=/data
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin gateway \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/gateway /opt/gateway
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Asks the process itself, past any outbound proxy that the environment names. Its certificate is for other names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "import os, ssl, urllib.request as u; s = 's' if os.environ.get('GATEWAY_TLS_CERTIFICATE_FILE') else ''; u.build_opener(u.ProxyHandler({}), u.HTTPSHandler(context=ssl._create_unverified_context())).open(f'http{s}://127.0.0.1:' + os.environ['GATEWAY_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["gateway"]
CMD ["serve"]

# One image for every service: the command chooses which. Python is the version that the tests run on.
#   docker build -t crosstape:0.1.0 . && docker run --rm crosstape:0.1.0 python -m crosstape.api_gateway

FROM python:3.11.14-slim-bookworm AS build

WORKDIR /source
COPY requirements-bootstrap.lock requirements.lock ./
COPY deploy/image/excludes.txt deploy/image/excludes.txt
RUN python -m venv /opt/bootstrap \
    && /opt/bootstrap/bin/pip install --no-cache-dir --require-hashes -r requirements-bootstrap.lock \
    && python -m venv --without-pip /opt/crosstape \
    && /opt/bootstrap/bin/uv pip install --no-cache --compile-bytecode --python /opt/crosstape/bin/python \
        --require-hashes --excludes deploy/image/excludes.txt -r requirements.lock

COPY pyproject.toml ./
COPY libs libs
COPY services services
COPY clients clients
# Without build isolation: what builds the wheels is what requirements-bootstrap.lock names.
RUN /opt/bootstrap/bin/uv build --wheel --all-packages --no-build-isolation --python /opt/bootstrap/bin/python \
        --out-dir /wheels \
    && /opt/bootstrap/bin/uv pip install --no-cache --compile-bytecode --no-deps --no-index \
        --python /opt/crosstape/bin/python /wheels/*.whl

FROM python:3.11.14-slim-bookworm

COPY --from=build /opt/crosstape /opt/crosstape
ENV PATH=/opt/crosstape/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    CROSSTAPE_HOST=0.0.0.0 \
    CROSSTAPE_PORT=8000
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "-m", "crosstape.api_gateway"]

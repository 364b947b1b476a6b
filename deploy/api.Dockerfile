# The API: docker build -f deploy/api.Dockerfile -t kroma-api .
#
# The two Dockerfiles are identical down to "This image alone", so that their images share layers and build cache;
# tests/architecture/test_images.py compares them. They build without BuildKit. docs/decisions/0027 has the reasons.

ARG PYTHON_IMAGE=python:3.12-slim
FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY deploy/requirements.lock ./
# Wheels only: nothing is compiled, so no compiler is needed.
RUN python -m venv --without-pip /opt/kroma \
 && pip --python /opt/kroma/bin/python install --only-binary :all: --require-hashes -r requirements.lock
# Removed: tests and headers of packages, Faker's data in seventy languages, and the descriptions of 400 AWS services that
# Kroma never calls (all but S3 and those a profile may sign in with). Bytecode is compiled here and, as the image never
# changes, not checked against its source at run time.
RUN cd /opt/kroma/lib/python3.12/site-packages \
 && find . -type d \( -name tests -o -name include \) -prune -exec rm -r {} + \
 && find faker/providers -mindepth 2 -maxdepth 2 -type d ! -name en_US -exec rm -r {} + \
 && find botocore/data boto3/data -mindepth 1 -maxdepth 1 -type d \
      ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash .

FROM packages AS package
COPY deploy/build.lock ./
RUN pip install --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY services services
RUN pip wheel -q --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/kroma/bin/python install -q --no-deps --root /staged /wheels/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /staged /staged/opt/kroma

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
# The image installs nothing at run time, so installers are removed. The standard library is compiled here, because a
# read-only container would compile it at every start. The folder determines the owner of a new volume.
RUN rm -rf /usr/local/lib/python3.12/site-packages/* /usr/local/lib/python3.12/ensurepip /usr/local/bin/pip* \
 && python -m compileall -q --invalidation-mode unchecked-hash \
      -x '/(idlelib|lib2to3|pydoc_data|tkinter|turtledemo)/' /usr/local/lib/python3.12 \
 && groupadd --gid 10001 kroma \
 && useradd --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin kroma \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/kroma
COPY --from=packages /opt/kroma /opt/kroma
COPY --from=package /staged/opt/kroma /opt/kroma
# Workers get the API's address too, so that settings allowed only on loopback are off for both.
ENV PATH=/opt/kroma/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KROMA_DATA_DIR=/var/lib/kroma \
    KROMA_BACKEND_BIND=0.0.0.0:8788
WORKDIR /var/lib/kroma
USER 10001:10001
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.vendor="Kroma" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# This image alone
EXPOSE 8788
LABEL org.opencontainers.image.title="kroma-api" \
      org.opencontainers.image.description="The HTTP API of Kroma"
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python", "-m", "kroma.healthcheck", "api"]
CMD ["python", "-m", "kroma_api"]

# autoseg in a container: --target cpu or --target cuda. How to use it: docs/how-to/container.md
ARG PYTHON=python:3.12.11-slim-bookworm
ARG NODE=node:22.19.0-bookworm-slim

# The page of the service, made where npm is.
FROM ${NODE} AS page
WORKDIR /src/autoseg/serve/page
COPY autoseg/serve/page ./
RUN npm ci && npm run build

# The project as a wheel: the images hold neither its sources nor a compiler.
FROM ${PYTHON} AS wheel
WORKDIR /src
COPY setup.cfg setup.py pyproject.toml README.md LICENSE ./
COPY autoseg ./autoseg
COPY planners ./planners
COPY --from=page /src/autoseg/serve/page/dist ./autoseg/serve/page/dist
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# What both images have in common: a user without rights, and places that may be written to. The root file system may be
# read-only: everything temporary goes to /tmp.
FROM ${PYTHON} AS base
RUN groupadd --gid 10001 autoseg \
    && useradd --uid 10001 --gid autoseg --no-create-home --home-dir /tmp --shell /usr/sbin/nologin autoseg \
    && mkdir -p /workspace /model \
    && chown autoseg:autoseg /workspace
ENV PATH=/opt/autoseg/bin:$PATH \
    AUTOSEG_HOME=/workspace \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

FROM ${PYTHON} AS installed-cpu
ARG TORCH=2.8.0
ARG EXTRAS=dicom,serve
COPY --from=wheel /wheels /wheels
RUN python -m venv /opt/autoseg \
    && /opt/autoseg/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch==${TORCH}" \
    && /opt/autoseg/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[${EXTRAS}]"

# The wheels of torch bring CUDA themselves; of the host only the driver is needed.
FROM ${PYTHON} AS installed-cuda
ARG TORCH=2.8.0
ARG CUDA=cu126
ARG EXTRAS=dicom,serve
COPY --from=wheel /wheels /wheels
RUN python -m venv /opt/autoseg \
    && /opt/autoseg/bin/pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/${CUDA}" "torch==${TORCH}" \
    && /opt/autoseg/bin/pip install --no-cache-dir "$(echo /wheels/*.whl)[${EXTRAS}]"

FROM base AS cuda
ARG MODEL=container/no_model
COPY --from=installed-cuda /opt/autoseg /opt/autoseg
COPY ${MODEL} /model/
WORKDIR /workspace
USER 10001:10001
CMD ["autoseg_predict", "--help"]

FROM base AS cpu
ARG MODEL=container/no_model
COPY --from=installed-cpu /opt/autoseg /opt/autoseg
COPY ${MODEL} /model/
WORKDIR /workspace
USER 10001:10001
CMD ["autoseg_predict", "--help"]

# syntax=docker/dockerfile:1
# One worker with its engine. torch brings its CUDA libraries along; the host brings the driver.
FROM python:3.12-slim

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --create-home padserve

# On a processor the engine compiles its kernels at the first start; without a compiler it runs on torch's, slower.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY db db
COPY domain domain
COPY evaluation evaluation
COPY padserve padserve
COPY telemetry telemetry
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt ".[postgres,worker,otel]"

# Models from the hub are kept in a volume here, which takes its owner from this folder.
RUN install -d -o padserve -g padserve /home/padserve/.cache /home/padserve/.cache/huggingface
USER padserve
WORKDIR /home/padserve
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "padserve.worker_health"]
CMD ["python", "-m", "worker"]

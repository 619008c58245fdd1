# syntax=docker/dockerfile:1
# The API, the migrations and the command line: no torch, no model.
FROM python:3.12-slim

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --create-home padserve

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY db db
COPY domain domain
COPY evaluation evaluation
COPY padserve padserve
COPY telemetry telemetry
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt ".[postgres,otel]"

USER padserve
WORKDIR /home/padserve
ENV PADSERVE_HOST=0.0.0.0 PADSERVE_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "-m", "api"]

# Headgate as a container: small, not root, with a health check. The ledger is Redis by REDIS_URL, or a file on the volume /data.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md routes.yaml pricing.yaml models.yaml ./
COPY gateway gateway
COPY translators translators
RUN python -m venv /headgate && /headgate/bin/pip install --no-cache-dir '.[bedrock,vertex]'

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home /data headgate && install -d -o headgate -g headgate /data
COPY --from=build /headgate /headgate
ENV PATH=/headgate/bin:$PATH HEADGATE_DATA=/data/headgate.db PYTHONUNBUFFERED=1
USER headgate
WORKDIR /data
VOLUME /data
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 4000, timeout=2); c.request('GET', '/healthz'); assert c.getresponse().status == 200"]
ENTRYPOINT ["headgate"]
CMD ["serve", "--host", "0.0.0.0"]

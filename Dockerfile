FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY adapters adapters
COPY demo demo
RUN pip install --no-cache-dir --root-user-action=ignore --prefix=/install .

FROM python:3.13-slim
# 10001: a user that owns nothing on the host. The configuration is mounted as files.
# Event stores and jobs are kept where a volume is mounted.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway \
    && install --directory --owner=gateway --group=gateway /var/lib/gateway
COPY --from=build /install /usr/local
USER 10001
WORKDIR /etc/gateway
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8080 9901
# Exec form: SIGTERM reaches the gateway itself, which then drains.
ENTRYPOINT ["gateway"]
CMD ["run", "--config", "/etc/gateway/routes.yaml"]

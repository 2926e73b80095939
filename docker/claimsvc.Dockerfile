# The service. Build it from the root of the repository: see docker-compose.yml.
FROM python:3.13-slim AS build
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE mosquitto.conf ./
COPY config config
COPY claimsvc claimsvc
RUN python -m venv /opt/claimsvc \
 && /opt/claimsvc/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim
RUN groupadd --gid 1984 claimsvc \
 && useradd --uid 1984 --gid claimsvc --no-create-home claimsvc \
 # Both containers mount it. New files inherit its group, so that the broker's plugin can read and lock them.
 && install -d -o claimsvc -g claimsvc -m 2770 /var/lib/claimsvc
COPY --from=build /opt/claimsvc /opt/claimsvc
COPY docker/claimsvc.toml /etc/claimsvc/claimsvc.toml
ENV PATH=/opt/claimsvc/bin:$PATH CLAIMSVC_CONFIG=/etc/claimsvc/claimsvc.toml PYTHONDONTWRITEBYTECODE=1
USER 1984:1984
VOLUME ["/var/lib/claimsvc"]
# A round trip through broker and database.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["claimsvc", "health", "--timeout", "5"]
ENTRYPOINT ["claimsvc"]
CMD ["serve"]

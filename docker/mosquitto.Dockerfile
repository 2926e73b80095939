# Debian's Mosquitto with claimsvc's plugin. Build it from the root of the repository: see docker-compose.yml.
FROM debian:bookworm-slim AS build
# No pinned versions: the distribution deletes a version with its next security update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc make libc6-dev libmosquitto-dev mosquitto-dev libsqlite3-dev libssl-dev \
 && rm -rf /var/lib/apt/lists/*
COPY plugin /plugin
RUN make -C /plugin clean && make -C /plugin

FROM debian:bookworm-slim
# The user ids must be the same in every build and in both images, because the files in the volumes belong to them.
# The container that starts first creates the store's directory.
# hadolint ignore=DL3008
RUN groupadd --gid 1883 mosquitto \
 && useradd --uid 1883 --gid mosquitto --no-create-home --home-dir /var/lib/mosquitto mosquitto \
 && groupadd --gid 1984 claimsvc \
 && useradd --uid 1984 --gid claimsvc --no-create-home claimsvc \
 && apt-get update \
 && apt-get install -y --no-install-recommends mosquitto libmosquitto1 libsqlite3-0 libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o claimsvc -g claimsvc -m 2770 /var/lib/claimsvc \
 && install -d -o mosquitto -g mosquitto /var/lib/mosquitto
COPY --from=build /plugin/build/claimsvc.so /usr/lib/claimsvc/claimsvc.so
COPY config/acl /etc/mosquitto/claimsvc.acl
COPY docker/health /usr/local/bin/health
COPY mosquitto.conf /tmp/mosquitto.conf
# The shipped file, changed: listen on all addresses, use the plugin instead of the password file, include mounted files.
RUN sed -e 's/^listener .*/listener 1883/' -e 's/^password_file /#&/' -e 's/^pid_file /#&/' \
        -e 's/^#\(plugin\|plugin_opt_store\) /\1 /' /tmp/mosquitto.conf > /etc/mosquitto/mosquitto.conf \
 && echo 'include_dir /etc/mosquitto/conf.d' >> /etc/mosquitto/mosquitto.conf \
 && rm /tmp/mosquitto.conf
# The group of the store: the plugin reads and locks its files.
USER 1883:1984
EXPOSE 1883
VOLUME ["/var/lib/claimsvc", "/var/lib/mosquitto"]
HEALTHCHECK --interval=60s --timeout=5s --start-period=10s CMD ["health"]
CMD ["mosquitto", "-c", "/etc/mosquitto/mosquitto.conf"]

# Mosquitto as Debian has it, with claimsvc's plugin. Built from the repository: see docker-compose.yml.
FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc make libc6-dev libmosquitto-dev mosquitto-dev libsqlite3-dev libssl-dev
COPY plugin /plugin
RUN make -C /plugin clean && make -C /plugin

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends mosquitto libmosquitto1 libsqlite3-0 libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 # The service's user and its store are the same in both images: whichever container comes first makes the volume.
 && groupadd --gid 1984 claimsvc \
 && useradd --uid 1984 --gid claimsvc --no-create-home claimsvc \
 && install -d -o claimsvc -g claimsvc -m 2770 /var/lib/claimsvc \
 && install -d -o mosquitto -g mosquitto /var/lib/mosquitto
COPY --from=build /plugin/build/claimsvc.so /usr/lib/claimsvc/claimsvc.so
COPY config/acl /etc/mosquitto/claimsvc.acl
COPY mosquitto.conf /tmp/mosquitto.conf
# The shipped file, for other machines, with the plugin in the place of the password file.
RUN sed -e 's/^listener .*/listener 1883/' -e 's/^password_file /#&/' -e 's/^pid_file /#&/' \
        -e 's/^#\(plugin\|plugin_opt_store\) /\1 /' /tmp/mosquitto.conf > /etc/mosquitto/mosquitto.conf
# With the group of the store, which it reads and whose locks it takes.
USER mosquitto:claimsvc
EXPOSE 1883
CMD ["mosquitto", "-c", "/etc/mosquitto/mosquitto.conf"]

# Caddy without root and capabilities
FROM docker.io/library/caddy:2.11-alpine
RUN setcap -r /usr/bin/caddy && chown -R 10002:10002 /data /config
USER 10002:10002

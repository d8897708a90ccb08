# A server in a container: the static binary, the certificates of public
# authorities for https downloads, and nothing else. CI does not build it.
#
#   docker build -t drivebay .
#   docker run -d --name drivebay -p 127.0.0.1:8080:8080 -v drivebay:/var/lib/drivebay --stop-timeout 60 drivebay
#
# docs/guide/docker.md has the rest.
FROM golang:1.26-bookworm AS build
WORKDIR /src
ENV CGO_ENABLED=0 GOWORK=off
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN go build -trimpath \
        -ldflags "-s -w ${VERSION:+-X github.com/drivebay/drivebay/internal/cli.release=$VERSION}" \
        -o /drivebay ./cmd/drivebay \
    && install -d -m 0700 /data/drivebay \
    && install -d -m 1777 /scratch/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /data/ /var/lib/
COPY --from=build /scratch/ /
COPY --from=build /drivebay /drivebay
USER 65532:65532
ENV DRIVEBAY_DATA_DIR=/var/lib/drivebay DRIVEBAY_LISTEN=:8080
EXPOSE 8080
VOLUME /var/lib/drivebay
# With a port or certificate of your own, set DRIVEBAY_URL for this.
HEALTHCHECK --interval=10s --timeout=12s --start-period=60s CMD ["/drivebay", "ready"]
ENTRYPOINT ["/drivebay"]
CMD ["serve"]

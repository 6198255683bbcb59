# The operator's image, for one or more platforms:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=0.1.0 --tag NAME .
#
# `make image` builds one without Docker and without a base image.
# Tags can move: use digests for a reproducible build, see docs/development/releasing.md. The base
# image has no version tags.
ARG GO_IMAGE=docker.io/library/golang:1.26.8
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

# Go cross-compiles, so that nothing is emulated.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# All sources and .git, from which the Go command reads the commit.
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -tags grpcnotrace -trimpath -buildvcs=auto \
    -ldflags "-s -w -buildid= -X main.version=${VERSION}" -o /programs/ ./cmd/manager ./cmd/kubectl-seldon

FROM ${BASE_IMAGE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="Seldon operator" \
      org.opencontainers.image.description="Kubernetes operator for Seldon Core 2" \
      org.opencontainers.image.source="https://github.com/seldon-operator/seldon-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# kubectl-seldon can keep a scheduler in sync with files, without the operator.
COPY --from=build /programs/ /
# Numeric, since Kubernetes cannot check runAsNonRoot for a name.
USER 65532:65532
ENTRYPOINT ["/manager"]

package templates

import "embed"

// Files are the Kustomize folders. Each also builds by itself with the stock
// `kustomize build`.
//
//go:embed runtime server
var Files embed.FS

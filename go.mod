module github.com/mcpauth-go/mcpauth

go 1.26.0

require (
	filippo.io/edwards25519 v1.2.0
	github.com/go-json-experiment/json v1.27.2
	github.com/maypok86/otter/v2 v2.4.0
	golang.org/x/sync v0.24.0
)

require github.com/go-jose/go-jose/v4 v4.1.9 // indirect

// Package infopage is what a person sees who opens an MCP endpoint in a
// browser: what it is, which URL to give to an MCP client, and that a token is
// needed.
//
//	page := infopage.New(infopage.Info{
//		Resource:    "https://mcp.example.com/mcp",
//		MetadataURL: "https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
//	})
//
// Anybody may see it, so it says nothing that the challenge of a 401 does not
// say too. It runs no script and loads nothing: its Content-Security-Policy
// allows the page's own style, by its hash, and nothing else.
package infopage

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
)

// Info is what the page says. A URL that is empty is left out.
type Info struct {
	// Resource is the URL to give to a client: the resource identifier.
	Resource string
	// MetadataURL is where the protected resource metadata (RFC 9728) is.
	MetadataURL string
	// LegacySSEURL is for clients that know the transport of 2024-11-05 only.
	LegacySSEURL string
}

//go:embed style.css
var style string

//go:embed page.html
var source string

// New returns a handler that serves the page to GET and HEAD. What it serves
// does not depend on the request.
func New(info Info) http.Handler {
	var body bytes.Buffer
	err := template.Must(template.New("page").Parse(source)).Execute(&body, struct {
		Info
		Style template.CSS
	}{info, template.CSS(style)})
	if err != nil {
		panic(err) // a mistake in the template: no Info is at fault
	}
	// The hash is of what stands between the tags, to the byte.
	hash := sha256.Sum256([]byte(style))
	return &handler{
		body: body.Bytes(),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

type handler struct {
	body   []byte
	policy string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	header := w.Header()
	// The same URL answers MCP clients in another way: no cache may keep this
	// for them.
	header.Set("Cache-Control", "no-store")
	header.Add("Vary", "Accept")
	header.Set("X-Content-Type-Options", "nosniff")
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(h.body)))
	header.Set("Content-Security-Policy", h.policy)
	header.Set("Referrer-Policy", "no-referrer")
	w.Write(h.body) // net/http sends no body to HEAD
}

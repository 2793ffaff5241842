// Package admin serves administration: on a listener of its own, apart from
// that of users and from health and metrics, because what is here can do and
// show more than any user may. It is a Unix socket that only its owner can
// open, or a TCP port that asks for a token:
//
//	a, err := admin.New(admin.Config{Socket: "/run/mcpauth/admin.sock", Handler: handler})
//	…
//	err = a.Start(ctx)
//	…
//	err = a.Shutdown(ctx)
//
//	curl --unix-socket /run/mcpauth/admin.sock http://admin/debug/pprof/
//
// Profiles are at /debug/pprof/, in the formats of go tool pprof; Handler has
// every other path. No page of a browser gets in: a request with Origin, or
// from another site, is refused, and on TCP so is one under a name that is
// not the server's, which is how DNS rebinding gets to local ports.
//
// TCP here is plain HTTP: beyond loopback, the token and the profiles, which
// hold the memory of this process with its users' tokens, can be read on the
// way. Use a tunnel, or the socket.
package admin

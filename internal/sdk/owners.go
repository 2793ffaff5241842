package sdk

import (
	"runtime"
	"sync"
	"weak"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Owners remembers the owner of each server for as long as the server exists. It
// is safe for concurrent use, and its zero value is ready to use.
type Owners struct {
	mu sync.Mutex
	of map[weak.Pointer[mcp.Server]]string
}

// Claim records that server belongs to owner, and reports false if it belongs to
// somebody else. The first time, it calls prepare before anybody else can claim
// the server.
func (o *Owners) Claim(server *mcp.Server, owner string, prepare func()) bool {
	key := weak.Make(server)
	o.mu.Lock()
	defer o.mu.Unlock()
	if known, ok := o.of[key]; ok {
		return known == owner
	}
	if o.of == nil {
		o.of = map[weak.Pointer[mcp.Server]]string{}
	}
	o.of[key] = owner
	runtime.AddCleanup(server, o.forget, key)
	prepare()
	return true
}

func (o *Owners) forget(key weak.Pointer[mcp.Server]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.of, key)
}

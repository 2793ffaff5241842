package inproc

import (
	"context"
	"fmt"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/envelope"
)

const (
	maxSubscriptions     = 1000      // of one session
	maxSubscriptionBytes = 256 << 10 // of their URIs
	// subscriptionOverhead is about what the SDK keeps for one beside its URI.
	subscriptionOverhead = 400
	// maxLeftBehind bounds the bytes of subscriptions that ended sessions have
	// left in a server. The SDK keeps their URIs.
	maxLeftBehind = 4 << 20
)

var errTooManySubscriptions = &jsonrpc.Error{Code: envelope.CodeRateLimited,
	Message: fmt.Sprintf("Too many subscriptions in this session: at most %d, with URIs of %d bytes together. Please unsubscribe from some first.", maxSubscriptions, maxSubscriptionBytes)}

// subscriptions counts the resources that a session has subscribed to. The SDK
// keeps them without a bound. When calls overlap, a resource may be counted that
// is not subscribed to, until the client unsubscribes from it, but never the other
// way around. Its zero value is ready to use.
type subscriptions struct {
	mu           sync.Mutex
	uris         map[string]struct{}
	bytes        int
	begun, ended int // calls of resources/subscribe
}

// subscribe counts uri, before the call for it. The caller must call the
// function that it returns with the call's outcome.
func (s *subscriptions) subscribe(uri string) (done func(ok bool), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alone := s.begun == s.ended
	_, known := s.uris[uri]
	if !known {
		if len(s.uris) >= maxSubscriptions || s.bytes+len(uri) > maxSubscriptionBytes {
			return nil, errTooManySubscriptions
		}
		if s.uris == nil {
			s.uris = map[string]struct{}{}
		}
		s.uris[uri] = struct{}{}
		s.bytes += len(uri)
	}
	s.begun++
	at := s.begun
	return func(ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended++
		if !ok && !known && alone && s.begun == at {
			s.forget(uri)
		}
	}, nil
}

// unsubscribe is like subscribe, for the call that ends a subscription.
func (s *subscriptions) unsubscribe(uri string) (done func(ok bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alone, at := s.begun == s.ended, s.begun
	return func(ok bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ok && alone && s.begun == at {
			s.forget(uri)
		}
	}
}

func (s *subscriptions) forget(uri string) {
	if _, known := s.uris[uri]; known {
		delete(s.uris, uri)
		s.bytes -= len(uri)
	}
}

// size returns about how many bytes the SDK keeps for them.
func (s *subscriptions) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes + len(s.uris)*subscriptionOverhead
}

// boundSubscriptions is MCP middleware that bounds the subscriptions of a session,
// and refuses them outside of sessions, where nobody would be told of an update.
func boundSubscriptions(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
		const subscribe, unsubscribe = "resources/subscribe", "resources/unsubscribe"
		to := servingFrom(ctx)
		if to == nil || method != subscribe && method != unsubscribe {
			return next(ctx, method, req)
		}
		if to.subscriptions == nil {
			return nil, &jsonrpc.Error{Code: envelope.CodeInvalidRequest, Message: method + " needs a session"}
		}
		var done func(bool)
		switch params := req.GetParams().(type) {
		case *mcp.SubscribeParams:
			if done, err = to.subscriptions.subscribe(params.URI); err != nil {
				return nil, err
			}
		case *mcp.UnsubscribeParams:
			done = to.subscriptions.unsubscribe(params.URI)
		}
		answered := false
		defer func() { done(answered && err == nil) }()
		result, err = next(ctx, method, req)
		answered = true // and has not panicked
		return result, err
	}
}

package mcpauth

import "context"

type requestIDKey struct{}

// WithRequestID returns ctx with the id of a request, for RequestID.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the id of the request that ctx belongs to, as it is in the
// log and in the X-Request-Id header of the answer, or "" when nobody has given
// it one. In a tool, it is that of the request that calls the tool.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

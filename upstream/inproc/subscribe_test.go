package inproc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/internal/gatewaytest"
	"github.com/mcpauth-go/mcpauth/upstream/inproc"
)

// subscribable is a factory of servers whose resources can be subscribed to, but
// for "no://" ones, and which are counted.
func subscribable(made *int) func(*inproc.Config) {
	return func(c *inproc.Config) {
		c.Factory = func(context.Context, inproc.Call) (inproc.Instance, error) {
			*made++
			return inproc.Instance{Server: mcp.NewServer(&mcp.Implementation{Name: "test"}, &mcp.ServerOptions{
				SubscribeHandler: func(_ context.Context, req *mcp.SubscribeRequest) error {
					if strings.HasPrefix(req.Params.URI, "no://") {
						return errors.New("no")
					}
					return nil
				},
				UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
			})}, nil
		}
	}
}

// subscribe asks for a resource in a session, and returns what comes back.
func subscribe(t *testing.T, b *bench, session, method, uri string) string {
	t.Helper()
	w := b.ask(t.Context(), "POST", session, gatewaytest.Legacy, gatewaytest.Message(7, method, `{"uri":"`+uri+`"}`))
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, uri, w.Code, w.Body)
	}
	return gatewaytest.Answer{Body: w.Body.String()}.Message()
}

const (
	subscribed           = `{"jsonrpc":"2.0","id":7,"result":{}}`
	tooManySubscriptions = `{"jsonrpc":"2.0","id":7,"error":{"code":429,"message":"Too many subscriptions in this session: at most 1000, with URIs of 262144 bytes together. Please unsubscribe from some first."}}`
)

func TestSubscriptionsOfASessionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		b := benchWith(nil, func(c *inproc.Config) { subscribable(&made)(c); c.Sessions = inproc.PerUser })
		defer b.end(t)
		session, other := b.open(t), b.open(t)
		wants := func(session, method, uri, want string) {
			t.Helper()
			if got := subscribe(t, b, session, method, uri); got != want {
				t.Fatalf("%s %.20s: %s, want %s", method, uri, got, want)
			}
		}
		for i := range 1000 {
			wants(session, "resources/subscribe", fmt.Sprint("note://", i), subscribed)
			if i == 998 {
				wants(session, "resources/subscribe", "no://", `{"jsonrpc":"2.0","id":7,"error":{"code":0,"message":"no"}}`) // does not count
			}
		}
		wants(session, "resources/subscribe", "note://1000", tooManySubscriptions)
		wants(session, "resources/subscribe", "note://0", subscribed) // which it has already
		wants(session, "resources/unsubscribe", "note://1000", subscribed)
		wants(session, "resources/subscribe", "note://1000", tooManySubscriptions)
		wants(session, "resources/unsubscribe", "note://0", subscribed)
		wants(session, "resources/subscribe", "note://1000", subscribed)
		wants(session, "resources/subscribe", "note://1001", tooManySubscriptions)
		for i := range 16 {
			wants(other, "resources/subscribe", fmt.Sprintf("note://%016000d", i), subscribed)
		}
		wants(other, "resources/subscribe", fmt.Sprintf("note://%016000d", 16), tooManySubscriptions)
		wants(other, "resources/subscribe", "note://16", subscribed)
	})
}

func TestSubscriptionsOfAnSSESessionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		b := benchWith(nil, subscribable(&made))
		defer b.end(t)
		ctx, leave := context.WithCancel(until(t.Context(), time.Hour))
		l, ended := b.listen(ctx)
		b.tell(ctx, l, gatewaytest.Initialize("2024-11-05"), nil)
		for i := range 1001 {
			b.tell(ctx, l, gatewaytest.Message(7, "resources/subscribe", fmt.Sprintf(`{"uri":"note://%d"}`, i)), nil)
		}
		if said := l.said(); strings.Count(said, subscribed) != 1000 || strings.Count(said, tooManySubscriptions) != 1 {
			t.Errorf("%d are subscribed to, %d refused", strings.Count(said, subscribed), strings.Count(said, tooManySubscriptions))
		}
		leave()
		<-ended
	})
}

// Nobody would hear of an update, and the server that a user's requests share
// would keep the URI.
func TestSubscriptionsNeedASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		b := benchWith(nil, subscribable(&made))
		defer b.end(t)
		for _, method := range []string{"resources/subscribe", "resources/unsubscribe"} {
			w := b.ask(t.Context(), "POST", "", "", gatewaytest.Message(7, method, `{"uri":"note://1"}`))
			want := `{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"` + method + ` needs a session"}}`
			if got := (gatewaytest.Answer{Body: w.Body.String()}).Message(); got != want {
				t.Errorf("%s: %d %s, want %s", method, w.Code, w.Body, want)
			}
		}
	})
}

// The SDK keeps the URIs that ended sessions have subscribed to, for as long as
// their server lives.
func TestServerIsReplacedForWhatSubscriptionsLeaveBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		b := benchWith(nil, func(c *inproc.Config) { subscribable(&made)(c); c.Sessions = inproc.PerUser })
		defer b.end(t)
		var after []int // servers made, after each session
		for range 40 {
			session := b.open(t)
			for i := range 16 {
				subscribe(t, b, session, "resources/subscribe", fmt.Sprintf("note://%016000d", i))
			}
			b.ask(t.Context(), "DELETE", session, gatewaytest.Legacy, "")
			after = append(after, made)
		}
		if after[15] != 1 || after[16] != 2 || after[33] != 3 || after[39] != 3 {
			t.Errorf("servers made: %v", after)
		}
	})
}

// Whatever overlaps, nothing that the server keeps is not counted.
func TestSubscriptionsThatOverlapAreCounted(t *testing.T) {
	var counted inproc.Subscriptions
	var mu sync.Mutex
	kept := map[string]bool{}
	var asked sync.WaitGroup
	for i := range 8 {
		asked.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for range 5000 {
				uri, ok := fmt.Sprint(random.IntN(20)), random.IntN(3) > 0
				subscribes := random.IntN(2) == 0
				var done func(bool)
				if subscribes {
					done, _ = counted.Subscribe(uri)
				} else {
					done = counted.Unsubscribe(uri)
				}
				if ok {
					mu.Lock()
					if subscribes {
						kept[uri] = true
					} else {
						delete(kept, uri)
					}
					mu.Unlock()
				}
				runtime.Gosched()
				done(ok)
			}
		})
	}
	asked.Wait()
	for uri := range kept {
		if !counted.Has(uri) {
			t.Errorf("%s is not counted", uri)
		}
	}
	for i := range 20 {
		counted.Unsubscribe(fmt.Sprint(i))(true)
	}
	if n := counted.Size(); n != 0 {
		t.Errorf("%d bytes are counted in the end", n)
	}
}

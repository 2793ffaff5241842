package limit_test

import (
	"fmt"
	"time"

	"github.com/mcpauth-go/mcpauth/limit"
)

func ExampleLimiter_Take() {
	l, err := limit.New(limit.Config{
		User:  limit.Rate{Requests: 600, Per: time.Minute},
		Tools: map[string]limit.Rate{"send_mail": {Requests: 2, Per: time.Hour}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	for range 3 {
		wait, ok := l.Take("alice", 1, "send_mail")
		fmt.Println(ok, wait.Round(time.Minute))
	}
	// Output:
	// true 0s
	// true 0s
	// false 30m0s
}

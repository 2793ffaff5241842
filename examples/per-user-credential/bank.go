package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/mcpauth-go/mcpauth"
)

// bank is the API, which would be another process elsewhere. It knows nothing
// of MCP and of the gateway's users: it answers by token.
type bank struct{ http.Server }

func openBank() (*bank, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	balances := map[string]int{"Bearer api-token-1": 100, "Bearer api-token-2": 7}
	b := &bank{}
	b.Addr = listener.Addr().String()
	b.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		balance, ok := balances[r.Header.Get("Authorization")]
		if !ok {
			http.Error(w, "unknown token", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"balance":%d}`, balance)
	})
	go b.Serve(listener)
	return b, nil
}

type account struct {
	Balance int `json:"balance"`
}

// account is the API's client.
func (b *bank) account(ctx context.Context, credential *mcpauth.Credential) (account, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Addr, nil)
	if err != nil {
		return account{}, err
	}
	request.Header.Set("Authorization", "Bearer "+credential.Token.Reveal())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return account{}, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusUnauthorized {
		credential.Rejected() // the next call asks the platform for a newer one
	}
	if response.StatusCode != http.StatusOK {
		return account{}, fmt.Errorf("the bank says %s", response.Status)
	}
	var mine account
	err = json.NewDecoder(response.Body).Decode(&mine)
	return mine, err
}

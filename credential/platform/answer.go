package platform

import (
	"errors"
	"fmt"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// answer is what the platform says of a credential.
type answer struct {
	accessToken mcpauth.Secret
	expiresIn   time.Duration // 0: not told
	userID, sub *string       // nil: not told
}

// maxExpiresIn is longer than anything that ends.
const maxExpiresIn = 10 * 365 * 24 * time.Hour

// parse reads the platform's answer. Members that are not known are ignored,
// "refresh_token" among them: it is for whoever has to renew the credential, which
// is the platform. Errors do not quote the answer.
func parse(body []byte) (answer, error) {
	var a answer
	err := strictjson.Object(body, func(name, value []byte) error {
		var err error
		switch string(name) {
		case "access_token":
			text, ok := strictjson.String(value)
			if !ok || len(text) == 0 {
				return errors.New("access_token: not a string, or empty")
			}
			a.accessToken = mcpauth.NewSecret(string(text))
		case "expires_in":
			if a.expiresIn, err = strictjson.Seconds(value, maxExpiresIn); err != nil {
				return fmt.Errorf("expires_in: %w", err)
			}
		case "user_id":
			a.userID, err = echo("user_id", value)
		case "sub":
			a.sub, err = echo("sub", value)
		}
		return err
	})
	switch {
	case err != nil:
		return answer{}, err
	case a.accessToken.IsZero():
		return answer{}, errors.New("access_token: missing")
	}
	return a, nil
}

func echo(name string, value []byte) (*string, error) {
	if strictjson.IsNull(value) {
		return nil, nil
	}
	text, ok := strictjson.String(value)
	if !ok {
		return nil, fmt.Errorf("%s: not a string", name)
	}
	s := string(text)
	return &s, nil
}

// belongsTo reports whether nothing that the platform says speaks against the
// credential being the user's. "sub" is compared with the token's own where it has
// one: one user's "sub" may be another's id.
func (a answer) belongsTo(id *mcpauth.Identity) bool {
	subject := id.Subject()
	if subject == "" {
		subject = id.UserID()
	}
	return (a.userID == nil || *a.userID == id.UserID()) && (a.sub == nil || *a.sub == subject)
}

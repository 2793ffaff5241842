package exchange

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/check"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

const (
	maxToken     = 16 << 10 // it travels in a header
	maxExpiresIn = 10 * 365 * 24 * time.Hour
)

// issued is the token of an answer.
type issued struct {
	token mcpauth.Secret
	// life is from when it was asked for; 0 if that is not told.
	life time.Duration
}

// parse reads an answer to a request for a token of type wanted (RFC 8693,
// section 2.2.1). code is not empty if it is an error (RFC 6749, section 5.2),
// whatever else it has. Members that are not known are ignored, and so is a
// refresh token: it would outlive what the user's own token allows. Errors do not
// quote the answer.
func parse(body []byte, wanted TokenType) (got issued, code string, err error) {
	var found struct{ token, issuedType, tokenType, expiresIn, scope, code []byte }
	err = strictjson.Object(body, func(name, value []byte) error {
		var into *[]byte
		switch string(name) {
		case "access_token":
			into = &found.token
		case "issued_token_type":
			into = &found.issuedType
		case "token_type":
			into = &found.tokenType
		case "scope":
			into = &found.scope
		case "error":
			into = &found.code
		case "expires_in":
			found.expiresIn = value
			return nil
		default:
			return nil
		}
		text, ok := strictjson.String(value)
		if !ok {
			return fmt.Errorf("%q is not a string", name)
		}
		*into = text
		return nil
	})
	if err != nil {
		return issued{}, "", err
	}
	if found.code != nil {
		if len(found.code) == 0 {
			return issued{}, "", errors.New(`"error" is empty`)
		}
		return issued{}, string(found.code), nil
	}
	switch {
	case found.token == nil:
		return issued{}, "", errors.New(`no "access_token"`)
	case !check.Visible(string(found.token)):
		return issued{}, "", errors.New(`"access_token" is empty or has what no token has`)
	case len(found.token) > maxToken:
		return issued{}, "", fmt.Errorf(`"access_token" has more than %d bytes`, maxToken)
	case found.issuedType == nil:
		return issued{}, "", errors.New(`no "issued_token_type"`)
	case string(found.issuedType) != string(wanted):
		return issued{}, "", errors.New(`"issued_token_type" is not what was asked for`)
	case found.tokenType == nil:
		return issued{}, "", errors.New(`no "token_type"`)
	case strings.EqualFold(string(found.tokenType), "N_A") && wanted != AccessToken:
	case !strings.EqualFold(string(found.tokenType), "Bearer"):
		// A token that is bound to a key is of no use without the key.
		return issued{}, "", errors.New(`"token_type" is not Bearer`)
	}
	if scope := strings.ReplaceAll(string(found.scope), " ", ""); scope != "" && !check.Visible(scope) {
		return issued{}, "", errors.New(`"scope" has what no scope has`)
	}
	got.token = mcpauth.NewSecret(string(found.token))
	if got.life, err = strictjson.Seconds(found.expiresIn, maxExpiresIn); err != nil {
		return issued{}, "", fmt.Errorf(`"expires_in" is %w`, err)
	}
	return got, "", nil
}

package observe

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"

	"github.com/mcpauth-go/mcpauth"
)

// UserForm says how log and audit log name users.
type UserForm int

const (
	// UserPlain writes issuer and user id.
	UserPlain UserForm = iota
	// UserHashed writes a keyed hash of them, by which the requests of one
	// user can be told to be of one user, and nothing else that tells who.
	UserHashed
	// UserOmitted writes nothing that tells who.
	UserOmitted
)

const (
	maxText   = 128 // bytes of a value that a stranger chose
	maxReason = 512
)

// userHash names principals by HMAC-SHA256 under a key. A plain hash would be
// none: user ids are few enough to try them all.
type userHash struct{ macs sync.Pool }

type mac struct {
	hash.Hash
	sum  [sha256.Size]byte
	text [32]byte
}

func newUserHash(key mcpauth.Secret) *userHash {
	secret := []byte(key.Reveal())
	if len(secret) == 0 {
		secret = make([]byte, 32)
		rand.Read(secret)
	}
	return &userHash{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, secret)} }}}
}

func (u *userHash) of(principal string) string {
	m := u.macs.Get().(*mac)
	defer u.macs.Put(m)
	m.Reset()
	io.WriteString(m.Hash, principal)
	hex.Encode(m.text[:], m.Sum(m.sum[:0])[:len(m.text)/2])
	return string(m.text[:])
}

// user returns what may be written of who it was.
func (o *Observer) user(id *mcpauth.Identity) (issuer, user string) {
	switch {
	case id == nil:
		return "", ""
	case o.users == UserPlain:
		return id.Issuer(), id.UserID()
	case o.users == UserHashed:
		return "", o.hash.of(id.Principal())
	}
	return "", ""
}

// name returns what may be written of the name that was asked for. Tools and
// prompts are the server's own words; a resource's URI is often a user's, as in
// notes://alice/1, so only its scheme is left where users are not to be named.
func (o *Observer) name(e *Event) string {
	name := e.Name
	if o.users != UserPlain && e.Method != "tools/call" && e.Method != "prompts/get" {
		scheme, _, found := strings.Cut(name, ":")
		if !found {
			return ""
		}
		name = scheme + ":"
	}
	return bounded(redact(name, e.Identity), maxText)
}

// reason returns what may be written of why a request was refused.
//
// A cause is whatever some error says of itself, and may quote users in any
// spelling: escaped, inside a URL, by a claim other than the user id. No filter
// finds them all. Where users are not to be named, it is therefore not quoted,
// and what is left is said in words of our own.
func (o *Observer) reason(e *Event) string {
	r := e.Refusal
	switch {
	case r == nil:
		return Harmless(e.Reason, e.Identity)
	case o.users != UserPlain:
		var said []string
		if stage := (interface{ Stage() string })(nil); errors.As(r.Cause, &stage) {
			said = append(said, stage.Stage())
		}
		if k := kind(r.Cause); k != "" {
			said = append(said, k)
		}
		return strings.Join(said, ": ")
	case r.Cause == nil:
		return bounded(redact(r.Message, e.Identity), maxReason)
	}
	return bounded(redact(r.Cause.Error(), e.Identity), maxReason)
}

// kind tells the commonest failures apart without quoting them.
func kind(err error) string {
	var (
		number  syscall.Errno
		dns     *net.DNSError
		timeout interface{ Timeout() bool }
	)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.As(err, &dns):
		return "host name not resolved"
	case errors.As(err, &number):
		return number.Error() // from the system's own list
	case errors.Is(err, fs.ErrNotExist):
		return "file does not exist"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "unexpected end of data"
	}
	return ""
}

const redacted = "[redacted]"

// shortestToken is less than the shortest header of a token alone takes.
const shortestToken = 16

// Harmless returns text that a client chose as it may be written down: without
// what may be a token, and not too much of it.
func Harmless(text string, id *mcpauth.Identity) string {
	return bounded(redact(text, id), maxText)
}

// redact takes the request's own token, and whatever looks like a JSON Web
// Token, out of text that others have written. Nothing of ours puts a token
// there; clients put them into URLs, and libraries URLs into errors.
func redact(text string, id *mcpauth.Identity) string {
	if id != nil {
		// A few characters would be found by accident.
		if token := id.Token().Reveal(); len(token) >= 8 && len(token) <= len(text) {
			text = strings.ReplaceAll(text, token, redacted)
		}
	}
	// Every header begins with {" and so does its base64url.
	const begin = "eyJ"
	i := strings.Index(text, begin)
	if i < 0 {
		return text
	}
	var b strings.Builder
	for ; i >= 0; i = strings.Index(text, begin) {
		end := i
		for end < len(text) && tokenByte(text[end]) {
			end++
		}
		b.WriteString(text[:i])
		if end-i < shortestToken {
			b.WriteString(text[i:end]) // part of a name, such as keyJoin
		} else {
			b.WriteString(redacted)
		}
		text = text[end:]
	}
	b.WriteString(text)
	return b.String()
}

func tokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '='
}

// bounded cuts text after at most limit bytes, between two characters, and
// says so.
func bounded(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit
	for cut > limit-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

package jwt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/jwk"
)

// Encoding says how a secret is written down.
type Encoding = jwk.Encoding

const (
	Raw    = jwk.Raw // the default: the bytes as they are
	Base64 = jwk.Base64
	Hex    = jwk.Hex
)

// KeySource says where keys of an issuer come from. Make one with a function
// of this package.
type KeySource struct {
	form     form
	read     func() ([]byte, error)
	name     string // for messages
	isFile   bool
	encoding Encoding
	url      string // of what is fetched, "" for what the issuer's name leads to
}

type form int

const (
	formNone form = iota
	formSecret
	formPEM
	formJWKS
	formURL      // a set that is fetched
	formMetadata // metadata that leads to such a set
)

// expected says what a source of this form should have held.
func (f form) expected() string {
	switch f {
	case formSecret:
		return "a secret of at least 32 bytes, such as from: openssl rand -base64 48"
	case formPEM:
		return "a public key or certificate in PEM"
	}
	return "a JWK or JWK Set"
}

// SecretEnv is an HMAC secret in the named environment variable.
func SecretEnv(name string) KeySource {
	shown := name
	if !variableName.MatchString(name) {
		shown = "(name not shown: it looks like a secret)"
	}
	return KeySource{form: formSecret, name: "environment variable " + shown, read: func() ([]byte, error) {
		value, ok := os.LookupEnv(name)
		if !ok {
			return nil, errors.New("is not set")
		}
		return []byte(value), nil
	}}
}

// variableName matches what may be shown as the name of a variable: nothing
// that could be the secret itself, which has at least 32 bytes.
var variableName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,30}|[A-Z_][A-Z0-9_]*)$`)

// SecretFile is an HMAC secret in a file, read again as it changes.
func SecretFile(path string) KeySource { return file(formSecret, path) }

// Secret is an HMAC secret that the program got elsewhere, such as from a
// secret manager. A secret does not belong in source code.
func Secret(s mcpauth.Secret) KeySource {
	return inline(formSecret, "the secret", []byte(s.Reveal()))
}

// PEMFile is a file of public keys in PEM (PKIX or PKCS #1) or of one
// certificate, read again as it changes.
func PEMFile(path string) KeySource { return file(formPEM, path) }

// PEM is what PEMFile reads.
func PEM(data []byte) KeySource { return inline(formPEM, "the PEM data", data) }

// JWKSFile is a file with a JWK Set or a single JWK (RFC 7517), read again as
// it changes.
func JWKSFile(path string) KeySource { return file(formJWKS, path) }

// JWKS is what JWKSFile reads.
func JWKS(data []byte) KeySource { return inline(formJWKS, "the JWK Set", data) }

// In returns the source with its secret written in the given encoding.
func (s KeySource) In(e Encoding) KeySource {
	s.encoding = e
	return s
}

// Format implements [fmt.Formatter]: where the keys come from, not the keys.
func (s KeySource) Format(f fmt.State, _ rune) { io.WriteString(f, s.name) }

func inline(form form, name string, data []byte) KeySource {
	data = slices.Clone(data)
	return KeySource{form: form, name: name, read: func() ([]byte, error) { return data, nil }}
}

const maxKeyFile = 1 << 20

// shownPath returns path for messages, unless it looks like what the file
// should hold.
func shownPath(path string) string {
	if strings.ContainsAny(path, "\n{") || strings.Contains(path, "-----") || len(path) >= 32 && !strings.ContainsAny(path, `/\.`) {
		return "(path not shown: it looks like a key)"
	}
	return path
}

func file(form form, path string) KeySource {
	return KeySource{form: form, name: "file " + shownPath(path), isFile: true, read: func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, withoutPath(err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
		if err != nil {
			return nil, withoutPath(err)
		}
		if len(data) > maxKeyFile {
			return nil, fmt.Errorf("is larger than %d bytes", maxKeyFile)
		}
		return data, nil
	}}
}

// withoutPath drops the path, which the source's name has, from an error of
// package os.
func withoutPath(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// issuer is a configured issuer with its keys as they are now.
type issuer struct {
	Issuer
	tenants map[string]string // see tenantsOf
	keys    atomic.Pointer[keys]
	scopes  atomic.Pointer[scopes] // those of the last good token
	fetched *fetched               // nil when the keys are static

	provider    *Provider
	revocations mcpauth.Revocations // nil for none
}

// keys is one state of an issuer's keys. A result is good as long as the
// issuer still points to the state that it was verified with.
type keys struct {
	issuer *issuer
	set    *jwk.Set
	digest [sha256.Size]byte // of the sources, when they are static

	reserved reserved // keys of the set, where there are tenants
}

// current reports whether k is still the state of its issuer's keys.
func (k *keys) current() bool { return k.issuer.keys.Load() == k }

// load reads all sources. It returns the issuer's present keys when nothing
// has changed.
func (iss *issuer) load(field string) (*keys, []mcpauth.Fault) {
	var (
		faults   []mcpauth.Fault
		readable = map[int][]byte{}
		digest   = sha256.New()
		next     = &keys{issuer: iss, reserved: reserved{}}
	)
	at := func(i int) string { return fmt.Sprintf("%s.Keys[%d]", field, i) }
	for i, source := range iss.Keys {
		if source.form == formNone {
			faults = append(faults, mcpauth.Fault{Field: at(i), Problem: "empty", Expected: "a source made by SecretEnv, PEMFile, JWKSFile or another function of this package"})
			continue
		}
		if source.encoding != "" && source.form != formSecret {
			faults = append(faults, mcpauth.Fault{Field: at(i), Problem: source.name + ": an encoding is given", Expected: "an encoding with secrets only"})
		}
		text, err := source.read()
		if err != nil {
			faults = append(faults, mcpauth.Fault{Field: at(i), Problem: fmt.Sprintf("%s: %v", source.name, err), Expected: source.form.expected()})
			continue
		}
		readable[i] = text
		fmt.Fprintf(digest, "%d:", len(text))
		digest.Write(text)
	}
	digest.Sum(next.digest[:0])
	if present := iss.keys.Load(); len(faults) == 0 && present != nil && present.digest == next.digest {
		return present, nil
	}

	var all []jwk.Key
	for i, source := range iss.Keys {
		text, ok := readable[i]
		if !ok {
			continue
		}
		if source.form == formJWKS {
			iss.reserve(next.reserved, text)
		}
		parsed, errs := source.parse(text, iss.Algorithms)
		for _, err := range errs {
			faults = append(faults, mcpauth.Fault{Field: at(i), Problem: fmt.Sprintf("%s: %v", source.name, err)})
		}
		for _, k := range parsed {
			k.Label = source.name + ", " + k.Label
			all = append(all, k)
		}
	}
	set, errs := jwk.NewSet(all)
	for _, err := range errs {
		faults = append(faults, mcpauth.Fault{Field: field + ".Keys", Problem: err.Error()})
	}
	next.set = set
	return next, faults
}

func (s KeySource) parse(text []byte, algorithms []Algorithm) ([]jwk.Key, []error) {
	switch s.form {
	case formPEM:
		return jwk.ParsePEM(text, algorithms)
	case formJWKS:
		return jwk.Parse(text, algorithms)
	}
	key, err := jwk.ParseSecret(text, s.encoding, algorithms)
	if err != nil {
		return nil, []error{err}
	}
	return []jwk.Key{key}, nil
}

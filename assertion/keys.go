package assertion

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // of thumbprints
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/mint"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

const (
	maxKeyFile = 64 << 10
	maxKeys    = 10
)

// key signs tokens.
type key struct {
	public jose.JSONWebKey
	signer jose.Signer
}

// newKey returns a key of private's for alg, or private's usual algorithm, under
// the name kid, or its thumbprint (RFC 7638).
func newKey(private crypto.Signer, alg, kid string) (*key, error) {
	public := jose.JSONWebKey{Key: private.Public(), KeyID: kid, Use: "sig"}
	chosen, known := jws.ParseAlgorithm(alg)
	if alg == "" {
		var err error
		if chosen, err = jwk.Choose(public.Key, nil); err != nil {
			return nil, err
		}
	} else if !known {
		return nil, fmt.Errorf(`"alg" %.32q is not supported`, alg)
	}
	// What no verifier would take is not worth signing with.
	if _, err := jws.NewKey(chosen, public.Key); err != nil {
		return nil, err
	}
	public.Algorithm = string(chosen)
	if kid == "" {
		sum, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, errors.New("the key has no thumbprint")
		}
		public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	}
	options := (&jose.SignerOptions{}).WithType(tokenType).WithHeader("kid", public.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(chosen), Key: private}, options)
	if err != nil {
		return nil, errors.New("the key cannot sign")
	}
	return &key{public, signer}, nil
}

func generate() (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newKey(private, "", "")
}

// keys is one state of a Signer's keys.
type keys struct {
	signing *key
	set     []byte // the JWK Set of all that are published
}

// publish returns the state in which the first of list signs.
func publish(list ...*key) (*keys, error) {
	var set jose.JSONWebKeySet
	for _, k := range list {
		if len(set.Key(k.public.KeyID)) > 0 {
			return nil, fmt.Errorf("two keys have the kid %.64q", k.public.KeyID)
		}
		set.Keys = append(set.Keys, k.public)
	}
	text, err := json.Marshal(set)
	return &keys{list[0], text}, err
}

// readFile returns what is in the file of keys. Its errors name the path unless
// it looks like a key that was given in a path's place.
func readFile(path string) ([]byte, error) {
	shown := path
	if strings.ContainsAny(path, "\n{") || strings.Contains(path, "-----") {
		shown = "(path not shown: it looks like a key)"
	}
	f, err := os.Open(path)
	var text []byte
	if err == nil {
		defer f.Close()
		text, err = io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("is larger than %d bytes", maxKeyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", shown, err)
	}
	return text, nil
}

// parse reads the keys of a file. What it finds at fault is said without
// quoting.
func parse(text []byte) ([]*key, error) {
	read := parseJWKs
	if bytes.Contains(text, []byte("-----BEGIN ")) {
		read = parsePEM
	}
	list, err := read(text)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, errors.New("holds no key")
	case len(list) > maxKeys:
		return nil, fmt.Errorf("holds more than %d keys", maxKeys)
	}
	return list, nil
}

func parsePEM(text []byte) (list []*key, err error) {
	for n := 1; len(bytes.TrimSpace(text)) > 0; n++ {
		block, rest := pem.Decode(text)
		if block == nil || bytes.Count(text[:len(text)-len(rest)], []byte("-----BEGIN ")) > 1 {
			// Decode passes over what it cannot read.
			return nil, fmt.Errorf("PEM block %d: not PEM", n)
		}
		text = rest
		if block.Type == "EC PARAMETERS" {
			continue // which OpenSSL writes before a key
		}
		private, err := mint.ParsePrivateKey(pem.EncodeToMemory(block))
		var k *key
		if err == nil {
			k, err = newKey(private, "", "")
		}
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		list = append(list, k)
	}
	return list, nil
}

// parseJWKs reads a JWK Set, or a single JWK.
func parseJWKs(text []byte) (list []*key, err error) {
	var set []byte
	err = strictjson.Object(text, func(name, value []byte) error {
		if string(name) == "keys" {
			set = value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("neither PEM nor a JWK Set: %w", err)
	}
	if set == nil {
		k, err := parseJWK(text)
		return []*key{k}, err
	}
	err = strictjson.Array(set, func(value []byte) error {
		k, err := parseJWK(value)
		if err != nil {
			return fmt.Errorf("keys[%d]: %w", len(list), err)
		}
		list = append(list, k)
		return nil
	})
	return list, err
}

func parseJWK(text []byte) (*key, error) {
	private, err := mint.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	var j jose.JSONWebKey
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, errors.New("not a JWK")
	}
	if j.Use != "" && j.Use != "sig" {
		return nil, fmt.Errorf(`"use" is %.32q, not "sig"`, j.Use)
	}
	return newKey(private, j.Algorithm, j.KeyID)
}

package login

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Key seals a store. Make one with ParseKey or KeyFile.
type Key struct{ secret mcpauth.Secret }

const keySize = 32 // AES-256

// Format implements [fmt.Formatter]: nothing of the key.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.secret) }

// ParseKey reads a key of 32 bytes, in base64 or hex, such as from
//
//	openssl rand -base64 32
func ParseKey(text string) (Key, error) {
	text = strings.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == keySize {
			return Key{mcpauth.NewSecret(string(key))}, nil
		}
	}
	return Key{}, errors.New("login: a key has 32 bytes, in base64 or hex, such as from: openssl rand -base64 32")
}

// KeyFile reads a key from a file, which nobody but its owner may read, and
// makes one where there is no file. A key beside the store protects from who
// gets hold of the store alone, such as in a backup; not from who can read the
// user's files.
func KeyFile(path string) (Key, error) {
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := newKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return Key{}, fmt.Errorf("login: key file: %w", err)
		}
		text, err = readPrivate(path)
	}
	if err != nil {
		return Key{}, fmt.Errorf("login: key file: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

// newKeyFile puts a new key in place as a whole: who comes second finds the
// first one's, and never a part of it.
func newKeyFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	key := make([]byte, keySize)
	rand.Read(key)
	temporary, err := writeTemporary(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	return os.Link(temporary, path)
}

const maxFile = 1 << 20

// readPrivate reads a file that is for its owner's eyes only.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && !anyMode {
		return nil, fmt.Errorf("%s may be read or written by others (%v); make it 0600", path, info.Mode().Perm())
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func writeTemporary(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".mcpauth-*") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// tokens are what a login has brought.
type tokens struct {
	Access  mcpauth.Secret
	Refresh mcpauth.Secret
	Expiry  time.Time
	User    string // "sub" of the verified ID token
}

// sealed is what of them is in a store, as JSON.
type sealed struct {
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token,omitempty"`
	Expiry  time.Time `json:"expiry,omitzero"`
	User    string    `json:"user,omitempty"`
}

// magic begins a store, and is bound into its seal.
const magic = "mcpauth-login-1\n"

// bound is what a store is sealed for: tokens of one server, client or resource
// are not taken for those of another, whoever swaps the files.
func (c Config) bound() []byte {
	b := []byte(magic)
	for _, s := range []string{c.Issuer, c.ClientID, c.Resource} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

func (k Key) aead() cipher.AEAD {
	block, err := aes.NewCipher([]byte(k.secret.Reveal()))
	if err != nil {
		panic(err) // of another length, which ParseKey has refused
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// ErrNoLogin says that there is no login that could bring a token: none has been
// made, or it has ended. The user has to log in.
var ErrNoLogin = errors.New("login: not logged in")

func (c Config) load() (tokens, error) {
	data, err := readPrivate(c.Store)
	if errors.Is(err, fs.ErrNotExist) {
		return tokens{}, ErrNoLogin
	}
	if err != nil {
		return tokens{}, fmt.Errorf("login: store: %w", err)
	}
	body, found := strings.CutPrefix(string(data), magic)
	if !found {
		return tokens{}, fmt.Errorf("login: store: %s is not one", c.Store)
	}
	text, err := c.Key.aead().Open(nil, nil, []byte(body), c.bound())
	if err != nil {
		return tokens{}, fmt.Errorf("login: store: %s is damaged, or of another key, issuer, client or resource", c.Store)
	}
	var s sealed
	if json.Unmarshal(text, &s) != nil || s.Access == "" {
		return tokens{}, fmt.Errorf("login: store: %s holds no tokens", c.Store)
	}
	return tokens{Access: mcpauth.NewSecret(s.Access), Refresh: mcpauth.NewSecret(s.Refresh), Expiry: s.Expiry, User: s.User}, nil
}

// save replaces the store as a whole.
func (c Config) save(t tokens) error {
	text, err := json.Marshal(sealed{Access: t.Access.Reveal(), Refresh: t.Refresh.Reveal(), Expiry: t.Expiry, User: t.User})
	if err != nil {
		return err
	}
	temporary, err := writeTemporary(c.Store, c.Key.aead().Seal([]byte(magic), nil, text, c.bound()))
	if err == nil {
		err = os.Rename(temporary, c.Store)
	}
	if err != nil {
		return fmt.Errorf("login: store: %w", err)
	}
	syncDir(filepath.Dir(c.Store))
	return nil
}

// syncDir makes a rename last, where directories can be told to.
func syncDir(path string) {
	if d, err := os.Open(path); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

// locked runs use while no other process uses the store.
func (c Config) locked(ctx context.Context, use func() error) error {
	if err := os.MkdirAll(filepath.Dir(c.Store), 0o700); err != nil {
		return fmt.Errorf("login: store: %w", err)
	}
	f, err := os.OpenFile(c.Store+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("login: store: %w", err)
	}
	defer f.Close() // which unlocks
	for {
		taken, err := tryLock(f)
		if err != nil {
			return fmt.Errorf("login: store: lock: %w", err)
		}
		if taken {
			return use()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("login: store: another process has it locked: %w", ctx.Err())
		}
	}
}

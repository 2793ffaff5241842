package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/oauth/login"
)

// loginKeyVariable holds the key of the store, where there is no file for it.
const loginKeyVariable = "MCPAUTH_LOGIN_KEY"

// loginFlags say which login is meant.
type loginFlags struct {
	Issuer          string        `required:"" placeholder:"URL" help:"The authorization server, exactly as its metadata names it."`
	MetadataURL     string        `name:"metadata-url" placeholder:"URL" help:"The issuer's metadata, if its name does not lead there."`
	ClientID        string        `name:"client-id" required:"" help:"The client's id at the authorization server."`
	ClientSecretEnv string        `name:"client-secret-env" placeholder:"VAR" help:"Environment variable with the client's secret, for servers that give one."`
	Resource        string        `placeholder:"URL" help:"The server that the token is for (RFC 8707)."`
	Store           string        `type:"path" placeholder:"FILE" help:"File to keep the tokens in, encrypted. Default: one for this issuer, client and resource in the user's configuration."`
	KeyFile         string        `type:"path" placeholder:"FILE" help:"File with the key of the store, made if there is none. Default: the variable MCPAUTH_LOGIN_KEY, else a file in the user's configuration."`
	CAFile          string        `name:"ca-file" type:"path" placeholder:"FILE" help:"Certificate authorities in PEM, beside those of the system."`
	PlainHTTPHost   []string      `name:"plain-http-host" placeholder:"HOST" help:"Host that may be asked over plain http. May be repeated."`
	RequestTimeout  time.Duration `default:"10s" help:"How long the authorization server has for an answer (${default})."`
}

// client returns the client of the flags, and the file that it keeps tokens in.
func (f loginFlags) client(scopes []string, port int) (client *login.Client, store string, err error) {
	config := login.Config{
		Issuer: f.Issuer, MetadataURL: f.MetadataURL, ClientID: f.ClientID, Resource: f.Resource, Scopes: scopes, Port: port,
		CAFile: f.CAFile, PlainHTTPHosts: f.PlainHTTPHost, Timeout: f.RequestTimeout, Store: f.Store,
	}
	if f.ClientSecretEnv != "" {
		secret, ok := os.LookupEnv(f.ClientSecretEnv)
		if !ok || secret == "" {
			return nil, "", usageError{errors.New("--client-secret-env: no such variable is set")}
		}
		config.ClientSecret = mcpauth.NewSecret(secret)
	}
	if config.Store == "" {
		name := sha256.Sum256([]byte(strings.Join([]string{f.Issuer, f.ClientID, f.Resource}, "\x00")))
		if config.Store, err = ownFile(fmt.Sprintf("login-%x", name[:8])); err != nil {
			return nil, "", usageError{fmt.Errorf("--store is missing, and there is no default: %w", err)}
		}
	}
	if config.Key, err = f.key(); err != nil {
		return nil, "", usageError{err}
	}
	if client, err = login.New(config); err != nil {
		return nil, "", usageError{err}
	}
	return client, config.Store, nil
}

func (f loginFlags) key() (login.Key, error) {
	if text := os.Getenv(loginKeyVariable); text != "" && f.KeyFile == "" {
		key, err := login.ParseKey(text)
		if err != nil {
			return key, fmt.Errorf("%s: %w", loginKeyVariable, err)
		}
		return key, nil
	}
	path := f.KeyFile
	if path == "" {
		var err error
		if path, err = ownFile("login.key"); err != nil {
			return login.Key{}, fmt.Errorf("--key-file is missing, and there is no default: %w", err)
		}
	}
	return login.KeyFile(path)
}

// ownFile returns the path of a file in the user's configuration.
func ownFile(name string) (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "mcpauth", name), err
}

// arguments are the flags as a shell takes them: without all of them, another
// login is meant, or the same is kept elsewhere.
func (f loginFlags) arguments() string {
	var text strings.Builder
	add := func(name, value string) {
		if value != "" {
			text.WriteString(" " + name + " " + shellQuoted(value))
		}
	}
	add("--issuer", f.Issuer)
	add("--metadata-url", f.MetadataURL)
	add("--client-id", f.ClientID)
	add("--client-secret-env", f.ClientSecretEnv)
	add("--resource", f.Resource)
	add("--store", f.Store)
	add("--key-file", f.KeyFile)
	add("--ca-file", f.CAFile)
	for _, host := range f.PlainHTTPHost {
		add("--plain-http-host", host)
	}
	return text.String()
}

// shellQuoted returns text as one word of a POSIX shell.
func shellQuoted(text string) string {
	plain := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._/:@%+=,", c)
	}
	if !strings.ContainsFunc(text, func(c rune) bool { return !plain(c) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

type loginCommand struct {
	loginFlags
	Scope     []string      `sep:" " placeholder:"SCOPE" help:"Scope to ask for, or several in quotes. May be repeated. Many servers want offline_access for a token that can be refreshed."`
	Port      int           `help:"Port of 127.0.0.1 that the browser comes back to, for servers that want a fixed one. Default: any."`
	NoBrowser bool          `name:"no-browser" help:"Only print the URL."`
	Timeout   time.Duration `default:"5m" help:"How long to wait for the browser to come back (${default})."`
}

func (c loginCommand) Run(ctx context.Context, std streams) error {
	if err := spacedScopes(c.Scope); err != nil {
		return usageError{err}
	}
	client, store, err := c.client(c.Scope, c.Port)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("within %s", c.Timeout))
	defer cancel()
	user, err := client.Login(ctx, func(url string) {
		fmt.Fprintf(std.out, "Open this page in a browser on this machine to log in:\n\n  %s\n\n", url)
		if !c.NoBrowser {
			openBrowser(url)
		}
	})
	if err != nil {
		return err
	}
	as := ""
	if user != "" {
		as = fmt.Sprintf(" as %q", user)
	}
	_, err = fmt.Fprintf(std.out, "Logged in%s. The tokens are in %s, encrypted.\n", as, store)
	return err
}

// openBrowser tries to; the URL is printed in any case.
func openBrowser(url string) {
	var command *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		command = exec.Command("open", url)
	case "windows":
		command = exec.Command("rundll32", "url.dll,FileProtocolHandler", url)
	default:
		command = exec.Command("xdg-open", url)
	}
	if command.Start() == nil {
		_ = command.Process.Release()
	}
}

type printCommand struct{ loginFlags }

func (c printCommand) Run(ctx context.Context, std streams) error {
	client, _, err := c.client(nil, 0)
	if err != nil {
		return err
	}
	defer client.Close()
	// A refresh that has begun is brought to its end, within its time: the
	// refresh token is used up.
	token, err := client.Token(context.WithoutCancel(ctx))
	if errors.Is(err, login.ErrNoLogin) {
		return fmt.Errorf("%w; run: mcpauth login%s", err, c.arguments())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, token.Reveal())
	return err
}

// Command mcpauth puts a verified user in front of MCP servers. This version
// has the demonstration, tools to make and check tokens, and one to revoke them.
//
// Exit codes: 0 success, 1 refused or failed, 2 wrong usage or configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

type commands struct {
	Demo  demoCommand `cmd:"" help:"Show mcpauth at work: an issuer, two users and a notes server in one process."`
	Token struct {
		Mint   mintCommand   `cmd:"" help:"Make a signed token."`
		Verify verifyCommand `cmd:"" help:"Check tokens as the server would, and say what is wrong with them."`
		Print  printCommand  `cmd:"" help:"Print the access token of a login, such as for curl. It is refreshed when needed."`
	} `cmd:"" help:"Make, check and print tokens."`
	Login      loginCommand      `cmd:"" help:"Log in to an authorization server with a browser, and keep the tokens."`
	APIKey     apikeyCommand     `cmd:"" name:"apikey" help:"Make, list, revoke and rotate API keys."`
	Revoke     revokeCommand     `cmd:"" help:"Revoke tokens, users and sessions on a running server."`
	Credential credentialCommand `cmd:"" help:"See to the credentials that a running server has cached."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// streams is what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

const (
	exitOK      = 0
	exitRefused = 1
	exitUsage   = 2
)

// errRefused ends a command that has already said what was refused.
var errRefused = errors.New("refused")

// usageError is a mistake in what the command was told.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

func run(ctx context.Context, args []string, std streams) (code int) {
	exited := -1
	var cli commands
	parser, err := kong.New(&cli,
		kong.Name("mcpauth"),
		kong.Description("A verified user in front of any MCP server."),
		kong.UsageOnError(),
		kong.Groups{"keys": "Key, one of:"},
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(mapDuration)),
	)
	if err != nil {
		fmt.Fprintln(std.err, "mcpauth:", err)
		return exitUsage
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		help := "mcpauth"
		if wrong := (*kong.ParseError)(nil); errors.As(err, &wrong) && wrong.Context.Selected() != nil {
			help = wrong.Context.Selected().FullPath()
		}
		fmt.Fprintf(std.err, "mcpauth: %s\nTry \"%s --help\".\n", abridged(err.Error(), args), help)
		return exitUsage
	}
	err = command.Run()
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.As(err, &usage):
		fmt.Fprintln(std.err, "mcpauth:", err)
		return exitUsage
	default:
		fmt.Fprintln(std.err, "mcpauth:", err)
		return exitRefused
	}
}

// abridged returns message with the beginnings only of long arguments: one in the
// wrong place may be a token, and messages are kept in logs.
func abridged(message string, args []string) string {
	const long, shown = 32, 8
	for _, arg := range args {
		if len(arg) > long && !strings.HasPrefix(arg, "-") {
			message = strings.ReplaceAll(message, arg, arg[:shown]+"…")
		}
	}
	return message
}

// mapDuration decodes a duration as time.ParseDuration takes it, or with days of 24
// hours in front, as in "90d" or "1d12h".
func mapDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := parseDuration(text)
	if err != nil {
		return fmt.Errorf("expected a duration such as 90d, 12h or 30m, found %q", text)
	}
	target.Set(reflect.ValueOf(d))
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	const day = 24 * time.Hour
	n, err := strconv.ParseInt(days, 10, 64)
	if err != nil || n >= int64(math.MaxInt64/day) || n <= -int64(math.MaxInt64/day) {
		return 0, strconv.ErrRange
	}
	more := time.Duration(0)
	if rest != "" {
		if more, err = time.ParseDuration(rest); err != nil || more < 0 || more >= day {
			return 0, strconv.ErrSyntax
		}
	}
	if strings.HasPrefix(days, "-") {
		more = -more
	}
	return time.Duration(n)*day + more, nil
}

type versionCommand struct{}

func (versionCommand) Run(std streams) error {
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	_, err := fmt.Fprintf(std.out, "mcpauth %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

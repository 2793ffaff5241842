package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/mcpauth-go/mcpauth/internal/demo"
)

type demoCommand struct {
	Addr  string `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to listen, on loopback (${default})."`
	Check bool   `help:"Walk through the demonstration on a free port, print what was tried, expected and seen, and exit."`
}

func (c demoCommand) Run(ctx context.Context, std streams) error {
	if c.Check {
		return check(ctx, std)
	}
	d, err := demo.New(c.Addr, slog.New(slog.NewTextHandler(std.err, nil)))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: choose another with --addr", err)
	}
	if err != nil {
		return usageError{err}
	}
	if err := d.Explain(std.out); err != nil {
		return err
	}
	return d.Run(ctx)
}

func check(ctx context.Context, std streams) error {
	d, err := demo.New("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	ok, err := d.Check(ctx, std.out)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	if !ok {
		return errRefused
	}
	return nil
}

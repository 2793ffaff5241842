package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// socket is a listener on a Unix socket that removes the socket's file, unless
// another has come to be in its place.
type socket struct {
	*net.UnixListener
	path string
	file os.FileInfo
}

func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// Who connects between bind and chmod stays connected, so the mode is set
	// before bind where the system can; the umask, which would do too, is that
	// of all threads and of the files that they make meanwhile.
	l, err := (&net.ListenConfig{Control: private}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	unix := l.(*net.UnixListener)
	unix.SetUnlinkOnClose(false)
	err = os.Chmod(path, 0o600)
	info, statErr := os.Lstat(path)
	if err := errors.Join(err, statErr); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(path))
	}
	return &socket{unix, path, info}, nil
}

// removeStale removes the socket that a process which is gone has left at path, and
// nothing else.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is not a socket; it has not been removed", path)
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("%s is in use by another process", path)
	case errors.Is(err, syscall.ECONNREFUSED): // nobody listens
		return os.Remove(path)
	}
	return fmt.Errorf("%s is there, and whether it is in use cannot be told: %w", path, err)
}

func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

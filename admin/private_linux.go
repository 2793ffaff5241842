package admin

import "syscall"

// private gives a socket that is not bound yet the mode that its file will
// have (unix(7): bind applies the socket's own mode).
func private(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); e != nil {
		return e
	}
	return err
}

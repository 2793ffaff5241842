//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package revoke

import (
	"os"
	"syscall"
)

// unlock takes back the lock of the database. Of a file that has been closed it
// does nothing.
func unlock(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { syscall.Flock(int(fd), syscall.LOCK_UN) })
	}
}

//go:build unix

package login

import (
	"errors"
	"os"
	"syscall"
)

// anyMode says that the mode of a file does not say who may read it.
const anyMode = false

func tryLock(f *os.File) (taken bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

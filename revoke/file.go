package revoke

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The file has two buckets: "mcpauth" says what it is, "revocations" has an
// entry a key, and as its sequence the number of them. A value is when the
// revocation was made, before when a user's tokens were issued (0 for other
// kinds), both in microseconds, the reason, and a checksum of key and value:
// bbolt checks its own first pages only. When an entry expires is not there,
// since that is a matter of configuration.
var (
	aboutBucket   = []byte("mcpauth")
	entriesBucket = []byte("revocations")
	formatKey     = []byte("format")
	format        = []byte("revocations 1")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// file is a list on the disk.
type file struct {
	db      *bolt.DB
	file    *os.File
	created bool
	broken  error // after a panic of the database; for the one that writes
}

// lockWait is for the process that is just going.
const lockWait = 200 * time.Millisecond

// openFile opens the list at path, or makes one, and calls load with each entry.
func openFile(path string, load func(Entry)) (_ *file, err error) {
	f := &file{}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.created = true
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is not a regular file", ErrNotList)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0: // which Windows has not
		return nil, fmt.Errorf("the file is open to all users (mode %04o)", info.Mode().Perm())
	case info.Size() == 0:
		// One of ours has never been empty; this one has lost all it had.
		return nil, fmt.Errorf("%w: it is empty", ErrNotList)
	}
	defer func() {
		if err == nil {
			return
		}
		if f.file != nil {
			f.abandon()
			if f.created {
				os.Remove(path)
			}
		}
	}()
	err = guard(func() error {
		f.db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      lockWait,
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true,
			// Opening writes a free list to a file that has none, such as
			// another program's. Ours get theirs with the first change.
			NoFreelistSync: true,
			OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
				if f.created {
					flag |= os.O_EXCL
				}
				opened, err := os.OpenFile(path, flag, mode)
				f.file = opened
				return opened, err
			},
		})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		f.created = false // someone else was quicker
		return nil, ErrInUse
	case err != nil && f.file != nil && !f.created:
		return nil, fmt.Errorf("%w: %w", ErrNotList, err)
	case err != nil:
		return nil, err
	}
	f.db.NoFreelistSync = false
	if f.created {
		err = f.begin(filepath.Dir(path))
	} else {
		err = guard(func() error { return f.db.View(func(tx *bolt.Tx) error { return f.load(tx, load) }) })
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrNotList, err)
		}
	}
	if err != nil {
		if !errors.Is(err, errPanicked) { // which may have left open what Close waits for
			f.db.Close()
		}
		return nil, err
	}
	return f, nil
}

// begin makes an empty list of an empty database.
func (f *file) begin(dir string) error {
	err := f.update(func(tx *bolt.Tx) error {
		about, err := tx.CreateBucket(aboutBucket)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(entriesBucket); err != nil {
			return err
		}
		return about.Put(formatKey, format)
	})
	if err != nil || runtime.GOOS == "windows" {
		return err
	}
	// Without this, a loss of power may take the file's name away.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

var errDamaged = errors.New("an entry is damaged or missing")

func (f *file) load(tx *bolt.Tx, load func(Entry)) error {
	if info, err := f.file.Stat(); err != nil {
		return err
	} else if info.Size() < tx.Size() {
		return errors.New("it has been cut short")
	}
	about, entries := tx.Bucket(aboutBucket), tx.Bucket(entriesBucket)
	if about == nil || entries == nil {
		return errors.New("it belongs to something else")
	}
	if found := about.Get(formatKey); string(found) != string(format) {
		return fmt.Errorf("its format is %.40q, not %q", found, format)
	}
	var (
		n    uint64
		last string
	)
	c := entries.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		e, err := decode(k, v)
		if err != nil {
			return err
		}
		if string(k) <= last {
			return errDamaged
		}
		last = string(k)
		n++
		load(e)
	}
	if n != entries.Sequence() {
		return errDamaged
	}
	return nil
}

func encode(key string, e Entry) []byte {
	value := make([]byte, 0, 8+8+len(e.Reason)+4)
	value = binary.BigEndian.AppendUint64(value, uint64(e.At.UnixMicro()))
	before := int64(0)
	if e.Kind == User {
		before = e.Before.UnixMicro()
	}
	value = binary.BigEndian.AppendUint64(value, uint64(before))
	value = append(value, e.Reason...)
	return binary.BigEndian.AppendUint32(value, checksum([]byte(key), value))
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func decode(key, value []byte) (Entry, error) {
	body := len(value) - 4
	if body < 16 || checksum(key, value[:body]) != binary.BigEndian.Uint32(value[body:]) {
		return Entry{}, errDamaged
	}
	r, ok := parseKey(string(key))
	if !ok {
		return Entry{}, errDamaged
	}
	if r.Kind == User {
		r.Before = time.UnixMicro(int64(binary.BigEndian.Uint64(value[8:]))).UTC()
	}
	r.Reason = string(value[16:body])
	return Entry{Revocation: r, At: time.UnixMicro(int64(binary.BigEndian.Uint64(value))).UTC(), Saved: true}, nil
}

// write saves lines, all or none.
func (f *file) write(lines []line) error {
	// Neighbours share pages.
	slices.SortFunc(lines, func(a, b line) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	return f.update(func(tx *bolt.Tx) error {
		entries := tx.Bucket(entriesBucket)
		n := entries.Sequence()
		for _, line := range lines {
			key := []byte(line.key)
			known := entries.Get(key) != nil
			switch {
			case line.entry != nil:
				if err := entries.Put(key, encode(line.key, *line.entry)); err != nil {
					return err
				}
				if !known {
					n++
				}
			case known:
				if err := entries.Delete(key); err != nil {
					return err
				}
				n--
			}
		}
		return entries.SetSequence(n)
	})
}

// remove removes keys, which are there.
func (f *file) remove(keys []string) error {
	lines := make([]line, len(keys))
	for i, key := range keys {
		lines[i].key = key
	}
	return f.write(lines)
}

// scan looks at up to n entries that come after the key after, and returns the
// keys of those that match, and where to go on, nil at the end.
func (f *file) scan(after []byte, n int, match func(Entry) bool) (keys []string, next []byte, err error) {
	err = f.view(func(entries *bolt.Bucket) error {
		c := entries.Cursor()
		k, v := c.Seek(append(slices.Clone(after), 0))
		for ; k != nil; k, v = c.Next() {
			if n--; n < 0 {
				return nil
			}
			e, err := decode(k, v)
			if err != nil {
				return err
			}
			if match(e) {
				keys = append(keys, string(k))
			}
			next = slices.Clone(k)
		}
		next = nil
		return nil
	})
	return keys, next, err
}

func (f *file) view(do func(entries *bolt.Bucket) error) error {
	return guard(func() error {
		return f.db.View(func(tx *bolt.Tx) error { return do(tx.Bucket(entriesBucket)) })
	})
}

// update changes the file in one step, fsync included.
func (f *file) update(do func(*bolt.Tx) error) error {
	if f.broken != nil {
		return f.broken
	}
	err := guard(func() error { return f.db.Update(do) })
	if errors.Is(err, errPanicked) {
		f.broken = err // its locks may be held for ever
	}
	return err
}

func (f *file) size() int64 {
	info, err := f.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func (f *file) close() error {
	if f.broken != nil {
		f.abandon()
		return f.broken
	}
	return f.db.Close()
}

// abandon gives the file back when the database cannot. What it has mapped stays
// mapped, and would keep the lock.
func (f *file) abandon() {
	unlock(f.file)
	f.file.Close()
}

var errPanicked = errors.New("the database has given up")

// guard turns what the database answers to a damaged file, a panic, and what
// the system answers when a mapped page cannot be read, a fault, into an error.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanicked, r)
		}
	}()
	return do()
}

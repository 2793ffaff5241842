package revoke

// Stall keeps the disk from answering until release.
func Stall(l *List) (release func()) {
	tx, err := l.file.db.Begin(true)
	if err != nil {
		panic(err)
	}
	return func() { tx.Rollback() }
}

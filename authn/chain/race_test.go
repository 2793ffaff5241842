//go:build race

package chain_test

func init() { raced = true }

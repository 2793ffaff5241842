//go:build race

package jwt_test

func init() { raced = true }

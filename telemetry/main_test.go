package telemetry_test

import (
	"fmt"
	"os"
	"testing"

	"go.opentelemetry.io/otel"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// What reaches the global handler would be printed, past the logger.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		fmt.Println("the global error handler was called:", err)
		os.Exit(1)
	}))
	goleak.VerifyTestMain(m)
}

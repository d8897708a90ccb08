package app

import (
	"os"
	"testing"

	"github.com/drivebay/drivebay/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

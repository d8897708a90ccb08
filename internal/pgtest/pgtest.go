// Package pgtest gives tests PostgreSQL: a server of their own in a temporary
// folder, or databases on the server that DRIVEBAY_TEST_POSTGRES names.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/testneed"
)

// Env is the address of a server on which tests may make databases. Without
// it they start one, if PostgreSQL is installed.
const Env = "DRIVEBAY_TEST_POSTGRES"

// shared is the server of this process.
var shared struct {
	once   sync.Once
	server *Server
	err    error
	last   atomic.Int64 // database
}

// Main runs the tests of a package that uses New, and stops the server they
// started. Call it from TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// Need skips the test where there is no PostgreSQL, or fails it where it is
// required.
func Need(t testing.TB) {
	t.Helper()
	testneed.Need(t, "postgres", os.Getenv(Env) != "" || binary("postgres") != "",
		"PostgreSQL is not installed (Debian: apt-get install postgresql), nor does "+Env+" name a server")
}

// Installed reports whether Start finds PostgreSQL on this machine.
func Installed() bool { return binary("postgres") != "" }

// New makes an empty database, gone after the test, and returns its address.
func New(t testing.TB) string {
	t.Helper()
	return Copy(t, "template0")
}

// Copy is New with what is in another database of the server.
func Copy(t testing.TB, template string) string {
	t.Helper()
	address, drop := Make(t, template)
	t.Cleanup(drop)
	return address
}

// Make makes a database that stays until it is dropped, or the process ends.
func Make(t testing.TB, template string) (address string, drop func()) {
	t.Helper()
	Need(t)
	base := base(t)
	name := fmt.Sprintf("drivebay_test_%d_%d", os.Getpid(), shared.last.Add(1))
	run(t, base, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template))
	return With(base, name), func() { run(t, base, fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", name)) }
}

// Name is the database of an address.
func Name(address string) string {
	u, err := url.Parse(address)
	if err != nil || len(u.Path) < 2 {
		return ""
	}
	return u.Path[1:]
}

// With is the address of another database of the same server.
func With(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // it has been used already
	}
	u.Path = "/" + name
	return u.String()
}

// base is the address of a database to make others from.
func base(t testing.TB) string {
	t.Helper()
	if address := os.Getenv(Env); address != "" {
		return address
	}
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "pgtest")
		if err != nil {
			shared.err = err
			return
		}
		if shared.server, shared.err = Start(filepath.Join(dir, "data")); shared.err != nil {
			_ = os.RemoveAll(dir)
		}
	})
	if shared.err != nil {
		t.Fatalf("start PostgreSQL: %v", shared.err)
	}
	return shared.server.Address("postgres")
}

func run(t testing.TB, address, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatalf("connect to PostgreSQL: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

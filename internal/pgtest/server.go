package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/drivebay/drivebay/internal/testneed"
)

// Server is a PostgreSQL server in a folder of its own. It trusts everybody on
// this machine, and does not wait for the disk: a crash of the machine may
// lose what it holds, a crash of the server does not.
type Server struct {
	dir  string
	port int
	with []string            // further settings
	cred *syscall.Credential // PostgreSQL does not run as root

	mu     sync.Mutex
	cmd    *exec.Cmd
	log    *bytes.Buffer
	exited chan struct{}
}

// Start makes a cluster in the folder, which is not there yet, and starts it
// with further settings, NAME=VALUE.
func Start(dir string, settings ...string) (*Server, error) {
	s := &Server{dir: dir, with: settings}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.unprivileged(); err != nil {
		return nil, err
	}
	var err error
	if s.port, err = testneed.FreePort(); err != nil {
		return nil, err
	}
	initdb := exec.Command(binary("initdb"), "-D", dir, "-U", "drivebay", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--no-instructions")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	initdb.Dir = "/"
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, s.Up()
}

// unprivileged gives the folder to a user that is not root.
func (s *Server) unprivileged() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uerr, gerr); err != nil {
		return err
	}
	s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	// The folders above, temporary ones, let everybody through.
	for up := filepath.Dir(s.dir); up != os.TempDir() && up != "/" && up != "."; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o711); err != nil {
			return err
		}
	}
	return os.Chown(s.dir, int(uid), int(gid))
}

// Up starts the server and returns once it answers. Running already: nothing.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return nil
	}
	s.log, s.exited = &bytes.Buffer{}, make(chan struct{})
	cmd := exec.Command(binary("postgres"), "-D", s.dir, "-p", strconv.Itoa(s.port), "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=300", "-c", "shared_buffers=64MB",
		"-c", "log_min_messages=fatal", "-c", "deadlock_timeout=200ms")
	for _, setting := range s.with {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	cmd.Stderr, cmd.Dir = s.log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the signal comes when the thread ends
		started <- cmd.Start()
		if cmd.Process != nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(s.exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd = cmd
	return s.await()
}

func (s *Server) await() error {
	deadline := time.Now().Add(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		conn, err := pgx.Connect(ctx, s.Address("postgres"))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			s.cmd = nil
			return fmt.Errorf("PostgreSQL ended: %s", s.log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
	}
}

// Down stops the server: at once, as if it had crashed, or once it has written
// everything and cut every connection. It returns when the server is gone.
func (s *Server) Down(crash bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	sig := syscall.SIGINT
	if crash {
		sig = syscall.SIGQUIT
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-s.exited
	s.cmd = nil
	return nil
}

// Remove stops the server and deletes its folder with the one above it, which
// is there for it alone.
func (s *Server) Remove() error {
	return errors.Join(s.Down(true), os.RemoveAll(filepath.Dir(s.dir)))
}

// Port is where it listens on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// Address is that of one of its databases, by a socket of this machine.
func (s *Server) Address(name string) string {
	return fmt.Sprintf("postgres://drivebay@localhost:%d/%s?host=%s", s.port, name, s.dir)
}

// TCP is the address of one of its databases by way of a port of 127.0.0.1,
// its own or that of something in between.
func (s *Server) TCP(name string, port int) string {
	return fmt.Sprintf("postgres://drivebay@127.0.0.1:%d/%s", port, name)
}

// binary finds a program of PostgreSQL; Debian keeps them out of the PATH.
func binary(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int { return len(a) - len(b) })
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

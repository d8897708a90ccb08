package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/drivebay/drivebay/e2e/built"
	"github.com/drivebay/drivebay/internal/app"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/config"
)

// nodeEnv tells this executable to be a server, and which.
const nodeEnv = "DRIVEBAY_CHAOS_NODE"

type nodeConfig struct {
	Name, Database, Dir string
	Host                string // the socket of the facilities' hosts
	Lease               time.Duration
}

// beNode is main of a server. It tells its URL on stdout once it serves.
func beNode(text string) int {
	if err := runNode(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runNode(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var n nodeConfig
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return err
	}
	cfg := config.Default()
	cfg.Listen, cfg.DataDir, cfg.Database, cfg.Node = "127.0.0.1:0", n.Dir, n.Database, n.Name
	cfg.RateLimit, cfg.RateLimitAnonymous = 0, 0
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := app.Start(ctx, cfg, app.Options{
		Log: log, Version: "chaos", Lease: n.Lease,
		Drivers: func(d *app.Drivers) {
			d.Use(func(dir string) (backend.Driver, error) { return newRemote(n.Host, filepath.Base(dir)), nil })
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), cfg.DrainTimeout)
	defer cancel()
	return s.Close(end)
}

// node is one server as seen from here. While it is wanted it is started again
// whenever it ends, as any installation does it.
type node struct {
	conf  nodeConfig
	proxy *proxy
	fail  func(format string, args ...any)
	log   string // the path of its log, over all starts

	fault sync.Mutex // held by whoever kills or stops it

	mu     sync.Mutex
	wanted bool
	url    string // "": it does not serve
	held   string // its url while it is paused
	cmd    *exec.Cmd
	exited chan struct{}
	starts int
}

// start begins a process; it does not wait for anything.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.launch()
}

func (n *node) launch() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	conf, err := json.Marshal(n.conf)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(built.Env(), nodeEnv+"="+string(conf))
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the signal comes when the thread ends
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n.serves(cmd, lines.Text())
		}
		err = cmd.Wait()
		n.ended(cmd, err)
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	n.wanted, n.url, n.cmd, n.exited = true, "", cmd, exited
	n.starts++
	return nil
}

func (n *node) serves(cmd *exec.Cmd, url string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == cmd {
		n.url = url
	}
}

// ended starts the server again if nobody wanted its end. It may give up while
// it starts, as the database may be away; not later.
func (n *node) ended(cmd *exec.Cmd, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != cmd {
		return
	}
	served := n.url != ""
	n.url = ""
	if !n.wanted {
		return
	}
	if served {
		n.fail("%s ended by itself: %v (its log: %s)", n.conf.Name, err, n.log)
	}
	time.AfterFunc(50*time.Millisecond, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.wanted && n.cmd == cmd {
			if err := n.launch(); err != nil {
				n.fail("start %s: %v", n.conf.Name, err)
			}
		}
	})
}

// address is where it serves, "" if it does not.
func (n *node) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.url
}

// signal sends sig to the process, if there is one.
func (n *node) signal(sig syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil && n.wanted {
		_ = n.cmd.Process.Signal(sig) // gone already: the same to us
	}
}

// end ends the process with sig and returns once it is gone. One that is asked
// to stop has nothing to complain about, data races among them.
func (n *node) end(sig syscall.Signal) {
	n.mu.Lock()
	cmd, exited := n.cmd, n.exited
	n.wanted = false
	n.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	<-exited
	if code := cmd.ProcessState.ExitCode(); sig == syscall.SIGTERM && code != 0 {
		n.fail("%s was asked to stop and ended with %d: %s", n.conf.Name, code, n.log)
	}
}

// pause stops the process where it is; clients go elsewhere until resume.
func (n *node) pause() {
	n.signal(syscall.SIGSTOP)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held, n.url = n.url, ""
}

func (n *node) resume() {
	n.mu.Lock()
	n.url = n.held
	n.mu.Unlock()
	n.signal(syscall.SIGCONT)
}

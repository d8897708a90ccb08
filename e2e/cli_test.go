package e2e

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drivebay/drivebay/e2e/built"
)

// TestCLI runs the scripts in testdata/cli, each against a demo server of its
// own. Beyond testscript's commands there are:
//
//	code N command...       runs it and holds its exit status
//	keep NAME               sets NAME to what was printed last
//	interrupt PATTERN command...  runs it, sends SIGINT once it has said PATTERN on standard error, and holds the status 130
//	brake, release          stop the download of $SLOW_ISO, and uploads by way of $NARROW, half-way; let them go on
func TestCLI(t *testing.T) {
	needBinary(t)
	t.Parallel()
	scripts, err := filepath.Glob("testdata/cli/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t)
			iso := o.serve("/small.iso", newImage("SMALL", 1<<20, true))
			slow := o.serveBraked("/slow.iso", newImage("SLOW", 4<<20, false), 1<<20)
			broken := o.serve("/gone", image{})
			s := startDemo(t, allow)
			narrow := o.before(s.demo.URL, 1<<20)
			testscript.Run(t, testscript.Params{
				Files: []string{script}, RequireExplicitExec: true, RequireUniqueNames: true,
				Setup: func(e *testscript.Env) error {
					e.Vars = append(e.Vars, "PATH="+filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+e.WorkDir,
						"DRIVEBAY_URL="+s.demo.URL, "DRIVEBAY_API_KEY="+s.demo.APIKey, "ADMIN="+s.demo.AdminKey, "OTHER="+s.demo.Other.APIKey,
						"DATA="+s.dir, "ISO_URL="+iso, "SLOW_ISO="+slow, "NO_ISO="+broken, "NARROW="+narrow)
					return writeImage(filepath.Join(e.WorkDir, "upload.iso"), newImage("UPLOAD", 16<<20, true))
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"code": expectCode, "keep": keepOutput, "interrupt": interruptWhen,
					"brake":   func(*testscript.TestScript, bool, []string) { o.brake() },
					"release": func(*testscript.TestScript, bool, []string) { o.release() },
				},
			})
		})
	}
}

func expectCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func keepOutput(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if text == "" || strings.ContainsAny(text, " \n") {
		ts.Fatalf("what was printed is not one word: %q", text)
	}
	ts.Setenv(args[0], text)
}

// interruptWhen runs a command on its own: testscript's own way has no view of
// what a command that still runs has said.
func interruptWhen(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	cmd := exec.Command(filepath.Join(filepath.Dir(program), args[1]), args[2:]...)
	said := &output{more: make(chan struct{}, 1)}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, said, ts.MkAbs(".")
	cmd.Env = append(built.Env(), "HOME="+ts.Getenv("HOME"), "DRIVEBAY_URL="+ts.Getenv("DRIVEBAY_URL"), "DRIVEBAY_API_KEY="+ts.Getenv("DRIVEBAY_API_KEY"))
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !pattern.MatchString(said.String()) {
		select {
		case <-said.more:
		case <-ended:
			ts.Fatalf("it ended by itself: %s", said)
		case <-limit.C:
			_ = cmd.Process.Kill()
			ts.Fatalf("it did not say %s: %s", args[0], said)
		}
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	select {
	case <-ended:
	case <-limit.C:
		_ = cmd.Process.Kill()
		ts.Fatalf("it went on after SIGINT: %s", said)
	}
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		ts.Fatalf("exit status %d after SIGINT: %s", code, said)
	}
	ts.Check(os.WriteFile(ts.MkAbs("said"), []byte(said.String()), 0o600))
}

func writeImage(path string, i image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, i.reader())
	return errors.Join(err, f.Close())
}

// before is another address of a server, by which a PATCH stops after so many
// bytes while the brake is on.
func (o *origin) before(server string, after int64) string {
	to, err := url.Parse(server)
	if err != nil {
		panic(err) // of our own server
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorLog: log.New(io.Discard, "", 0), // clients that went away
	}
	o.mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			o.mu.Lock()
			open := o.open
			o.mu.Unlock()
			r.Body = &brakedBody{ReadCloser: r.Body, left: after, open: open, gone: r.Context().Done()}
		}
		proxy.ServeHTTP(w, r)
	})
	return o.URL
}

// brakedBody is braked for a request.
type brakedBody struct {
	io.ReadCloser
	left int64
	open <-chan struct{}
	gone <-chan struct{}
}

func (b *brakedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		select {
		case <-b.open:
			return b.ReadCloser.Read(p)
		case <-b.gone:
			return 0, io.ErrUnexpectedEOF
		}
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

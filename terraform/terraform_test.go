package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// workspace is a folder with a configuration and its state.
type workspace struct {
	t   *testing.T
	dir string
	env []string
}

// newWorkspace is an empty one for a provider that talks to url.
func newWorkspace(t *testing.T, url, key string) *workspace {
	t.Helper()
	needTerraform(t)
	w := &workspace{t: t, dir: t.TempDir()}
	w.env = ownEnv("TF_CLI_CONFIG_FILE="+cliConfig, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1",
		"DRIVEBAY_URL="+url, "DRIVEBAY_API_KEY="+key, "GORACE=halt_on_error=1 atexit_sleep_ms=0") // the detector sleeps before each exit otherwise
	w.write("provider.tf", `terraform {
  required_providers {
    drivebay = { source = "drivebay/drivebay" }
  }
}
`)
	return w
}

// workspace is an empty one for a provider that talks to the server itself.
func (s *server) workspace() *workspace { return newWorkspace(s.t, s.url, s.key) }

// write puts a file into the folder.
func (w *workspace) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// command is terraform with args, not started.
func (w *workspace) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), "terraform", append(args, "-no-color")...)
	cmd.Dir, cmd.Env = w.dir, w.env
	return cmd
}

// run runs terraform to its end and returns its exit code and what it said.
func (w *workspace) run(args ...string) (int, string) {
	w.t.Helper()
	cmd := w.command(args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// running is a terraform that runs while the test does something else.
type running struct {
	w     *workspace
	cmd   *exec.Cmd
	out   bytes.Buffer // to be read after ended
	ended chan error   // gets the result
}

func (w *workspace) begin(args ...string) *running {
	w.t.Helper()
	r := &running{w: w, cmd: w.command(args...), ended: make(chan error, 1)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	return r
}

// await waits for something that has to come while terraform runs.
func (r *running) await(event <-chan struct{}) {
	r.w.t.Helper()
	select {
	case <-event:
	case err := <-r.ended:
		r.w.t.Fatalf("terraform ended too early: %v\n%s", err, &r.out)
	}
}

func (r *running) succeed() {
	r.w.t.Helper()
	if err := <-r.ended; err != nil {
		r.w.t.Fatalf("terraform failed: %v\n%s", err, &r.out)
	}
}

func (w *workspace) must(args ...string) string {
	w.t.Helper()
	code, out := w.run(args...)
	if code != 0 {
		w.t.Fatalf("terraform %s ended with %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// refuses runs what must fail with all these texts. Terraform breaks lines, so
// white space counts as one space.
func (w *workspace) refuses(texts []string, args ...string) {
	w.t.Helper()
	code, out := w.run(args...)
	if code != 1 {
		w.t.Fatalf("terraform %s ended with %d, not with an error:\n%s", strings.Join(args, " "), code, out)
	}
	w.tells(out, texts...)
}

func (w *workspace) tells(out string, texts ...string) {
	w.t.Helper()
	flat := strings.Join(strings.Fields(strings.ReplaceAll(out, "│", " ")), " ")
	for _, text := range texts {
		if !strings.Contains(flat, text) {
			w.t.Fatalf("terraform does not say %q:\n%s", text, out)
		}
	}
}

// apply applies the configuration, after which nothing may be left to do, and
// returns what terraform said.
func (w *workspace) apply(args ...string) string {
	w.t.Helper()
	out := w.must(append([]string{"apply", "-auto-approve"}, args...)...)
	w.idle(args...)
	return out
}

// idle requires an empty plan.
func (w *workspace) idle(args ...string) {
	w.t.Helper()
	if code, out := w.run(append([]string{"plan", "-detailed-exitcode"}, args...)...); code != 0 {
		w.t.Fatalf("the plan is not empty (%d):\n%s", code, out)
	}
}

// plans requires a plan that has something to do, with all these texts.
func (w *workspace) plans(texts ...string) {
	w.t.Helper()
	code, out := w.run("plan", "-detailed-exitcode")
	if code != 2 {
		w.t.Fatalf("there is nothing to do, or an error (%d):\n%s", code, out)
	}
	w.tells(out, texts...)
}

func (w *workspace) destroy(args ...string) {
	w.t.Helper()
	w.must(append([]string{"destroy", "-auto-approve"}, args...)...)
	if left := w.state(); len(left) > 0 {
		w.t.Fatalf("after the destroy the state has %v", left)
	}
}

// instance is a resource in the state.
type instance struct {
	Status     string         `json:"status"` // "tainted", or ""
	Attributes map[string]any `json:"attributes"`
}

// state is what the state has, by type and name; of a resource with count, the
// last one.
func (w *workspace) state() map[string]instance {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "terraform.tfstate"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var file struct {
		Resources []struct {
			Mode, Type, Name string
			Instances        []instance
		}
	}
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]instance{}
	for _, r := range file.Resources {
		name := r.Type + "." + r.Name
		if r.Mode == "data" {
			name = "data." + name
		}
		for _, i := range r.Instances {
			all[name] = i
		}
	}
	return all
}

// has requires that a resource is in the state, and returns its attributes.
func (w *workspace) has(name string) map[string]any {
	w.t.Helper()
	i, ok := w.state()[name]
	if !ok {
		w.t.Fatalf("the state has no %s, only %v", name, w.state())
	}
	return i.Attributes
}

// id is the id of a resource in the state.
func (w *workspace) id(name string) string {
	w.t.Helper()
	id, _ := w.has(name)["id"].(string)
	if id == "" {
		w.t.Fatalf("%s has no id: %v", name, w.has(name))
	}
	return id
}

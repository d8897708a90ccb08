//go:build unix

package local

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/testneed"
)

// The crash test runs the test binary again as a child that makes random calls
// until it is killed, by us at a random moment or by itself ahead of a random
// step on disk. The child says which call it is about to make and how it
// ended; from that the parent knows what the folder must hold.

const childEnv = "DRIVEBAY_TEST_LOCAL_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		runChild(text)
	}
	os.Exit(m.Run())
}

const crashWorkers = 4

// childOrder tells a child what to do.
type childOrder struct {
	Dir    string // of the driver
	Import string // where it writes files to import
	Seed   uint64
	DieAt  int64 // the step on disk ahead of which it ends; 0 is none
	Copy   bool  // imports come from another filesystem
}

// op is one call. Each worker has guests, volumes and images of its own, so
// its calls have known outcomes.
type op struct {
	Kind, Ref, Volume string
	Image             int
	Bytes             int64
	Action            backend.PowerAction
	CDFirst           bool
}

// note is one line of a child: a call about to be made, or done.
type note struct {
	Worker int
	Op     op
	Done   bool
	Reason string
}

func imageOf(n int) (key string, content []byte) {
	content = []byte(strings.Repeat(fmt.Sprintf("image %d\n", n), 5000))
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), content
}

func randomOp(r *rand.Rand, worker int) op {
	kinds := []string{"vm", "create", "create", "grow", "delete", "attach", "attach", "detach", "power", "boot", "import", "unimport", "media", "media", "eject"}
	actions := []backend.PowerAction{backend.PowerStart, backend.PowerOff, backend.PowerShutdown, backend.PowerReset}
	return op{
		Kind:   kinds[r.IntN(len(kinds))],
		Ref:    fmt.Sprintf("vm-%d-%d", worker, r.IntN(2)),
		Volume: fmt.Sprintf("vol-%d-%d", worker, r.IntN(4)),
		Image:  worker*10 + r.IntN(2),
		Bytes:  int64(1+r.IntN(3)) << 16,
		Action: actions[r.IntN(len(actions))], CDFirst: r.IntN(2) == 0,
	}
}

func (o op) run(d *Driver, dir string) error {
	ctx := context.Background()
	switch o.Kind {
	case "vm":
		return d.EnsureVM(ctx, backend.VM{Ref: o.Ref, VCPU: 1})
	case "create":
		return d.EnsureVolume(ctx, backend.VolumeSpec{ID: o.Volume, Bytes: o.Bytes})
	case "grow":
		return d.GrowVolume(ctx, o.Volume, o.Bytes)
	case "delete":
		return d.DeleteVolume(ctx, o.Volume)
	case "attach":
		return d.EnsureAttached(ctx, o.Ref, o.Volume)
	case "detach":
		return d.EnsureDetached(ctx, o.Ref, o.Volume, backend.DetachOptions{})
	case "power":
		return d.Power(ctx, o.Ref, o.Action)
	case "boot":
		_, err := d.SetBoot(ctx, o.Ref, o.CDFirst)
		return err
	case "import":
		key, content := imageOf(o.Image)
		path := filepath.Join(dir, key)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		return d.ImportISO(ctx, backend.ISOSpec{Key: key, Bytes: int64(len(content))}, path)
	}
	key, _ := imageOf(o.Image)
	switch o.Kind {
	case "unimport":
		return d.DeleteISO(ctx, key)
	case "media":
		return d.SetMedia(ctx, o.Ref, key, false)
	case "eject":
		return d.SetMedia(ctx, o.Ref, "", false)
	}
	return fmt.Errorf("no such kind %q", o.Kind)
}

// runChild never returns.
func runChild(text string) {
	var order childOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		childFail(err)
	}
	d, err := Open(order.Dir, Options{MaxVolumes: 2})
	if err != nil {
		childFail(err)
	}
	var step atomic.Int64
	d.onStep = func(string, string) error {
		if step.Add(1) == order.DieAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // not one instruction further
		}
		return nil
	}
	if order.Copy {
		d.rename = renameWithin(order.Dir)
	}
	var (
		out  = json.NewEncoder(os.Stdout) // one write for each line
		mu   sync.Mutex
		line = func(n note) {
			mu.Lock()
			defer mu.Unlock()
			if err := out.Encode(n); err != nil {
				childFail(err)
			}
		}
	)
	for w := range crashWorkers {
		go func() {
			r := rand.New(rand.NewPCG(order.Seed, uint64(w)))
			for {
				o := randomOp(r, w)
				line(note{Worker: w, Op: o})
				line(note{Worker: w, Op: o, Done: true, Reason: reason(o.run(d, order.Import))})
			}
		}()
	}
	select {}
}

func childFail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(3)
}

func reason(err error) string {
	var e *backend.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return string(e.Reason)
	}
	return err.Error()
}

// model is what one worker's calls lead to: the rules once more, on maps.
type model struct {
	running map[string]bool // every guest is in it
	cdFirst map[string]bool
	starts  map[string]int
	media   map[string]string
	holder  map[string]string
	bytes   map[string]int64
	images  map[string]int64
}

func newModel() model {
	return model{map[string]bool{}, map[string]bool{}, map[string]int{}, map[string]string{}, map[string]string{}, map[string]int64{}, map[string]int64{}}
}

func (m model) clone() model {
	return model{maps.Clone(m.running), maps.Clone(m.cdFirst), maps.Clone(m.starts), maps.Clone(m.media), maps.Clone(m.holder), maps.Clone(m.bytes), maps.Clone(m.images)}
}

// apply makes the call on m, or says why not and leaves m alone.
func (m model) apply(o op) error {
	_, vm := m.running[o.Ref]
	size, vol := m.bytes[o.Volume]
	key, content := imageOf(o.Image)
	switch o.Kind {
	case "vm":
		if !vm {
			m.start(o.Ref)
		}
	case "create":
		if vol && size != o.Bytes {
			return backend.ErrConflict
		}
		m.bytes[o.Volume] = o.Bytes
	case "grow":
		if !vol {
			return backend.ErrVolumeNotFound
		} else if o.Bytes < size {
			return backend.ErrShrink
		}
		m.bytes[o.Volume] = o.Bytes
	case "delete":
		if m.holder[o.Volume] != "" {
			return backend.ErrInUse
		}
		delete(m.bytes, o.Volume)
	case "attach":
		return m.attach(o, vm, vol)
	case "detach":
		if m.holder[o.Volume] == o.Ref {
			delete(m.holder, o.Volume)
		}
	case "power":
		if !vm {
			return backend.ErrVMNotFound
		} else if o.Action == backend.PowerStart {
			m.start(o.Ref)
		} else if o.Action != backend.PowerReset {
			m.running[o.Ref] = false
		}
	case "boot":
		if vm {
			m.cdFirst[o.Ref] = o.CDFirst
		} else if o.CDFirst {
			return backend.ErrVMNotFound
		}
	case "import":
		m.images[key] = int64(len(content))
	case "unimport":
		for _, used := range m.media {
			if used == key {
				return backend.ErrInUse
			}
		}
		delete(m.images, key)
	case "media":
		if !vm {
			return backend.ErrVMNotFound
		} else if m.images[key] == 0 {
			return backend.ErrISONotFound
		}
		m.media[o.Ref] = key
	case "eject":
		delete(m.media, o.Ref)
	}
	return nil
}

func (m model) start(ref string) {
	if !m.running[ref] {
		m.running[ref] = true
		m.starts[ref]++
	}
}

func (m model) attach(o op, vm, vol bool) error {
	taken := 0
	for _, ref := range m.holder {
		if ref == o.Ref {
			taken++
		}
	}
	switch {
	case !vm:
		return backend.ErrVMNotFound
	case m.holder[o.Volume] == o.Ref && vol:
		return nil
	case !vol:
		return backend.ErrVolumeNotFound
	case m.holder[o.Volume] != "":
		return backend.ErrInUse
	case taken > 2:
		return backend.ErrNoSlot
	}
	m.holder[o.Volume] = o.Ref
	return nil
}

// view is the model as the driver would show it.
func (m model) view() backend.View {
	var all backend.View
	for _, ref := range slices.Sorted(maps.Keys(m.running)) {
		v := backend.VMView{Ref: ref, Running: m.running[ref], ISOKey: m.media[ref], CDFirst: m.cdFirst[ref]}
		if v.Running {
			v.Starts = fmt.Sprint(m.starts[ref])
		}
		for _, id := range slices.Sorted(maps.Keys(m.holder)) {
			if m.holder[id] == ref {
				v.VolumeIDs = append(v.VolumeIDs, id)
			}
		}
		all.VMs = append(all.VMs, v)
	}
	for _, id := range slices.Sorted(maps.Keys(m.bytes)) {
		all.Volumes = append(all.Volumes, backend.VolumeView{ID: id, Bytes: m.bytes[id], Ref: m.holder[id]})
	}
	for _, key := range slices.Sorted(maps.Keys(m.images)) {
		all.ISOs = append(all.ISOs, backend.ISOView{Key: key, Bytes: m.images[key]})
	}
	return all
}

// part is what of all belongs to the worker.
func part(all backend.View, worker int) backend.View {
	var p backend.View
	for _, v := range all.VMs {
		if strings.HasPrefix(v.Ref, fmt.Sprintf("vm-%d-", worker)) {
			p.VMs = append(p.VMs, v)
		}
	}
	for _, v := range all.Volumes {
		if strings.HasPrefix(v.ID, fmt.Sprintf("vol-%d-", worker)) {
			p.Volumes = append(p.Volumes, v)
		}
	}
	for _, v := range all.ISOs {
		for i := range 2 {
			if key, _ := imageOf(worker*10 + i); key == v.Key {
				p.ISOs = append(p.ISOs, v)
			}
		}
	}
	return p
}

func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds := testneed.Rounds(10, 60)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	order := childOrder{Dir: t.TempDir(), Import: t.TempDir()}
	var models [crashWorkers]model
	for w := range models {
		models[w] = newModel()
	}
	calls := 0
	for round := range rounds {
		order.Seed, order.Copy, order.DieAt = r.Uint64(), round%4 > 1, 0
		lines := -1
		if round%2 == 0 {
			order.DieAt = 1 + r.Int64N(400)
		} else {
			lines = r.IntN(400)
		}
		notes := runUntilKilled(t, order, lines)
		calls += len(notes) / 2
		checkRound(t, order, &models, notes)
		if t.Failed() {
			t.Fatalf("in round %d: %+v", round, order)
		}
	}
	t.Logf("%d calls in %d rounds", calls, rounds)
}

// runUntilKilled runs a child and kills it after so many lines; below 0 it
// kills itself. It returns all that the child said.
func runUntilKilled(t *testing.T, order childOrder, lines int) []note {
	t.Helper()
	text, err := json.Marshal(order)
	ok(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	defer cmd.Process.Kill()
	if lines == 0 {
		ok(t, cmd.Process.Kill())
	}
	var notes []note
	in := json.NewDecoder(bufio.NewReader(stdout))
	for {
		var n note
		if err := in.Decode(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if notes = append(notes, n); len(notes) == lines {
			ok(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
	if st, isUnix := cmd.ProcessState.Sys().(syscall.WaitStatus); !isUnix || st.Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended with %v: %s", cmd.ProcessState, stderr.String())
	}
	return notes
}

// checkRound brings the models up to what the child said and compares the
// folder with them. A call that had not returned is done or not.
func checkRound(t *testing.T, order childOrder, models *[crashWorkers]model, notes []note) {
	t.Helper()
	var pending [crashWorkers]*op
	for _, n := range notes {
		if !n.Done {
			pending[n.Worker] = &n.Op
			continue
		}
		pending[n.Worker] = nil
		if want := reason(models[n.Worker].apply(n.Op)); n.Reason != want {
			t.Errorf("%+v ended with %q, want %q", n.Op, n.Reason, want)
		}
	}
	d, err := Open(order.Dir, Options{})
	ok(t, err)
	defer func() { ok(t, d.Close()) }()
	all := view(t, d)
	for w := range models {
		got := part(all, w)
		diff := diffViews(models[w].view(), got)
		if diff != "" && pending[w] != nil {
			done := models[w].clone()
			if done.apply(*pending[w]) == nil && diffViews(done.view(), got) == "" {
				models[w], diff = done, ""
			}
		}
		if diff != "" {
			t.Errorf("with %+v pending, the folder differs (-want +got):\n%s", pending[w], diff)
		}
	}
	if left := strays(t, order.Dir, d); len(left) > 0 {
		t.Errorf("left in the folder: %q", left)
	}
	checkContent(t, order.Dir, all)
}

// checkContent wants volumes to be zeros, images to be their hash, and
// whatever a guest names to be there.
func checkContent(t *testing.T, dir string, all backend.View) {
	t.Helper()
	there := make(map[string]bool)
	for _, v := range all.Volumes {
		there[v.ID] = true
		b, err := os.ReadFile(filepath.Join(dir, "volumes", v.ID+".raw"))
		ok(t, err)
		if int64(len(b)) != v.Bytes || strings.Trim(string(b), "\x00") != "" {
			t.Errorf("volume %s is not %d zeros", v.ID, v.Bytes)
		}
	}
	for _, v := range all.ISOs {
		there[v.Key] = true
		b, err := os.ReadFile(filepath.Join(dir, "isos", v.Key+".iso"))
		ok(t, err)
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != v.Key {
			t.Errorf("image %s has another content", v.Key)
		}
	}
	for _, v := range all.VMs {
		for _, name := range append(v.VolumeIDs, v.ISOKey) {
			if name != "" && !there[name] {
				t.Errorf("guest %s names %s, which is not there", v.Ref, name)
			}
		}
	}
}

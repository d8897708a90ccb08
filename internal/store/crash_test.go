//go:build unix

package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/pgtest"
	"github.com/drivebay/drivebay/internal/store"
	"github.com/drivebay/drivebay/internal/store/storetest"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// The crash test runs the test binary again as a child that commits as fast
// as it can and says what was acknowledged, until it is killed at a random
// moment. Everything it said must be there afterwards, and nothing half.

const childEnv = "DRIVEBAY_TEST_STORE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := commitForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(pgtest.Main(m))
}

const crashLanes = 4

// commitForever accepts and finishes tasks. A line "+id" says that a volume
// and its task were accepted, "-id" that the task was finished with its
// effect.
func commitForever(path string) error {
	ctx := context.Background()
	db, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		return err
	}
	if _, err := db.Tasks().ReleaseNode(ctx, "node"); err != nil {
		return err
	}
	failed := make(chan error)
	stop := func(err error) {
		if err != nil {
			failed <- err
		}
	}
	start := time.Now().UnixNano()
	for l := range crashLanes {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", start, l, i)
				stop(accept(ctx, db, id, l))
				fmt.Println("+" + id)
			}
		}()
		go func() {
			owner := fmt.Sprintf("node/%d", l)
			for {
				tasks, err := db.Tasks().Claim(ctx, task.Quick, owner, time.Minute, 2)
				stop(err)
				for _, k := range tasks {
					stop(end(ctx, db, k, owner))
					fmt.Println("-" + k.VolumeID)
				}
			}
		}()
	}
	return <-failed
}

func accept(ctx context.Context, db *store.DB, id string, lane int) error {
	return db.Volumes().Tx(ctx, func(tx volume.Tx) error {
		if err := tx.PutVolume(ctx, crashVolume(id, volume.Creating)); err != nil {
			return err
		}
		_, err := tx.Enqueue(ctx, task.New{Kind: "volume.create", Lane: fmt.Sprint(lane), Queue: task.Quick, ClientID: 7, VolumeID: id})
		return err
	})
}

func end(ctx context.Context, db *store.DB, k task.Task, owner string) error {
	l := task.Lease{TaskID: k.ID, Owner: owner, Attempt: k.Attempt}
	return db.Volumes().Finish(ctx, l, task.Success, func(tx volume.Tx) error {
		v := crashVolume(k.VolumeID, volume.Detached)
		if err := tx.PutVolume(ctx, v); err != nil {
			return err
		}
		s, c := billing.Open(billing.Opening{ClientID: 7, VolumeID: v.ID, At: time.Now(), Price: billing.Price{Monthly: 1}})
		s, err := tx.PutService(ctx, s)
		c.ServiceID = s.ID
		return errors.Join(err, tx.AddCharges(ctx, c))
	})
}

func crashVolume(id string, s volume.State) volume.Volume {
	return volume.Volume{ID: id, ClientID: 7, FacilityCode: "TPA1", Type: volume.DataDisk, State: s, Bytes: 1, CreatedAt: time.Now()}
}

func TestKill(t *testing.T) {
	for range testneed.Rounds(3, 25) {
		crashRound(t)
	}
}

// crashRound kills two children in a row on one database: the second finds
// what the first left behind.
func crashRound(t *testing.T) {
	t.Helper()
	f := file{path: storetest.File(t)}
	db := f.Open(t, store.Options{})
	if _, err := db.VPS().PutFacility(t.Context(), vps.Facility{Code: "TPA1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Access().AddClient(t.Context(), access.Client{ID: 7}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	accepted, finished := map[string]bool{}, map[string]bool{}
	for range 2 {
		killOnce(t, f.path, 1+rand.IntN(150), accepted, finished)
		checkCrash(t, f, accepted, finished)
	}
	t.Logf("%d accepted, %d finished", len(accepted), len(finished))
}

// killOnce runs a child and kills it when it has said so many lines; it notes
// all that the child has said until it was dead.
func killOnce(t *testing.T, path string, lines int, accepted, finished map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := bufio.NewScanner(out)
	for n := 1; text.Scan(); n++ {
		switch line := text.Text(); line[0] {
		case '+':
			accepted[line[1:]] = true
		case '-':
			finished[line[1:]] = true
		}
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended by itself: %s %s", cmd.ProcessState, stderr.String())
	}
}

func checkCrash(t *testing.T, f file, accepted, finished map[string]bool) {
	t.Helper()
	for _, broken := range f.query(t, `SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'`) {
		t.Fatal(broken)
	}
	for _, broken := range f.query(t, `SELECT * FROM pragma_foreign_key_check`) {
		t.Fatal(broken)
	}
	// A task for each volume, in the state that matches; a service and a
	// charge for each that exists; one runnable task in each lane.
	for what, query := range map[string]string{
		"volume without its task": `SELECT v.id FROM volume v LEFT JOIN task t ON t.volume_id = v.id
			WHERE t.id IS NULL OR (t.state = 'done') <> (v.state = 'detached')`,
		"task without its volume": `SELECT t.id FROM task t LEFT JOIN volume v ON v.id = t.volume_id WHERE v.id IS NULL`,
		"wrong services": `SELECT v.id FROM volume v LEFT JOIN service s ON s.volume_id = v.id LEFT JOIN charge c ON c.service_id = s.id
			GROUP BY v.id, v.state HAVING count(c.id) <> (v.state = 'detached')`,
		"wrong events": `SELECT t.id FROM task t LEFT JOIN event e ON e.task_id = t.id
			GROUP BY t.id HAVING count(e.seq) <> 1 + (t.attempt > 0) + (t.state = 'done')`,
		"stuck lane": `SELECT lane FROM task WHERE state <> 'done' GROUP BY lane HAVING sum(state IN ('ready', 'running')) <> 1`,
		"out of order": `SELECT lane FROM task GROUP BY lane
			HAVING max(CASE WHEN state <> 'waiting' THEN seq END) > min(CASE WHEN state <> 'done' THEN seq END)`,
	} {
		if rows := f.query(t, query); len(rows) > 0 {
			t.Errorf("%s: %v", what, rows)
		}
	}
	state := map[string]string{}
	for _, row := range f.query(t, `SELECT volume_id, state FROM task`) {
		id, s, _ := strings.Cut(row, " ")
		state[id] = s
	}
	for id := range accepted {
		if state[id] == "" {
			t.Errorf("accepted and lost: %s", id)
		}
	}
	for id := range finished {
		if state[id] != "done" {
			t.Errorf("finished and %q: %s", state[id], id)
		}
	}
}

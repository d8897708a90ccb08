package iso_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"strconv"
	"testing"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/testneed"
	"github.com/drivebay/drivebay/internal/worldtest"
)

// A history takes a database of its own, so there are fewer than rapid would
// make; -rapid.checks still says how many.
func init() {
	if err := flag.Set("rapid.checks", strconv.Itoa(testneed.Rounds(10, 50))); err != nil {
		panic(err)
	}
}

var (
	ctx      = context.Background()
	mine     = access.Scope{Clients: []int64{worldtest.Client}}
	theirs   = access.Scope{Clients: []int64{worldtest.Other}}
	family   = access.Scope{Clients: []int64{worldtest.Client, worldtest.Child}}
	everyone = access.Scope{All: true}
)

// The image of every test that does not care which, and where it is from.
const url = "http://mirror.example/a.iso"

var image = worldtest.Image("DISC", true)

func ptr[T any](v T) *T { return &v }

// wanted is a request for the image at the URL.
func wanted(url string) iso.Create {
	return iso.Create{FacilityCode: "TPA1", Name: "disc", URL: url, Bootable: true}
}

// newWorld is a world whose source has the image.
func newWorld(t worldtest.TB, opt worldtest.Options) *worldtest.World {
	w := worldtest.New(t, opt)
	w.Source.Put(url, image)
	return w
}

// begun registers an ISO of the client.
func begun(t worldtest.TB, w *worldtest.World, client int64, c iso.Create) iso.ISO {
	t.Helper()
	i, err := w.ISOs.Create(ctx, client, c)
	if err != nil {
		t.Fatalf("create ISO: %v", err)
	}
	return i
}

func importOf(i iso.ISO) task.Task { return task.Task{ID: i.TaskID, Kind: iso.KindCreate} }

// ready imports the image for the client and waits for it.
func ready(t worldtest.TB, w *worldtest.World, client int64, facility string) iso.ISO {
	t.Helper()
	c := wanted(url)
	c.FacilityCode = facility
	i := begun(t, w, client, c)
	w.Succeeds(importOf(i))
	return read(t, w, i.ID)
}

func read(t worldtest.TB, w *worldtest.World, id string) iso.ISO {
	t.Helper()
	i, err := w.ISOs.Get(ctx, everyone, id, nil)
	if err != nil {
		t.Fatalf("read ISO: %v", err)
	}
	return i
}

func accepted(t worldtest.TB, k task.Task, err error) task.Task {
	t.Helper()
	if err != nil {
		t.Fatalf("refused: %v (%s)", err, fault.ReasonOf(err))
	}
	return k
}

// refused checks kind and reason of a refusal, and that nothing was enqueued.
func refused(t *testing.T, w *worldtest.World, want *fault.Error, request func() (task.Task, error)) {
	t.Helper()
	before := w.Count(`SELECT count(*) FROM task WHERE client_id IS NOT NULL`)
	_, err := request()
	if got, ok := fault.As(err); !ok || got.Kind != want.Kind || got.Reason != want.Reason {
		t.Fatalf("got %v (%s), want %s", err, fault.ReasonOf(err), want.Reason)
	}
	if after := w.Count(`SELECT count(*) FROM task WHERE client_id IS NOT NULL`); after != before {
		t.Fatalf("a refused request left %d tasks", after-before)
	}
}

// removed deletes an ISO and waits until it is gone.
func removed(t worldtest.TB, w *worldtest.World, id string) {
	t.Helper()
	k, err := w.ISOs.Delete(ctx, everyone, id, nil)
	w.Succeeds(accepted(t, k, err))
	if _, err := w.ISOs.Get(ctx, everyone, id, nil); fault.ReasonOf(err) != iso.ErrNotFound.Reason {
		t.Fatalf("a deleted ISO is still there: %v", err)
	}
}

// stored are the images on a facility's storage.
func stored(t worldtest.TB, w *worldtest.World, facility string) []backend.ISOView {
	t.Helper()
	all, err := w.Drivers[facility].InspectAll(ctx)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	return all.ISOs
}

// cut is the image with its last bytes missing.
func cut(image []byte, bytes int) []byte { return image[:len(image)-bytes] }

func html() []byte {
	return bytes.Repeat([]byte("<!DOCTYPE html><html><title>Sign in</title>\n"), 1000)
}

func wrongDigest(algorithm string) string {
	return fmt.Sprintf("%s:%s", algorithm, worldtest.Digest(algorithm, []byte("something else")))
}

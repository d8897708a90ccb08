package provider

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/drivebay/drivebay/client"
)

func TestNext(t *testing.T) {
	t.Parallel()
	on := func(device, size int64) client.Volume {
		v := client.Volume{ID: "v", SizeGiB: size}
		if device != 0 {
			v.DeviceID = &device
		}
		return v
	}
	for _, tt := range []struct {
		name string
		v    client.Volume
		w    wish
		want step
	}{
		{"as it should be", on(1, 50), wish{deviceID: 1, sizeGiB: 50}, nothing},
		{"any size will do", on(1, 50), wish{deviceID: 1, sizeGiB: 0}, nothing},
		{"detached and so wanted", on(0, 50), wish{deviceID: 0, sizeGiB: 0}, nothing},
		{"elsewhere and too small", on(2, 50), wish{deviceID: 1, sizeGiB: 100}, detach},
		{"to be detached", on(1, 50), wish{deviceID: 0, sizeGiB: 0}, detach},
		{"detached and too small", on(0, 50), wish{deviceID: 1, sizeGiB: 100}, attach},
		{"too small", on(1, 50), wish{deviceID: 1, sizeGiB: 100}, grow},
		{"too large", on(1, 200), wish{deviceID: 1, sizeGiB: 100}, nothing},
	} {
		if got := next(tt.v, tt.w); got != tt.want {
			t.Errorf("%s: got step %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestBring moves and grows a volume.
func TestBring(t *testing.T) {
	t.Parallel()
	s, c := play(t, map[string][]reply{
		"GET /vps/volume/v":           {volume("v", 2, 50), volume("v", 0, 50), volume("v", 1, 50), volume("v", 1, 100)},
		"GET /vps/1":                  {device(1, "TPA1", 16, 15)},
		"POST /vps/2/volume/v/detach": {{http.StatusCreated, task("t1", "v", "Success")}},
		"POST /vps/1/volume/v/attach": {{http.StatusCreated, task("t2", "v", "Success")}},
		"PUT /vps/volume/v":           {{http.StatusCreated, task("t3", "v", "Success")}},
	})
	v, err := c.bring(t.Context(), "v", wish{deviceID: 1, sizeGiB: 100})
	want := []string{"POST /vps/2/volume/v/detach", "POST /vps/1/volume/v/attach", "PUT /vps/volume/v"}
	if err != nil || v.SizeGiB != 100 || !slices.Equal(s.changes(), want) {
		t.Fatalf("got %+v, %v after %q", v, err, s.changes())
	}
}

// TestBringNowhere: what cannot be attached is not detached.
func TestBringNowhere(t *testing.T) {
	t.Parallel()
	for text, target := range map[string]reply{
		"stays in facility TPA1": device(1, "LAX3", 16, 0),
		"takes 2 volumes":        device(1, "TPA1", 2, 2),
		"device_not_found":       refusal(http.StatusNotFound, "device_not_found"),
	} {
		s, c := play(t, map[string][]reply{"GET /vps/volume/v": {volume("v", 2, 50)}, "GET /vps/1": {target}})
		_, err := c.bring(t.Context(), "v", wish{deviceID: 1, sizeGiB: 50})
		if err == nil || !strings.Contains(err.Error(), text) || len(s.changes()) > 0 {
			t.Errorf("want %q, got %v after %q", text, err, s.changes())
		}
	}
}

// TestOvertaken: a resize that was accepted before, and not seen then, is waited
// for rather than failed on.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	s, c := play(t, map[string][]reply{
		"GET /vps/volume/v":        {volume("v", 1, 50), volume("v", 1, 100)},
		"PUT /vps/volume/v":        {refusal(http.StatusBadRequest, "size_not_larger")},
		"GET /network/status":      {ok([]any{task("other", "w", "Pending"), task("mine", "v", "Pending"), task("old", "v", "Success")})},
		"GET /network/status/mine": {ok(task("mine", "v", "Pending")), ok(task("mine", "v", "Success"))},
	})
	if v, err := c.bring(t.Context(), "v", wish{deviceID: 1, sizeGiB: 100}); err != nil || v.SizeGiB != 100 || len(s.changes()) != 1 {
		t.Fatalf("got %+v, %v after %q", v, err, s.changes())
	}
}

// TestNotOvertaken: a refusal that nothing under way explains is an error, soon.
func TestNotOvertaken(t *testing.T) {
	t.Parallel()
	s, c := play(t, map[string][]reply{
		"GET /vps/volume/v":   {volume("v", 1, 50)},
		"PUT /vps/volume/v":   {refusal(http.StatusBadRequest, "size_not_larger")},
		"GET /network/status": {ok([]any{})},
	})
	_, err := c.bring(t.Context(), "v", wish{deviceID: 1, sizeGiB: 100})
	if reasonOf(err) != "size_not_larger" || len(s.changes()) != 2 {
		t.Fatalf("got %v after %q", err, s.changes())
	}
}

// TestNoEnd: a server that accepts everything and does nothing is given up on.
func TestNoEnd(t *testing.T) {
	t.Parallel()
	s, c := play(t, map[string][]reply{
		"GET /vps/volume/v":           {volume("v", 0, 50)},
		"POST /vps/1/volume/v/attach": {{http.StatusCreated, task("t1", "v", "Success")}},
	})
	if _, err := c.bring(t.Context(), "v", wish{deviceID: 1, sizeGiB: 50}); err == nil || len(s.changes()) != steps {
		t.Fatalf("got %v after %d changes", err, len(s.changes()))
	}
}

func TestRemoveVolume(t *testing.T) {
	t.Parallel()
	gone := refusal(http.StatusNotFound, "volume_not_found")
	deleted := reply{http.StatusCreated, task("t1", "v", "Success")}
	for _, tt := range []struct {
		name    string
		answers map[string][]reply
		reason  string // of the error; "" for none
		changes int
	}{
		{"there", map[string][]reply{"GET /vps/volume/v": {volume("v", 1, 50), gone}, "DELETE /vps/volume/v": {deleted}}, "", 1},
		{"gone", map[string][]reply{"GET /vps/volume/v": {gone}}, "", 0},
		{"gone meanwhile", map[string][]reply{"GET /vps/volume/v": {volume("v", 1, 50)}, "DELETE /vps/volume/v": {gone}}, "", 1},
		{"detached meanwhile", map[string][]reply{
			"GET /vps/volume/v": {volume("v", 1, 50), volume("v", 0, 50), gone}, "GET /network/status": {ok([]any{})},
			"DELETE /vps/volume/v": {refusal(http.StatusBadRequest, "wrong_device"), deleted},
		}, "", 2},
		{"being deleted by another", map[string][]reply{
			"GET /vps/volume/v": {volume("v", 1, 50), gone}, "GET /network/status": {ok([]any{task("t1", "v", "Pending")})},
			"GET /network/status/t1": {ok(task("t1", "v", "Success"))}, "DELETE /vps/volume/v": {refusal(http.StatusConflict, "volume_deleting")},
		}, "", 1},
		{"not deleted", map[string][]reply{
			"GET /vps/volume/v": {volume("v", 1, 50)}, "DELETE /vps/volume/v": {{http.StatusCreated, task("t1", "v", "Failed")}},
		}, "storage_full", 1},
	} {
		s, c := play(t, tt.answers)
		err := c.removeVolume(t.Context(), "v")
		if (err == nil) != (tt.reason == "") || reasonOf(err) != tt.reason || len(s.changes()) != tt.changes {
			t.Errorf("%s: got %v after %q", tt.name, err, s.changes())
		}
	}
}

// TestInsist: a create whose answers are all lost is asked for under one key
// until it is known what became of it.
func TestInsist(t *testing.T) {
	t.Parallel()
	lost := reply{}
	s, c := play(t, map[string][]reply{
		"POST /vps/volume": {lost, lost, lost, {http.StatusCreated, task("t1", "v", "Pending")}},
	})
	made, err := insist(t.Context(), func(opts ...client.CallOption) (client.Task, error) {
		return c.api.Volume.Create(t.Context(), client.VolumeCreate{DeviceID: 1, SizeGiB: 50}, opts...)
	})
	if err != nil || made.VolumeID() != "v" {
		t.Fatalf("got %+v, %v", made, err)
	}
	if len(s.keys) < 4 || len(slices.Compact(slices.Clone(s.keys))) != 1 {
		t.Fatalf("the keys were %q", s.keys)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := 0
	_, err = insist(ctx, func(...client.CallOption) (client.Task, error) {
		calls++
		return client.Task{}, &client.Error{Uncertain: true, IdempotencyKey: "k"}
	})
	if err == nil || calls != 1 {
		t.Fatalf("after the end of the context: %v, %d calls", err, calls)
	}
}

// TestMadeVolume is about servers whose tasks do not name the volume.
func TestMadeVolume(t *testing.T) {
	t.Parallel()
	at := func(id, created string, size int) map[string]any {
		return map[string]any{"volumeId": id, "type": "DATADISK", "size": size, "deviceId": 1, "createdAt": created}
	}
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	older, newer := at("old", "2026-01-01T00:00:00Z", 50), at("new", "2026-01-02T03:04:06Z", 50)
	for want, list := range map[string][]any{
		"new":               {older, newer, at("other", "2026-01-02T03:04:06Z", 100)},
		"new and too":       {newer, at("too", "2026-01-02T03:04:07Z", 50)},
		"has no new one of": {older},
	} {
		_, c := play(t, map[string][]reply{"GET /vps/volume": {ok(list)}})
		id, err := c.madeVolume(t.Context(), client.Task{ID: "t", Created: created}, client.VolumeCreate{DeviceID: 1, SizeGiB: 50})
		if id != want && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q, got %q, %v", want, id, err)
		}
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	refused := &client.Error{Op: "POST /vps/volume", Status: 400, Reason: "validation_failed", Message: "no", RequestID: "req-1", Fields: map[string]string{"size": "too odd", "clientId": "unknown"}}
	var diags diag.Diagnostics
	diagnose(&diags, "Not created", refused, "size")
	at, ok := diags[0].(diag.DiagnosticWithPath)
	if len(diags) != 1 || !ok || at.Path().String() != "size" || !strings.Contains(at.Detail(), "too odd") || !strings.Contains(at.Detail(), "req-1") {
		t.Errorf("got %v", diags)
	}
	diags = nil
	diagnose(&diags, "Not created", refused)
	if len(diags) != 1 || !strings.Contains(diags[0].Detail(), "validation_failed") {
		t.Errorf("got %v", diags)
	}
	diags = nil
	diagnose(&diags, "Not created", errors.Join(errors.New("waited"), context.DeadlineExceeded))
	if len(diags) != 1 || !strings.Contains(diags[0].Detail(), "The time of the block `timeouts` is over") {
		t.Errorf("got %v", diags)
	}
}

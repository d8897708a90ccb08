package client_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/drivebay/drivebay/client"
)

func point[T any](v T) *T { return &v }

// TestVolumeForms holds that a volume means the same in each form that servers
// of the API send.
func TestVolumeForms(t *testing.T) {
	t.Parallel()
	at := time.Date(2023, 7, 11, 17, 44, 8, 0, time.UTC)
	for name, tt := range map[string]struct {
		body string
		want client.Volume
	}{
		"ours":              {volumeJSON, client.Volume{ID: "v-1", Type: "DATADISK", SizeGiB: 50, SizeBytes: 50 << 30, DeviceID: point(int64(1001)), FacilityCode: "TPA1", CreatedAt: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), State: "attached", MonthlyPrice: point(5.0)}},
		"ours, in bytes":    {`{"volumeId":"v","size":53687091200,"sizeBytes":53687091200}`, client.Volume{ID: "v", SizeGiB: 50, SizeBytes: 50 << 30, State: "detached"}},
		"published":         {`{"volumeId":"v","type":"ROOT","size":26843545600,"deviceId":3,"createdAt":"2023-07-11T17:44:08+00:00","facilityCode":"LAX3"}`, client.Volume{ID: "v", Type: "ROOT", SizeGiB: 25, SizeBytes: 25 << 30, DeviceID: point(int64(3)), FacilityCode: "LAX3", CreatedAt: at, State: "attached"}},
		"published, in GiB": {`{"volumeId":"v","size":200,"deviceId":null,"createdAt":"2023-07-11T17:44:08"}`, client.Volume{ID: "v", SizeGiB: 200, SizeBytes: 200 << 30, CreatedAt: at, State: "detached"}},
		"largest in GiB":    {`{"volumeId":"v","size":1048576}`, client.Volume{ID: "v", SizeGiB: 1 << 20, SizeBytes: 1 << 50, State: "detached"}},
		"another offset":    {`{"volumeId":"v","createdAt":"2023-07-11T12:44:08-0500"}`, client.Volume{ID: "v", CreatedAt: at, State: "detached"}},
		"numbers as text":   {`{"volumeId":12,"size":"100","sizeBytes":1.073741824e11,"createdAt":1689097448}`, client.Volume{ID: "12", SizeGiB: 100, SizeBytes: 100 << 30, CreatedAt: at, State: "detached"}},
		"a time unknown":    {`{"volumeId":"v","createdAt":"yesterday"}`, client.Volume{ID: "v", State: "detached"}},
		"a time as object":  {`{"volumeId":"v","createdAt":{}}`, client.Volume{ID: "v", State: "detached"}},
	} {
		c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(200, tt.body), nil })
		if got, err := c.Volume.Get(t.Context(), "v"); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	if !(client.Volume{Type: "ROOT"}).Root() || (client.Volume{Type: "DATADISK"}).Root() {
		t.Error("Root is wrong")
	}
}

// TestTaskForms does the same for tasks.
func TestTaskForms(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body string
		want client.Task
		meta client.Meta
	}{
		"ours": {taskJSON, client.Task{ID: "t-1", ClientID: 7, DeviceID: point(int64(1001)), Result: client.TaskPending, MetaData: `{"volumeId":"v-1"}`,
			Created: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Updated: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}, client.Meta{VolumeID: "v-1"}},
		"published":         {`{"taskId":"t","clientId":7,"deviceId":3,"result":null,"metaData":"free text","taskCreated":{},"taskUpdated":null}`, client.Task{ID: "t", ClientID: 7, DeviceID: point(int64(3)), Result: client.TaskPending, MetaData: "free text"}, client.Meta{}},
		"metadata null":     {`{"taskId":"t","result":"Success","metaData":null}`, client.Task{ID: "t", Result: client.TaskSuccess}, client.Meta{}},
		"metadata object":   {`{"taskId":"t","result":"Failed","metaData":{"isoId":"i","error":5}}`, client.Task{ID: "t", Result: client.TaskFailed, MetaData: `{"isoId":"i","error":5}`}, client.Meta{ISOID: "i"}},
		"metadata of lists": {`{"taskId":"t","metaData":"[1]"}`, client.Task{ID: "t", Result: client.TaskPending, MetaData: "[1]"}, client.Meta{}},
	} {
		c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(200, tt.body), nil })
		got, err := c.Task.Get(t.Context(), "t")
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if m := got.Meta(); m != tt.meta || got.VolumeID() != m.VolumeID || got.ISOID() != m.ISOID {
			t.Errorf("%s: it tells %+v", name, m)
		}
		if (got.Err() != nil) != (got.Result == client.TaskFailed) || got.Ended() == (got.Result == client.TaskPending) {
			t.Errorf("%s: ended %v, error %v", name, got.Ended(), got.Err())
		}
	}
}

// TestOtherForms does the same for what is left.
func TestOtherForms(t *testing.T) {
	t.Parallel()
	var body string
	c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(200, body), nil })
	ctx := t.Context()

	body = `{"isoId":"i","bootable":"True","ready":"false","size":null,"status":"Queued","deviceIds":[1,2]}`
	if i, err := c.ISO.Get(ctx, "i", client.ISORef{}); err != nil || !reflect.DeepEqual(i, client.ISO{ID: "i", Bootable: true, Status: "Queued", DeviceIDs: []int64{1, 2}}) {
		t.Errorf("got %+v, %v", i, err)
	}
	body = `{"isoId":"i","bootable":"maybe"}`
	if _, err := c.ISO.Get(ctx, "i", client.ISORef{}); !errors.Is(err, client.ErrBadAnswer) {
		t.Errorf("got %v", err)
	}
	body = `{"deviceId":3,"isoId":null,"memory":4096.0,"nics":[{"ipAddress":"192.0.2.1","vlanId":null}]}`
	if v, err := c.VPS.Get(ctx, 3); err != nil || !reflect.DeepEqual(v, client.VPS{DeviceID: 3, MemoryMiB: 4096, Interfaces: []client.NetworkInterface{{IPAddress: "192.0.2.1"}}}) {
		t.Errorf("got %+v, %v", v, err)
	}
	body = `[{"eventId":5,"type":"VM.START","createdAt":"2023-07-11T17:44:08"}]`
	if e, err := c.VPS.Events(ctx, 3, 0); err != nil || !reflect.DeepEqual(e, []client.VPSEvent{{ID: "5", Type: "VM.START", CreatedAt: time.Date(2023, 7, 11, 17, 44, 8, 0, time.UTC)}}) {
		t.Errorf("got %+v, %v", e, err)
	}
	body = `{"serviceId":9,"created":1689097448,"endDate":null,"renewDate":0,"volumeId":null,"billedPricePerPeriod":5.5}`
	if s, err := c.Service.Get(ctx, 9); err != nil || !reflect.DeepEqual(s, client.Service{ID: 9, Created: time.Date(2023, 7, 11, 17, 44, 8, 0, time.UTC), NextPrice: 5.5}) {
		t.Errorf("got %+v, %v", s, err)
	}
	body = `{"volumeProducts":[{"size":50,"monthlyPrice":5}]}`
	if s, err := c.Volume.Sizes(ctx, ""); err != nil || !reflect.DeepEqual(s, []client.VolumeSize{{SizeGiB: 50, MonthlyPrice: 5}}) {
		t.Errorf("got %+v, %v", s, err)
	}
}

// TestMaskedAnswer holds that an answer cut down to some fields is taken.
func TestMaskedAnswer(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(*http.Request) (*http.Response, error) { return reply(200, `{"size":50}`), nil })
	if v, err := c.Volume.Get(t.Context(), "v", client.WithFields("size")); err != nil || !reflect.DeepEqual(v, client.Volume{SizeGiB: 50, SizeBytes: 50 << 30}) {
		t.Errorf("got %+v, %v", v, err)
	}
}

// FuzzAnswer lets a server answer anything: a call ends, with a result that has
// its id or an error of one bounded line.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{volumeJSON, taskJSON, errorJSON(409, "x"), "<html>", "", "null", "[]", `{"volumeId":"v","size":9e99}`, `{"errors":{"a":null},"message":1}`, `{"taskId":"t","result":{},"metaData":"\ud800"}`} {
		f.Add(200, "application/json", body, "Retry-After", "1")
		f.Add(429, "application/problem+json; charset=x", body, "X-RateLimit-Reset", "-1")
		f.Add(302, "text/html", body, "Location", "\x00")
	}
	f.Fuzz(func(t *testing.T, status int, kind, body, header, value string) {
		if status < 200 || status > 999 {
			return
		}
		c := newClient(t, func(*http.Request) (*http.Response, error) { return respond(status, kind, body, header, value), nil }, client.WithRetry(client.RetryPolicy{}))
		ctx := context.Background()
		v, err := c.Volume.Get(ctx, "v")
		if err == nil && v.ID == "" {
			t.Errorf("a volume without an id")
		}
		task, taskErr := c.Volume.Create(ctx, client.VolumeCreate{})
		if taskErr == nil {
			_ = task.Err()
			_ = task.Meta()
		}
		for _, err := range []error{err, taskErr} {
			var e *client.Error
			if err == nil {
				continue
			}
			if !errors.As(err, &e) {
				t.Fatalf("%T", err)
			}
			if len(e.Message) > 4000 || strings.ContainsAny(e.Error(), "\n\r\x1b") || !utf8.ValidString(e.Error()) {
				t.Errorf("the text is %q", e.Error())
			}
		}
	})
}

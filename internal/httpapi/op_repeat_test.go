package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/idempotency"
	"github.com/drivebay/drivebay/internal/task"
)

// TestEveryOperationRepeats sends every operation of the contract that changes
// something twice, with the answer stored and with the answer lost: the second
// says what the first said, and does nothing.
func TestEveryOperationRepeats(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"stored": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			r := &repeats{world: w, ops: operations(t), first: w.server, then: w.server, tried: map[string]bool{}}
			if !stored {
				r.first = w.serve(func(d *httpapi.Deps) { d.Idempotency = forgetful{d.Idempotency} })
				r.then = w.serve(func(d *httpapi.Deps) { d.Now = func() time.Time { return noon.Add(time.Minute) } })
			}
			r.play()
			for _, op := range slices.Sorted(maps.Keys(r.ops)) {
				if changes := r.ops[op].method != http.MethodGet; changes != r.tried[op] {
					t.Errorf("%s changes something: %v, was repeated: %v", op, changes, r.tried[op])
				}
			}
		})
	}
}

// forgetful loses every answer, as a server does that ends between the two
// transactions of a request.
type forgetful struct{ idempotency.Store }

// Settle is in idempotency.Store.
func (forgetful) Settle(context.Context, *idempotency.Request, string, idempotency.Answer) (idempotency.Answer, error) {
	return idempotency.Answer{}, errors.New("the server has ended")
}

// repeats sends each request once to the first server and then to the other.
type repeats struct {
	*world
	ops         map[string]operation
	first, then *httptest.Server
	tried       map[string]bool
}

// play makes a use of every operation.
func (r *repeats) play() {
	v := r.task("createVolume", "/vps/volume", aVolume).VolumeID
	r.task("resizeVolume", "/vps/volume/"+v, `{"size": 100, "deviceId": 1001}`)
	r.task("detachVolume", "/vps/1001/volume/"+v+"/detach", "")
	r.task("attachVolume", "/vps/1001/volume/"+v+"/attach", "")
	r.task("deleteVolume", "/vps/volume/"+v, `{"deviceId": 1001}`)

	i := r.task("createISO", "/vps/iso", (&golden{world: r.world}).form(r.images.URL+"/demo.iso", same)).ISOID
	r.task("attachISO", "/vps/1001/attachiso", `{"isoId": "`+i+`"}`)
	r.task("detachISO", "/vps/1001/detachiso", "")
	r.task("powerVPS", "/vps/1001/power?action=boot", `{"action": "cycle"}`)
	r.task("deleteISO", "/vps/iso/"+i+"?facilityCode=TPA1", "")

	r.twice("adminPutFacility", "/admin/facilities/AMS1", `{"title": "Amsterdam 1", "city": "Amsterdam", "country": "NL"}`)
	r.twice("adminPutPrice", "/admin/prices/TPA1/75", `{"monthlyPrice": 7.29}`)
	r.twice("adminDeletePrice", "/admin/prices/TPA1/75", "")
	r.twice("adminPutClientQuota", "/admin/clients/7/quota", `{"volumes": 100}`)
	r.twice("adminCreateClient", "/admin/clients", `{"name": "Late", "parentId": 7}`)
	r.must(r.drivers["LAX3"].EnsureVolume(r.t.Context(), backend.VolumeSpec{ID: "stray", Bytes: 1 << 30}))
	r.deps.Reconcile.Retention = 0
	r.task("adminReconcile", "/admin/reconcile", `{"repair": true, "graceSeconds": 0}`)
	r.task("adminDeleteQuarantine", "/admin/quarantine/1", "")
	r.task("adminCreateDevice", "/admin/devices", `{"clientId": 7, "facilityCode": "TPA1"}`)
	r.lab()
	r.twice("adminImportVPS", "/admin/vps/import", `{"facilityCode": "LAB1", "clientId": 7, "all": true}`)
	r.done(r.keys.operator, http.MethodPost, "/admin/devices", `{"clientId": 7, "facilityCode": "LAB1", "deviceId": 5000, "ref": "odd"}`)
	r.twice("adminDeleteDevice", "/admin/devices/5000", "")
	r.secret()
}

// task is twice for an operation whose task must succeed. It is repeated once
// more after that: the answer is that of the moment of acceptance.
func (r *repeats) task(op, path, body string) task.Task {
	r.t.Helper()
	a := r.twice(op, path, body)
	t := r.ended(taskOf(r.t, a))
	if t.State != task.Done {
		r.t.Fatalf("%s has failed: %s %s", op, t.Reason, t.Error)
	}
	r.again(op, path, body, a)
	return t
}

// twice sends a request and its repeat.
func (r *repeats) twice(op, path, body string) answer {
	r.t.Helper()
	a := r.once(op, path, body)
	r.again(op, path, body, a)
	return a
}

func (r *repeats) once(op, path, body string) answer {
	r.t.Helper()
	o := r.ops[op]
	a := r.ask(r.first, r.key1(o), o.method, path, body, idempotency.Header, op)
	if a.status != o.success {
		r.t.Fatalf("%s answers %d: %s", op, a.status, a.body)
	}
	r.tried[op] = true
	return a
}

func (r *repeats) again(op, path, body string, a answer) {
	r.t.Helper()
	o := r.ops[op]
	before := len(r.tasks())
	isReplay(r.t, op, a, r.ask(r.then, r.key1(o), o.method, path, body, idempotency.Header, op))
	if after := len(r.tasks()); after != before {
		r.t.Errorf("the repeat of %s has made %d tasks", op, after-before)
	}
}

// key1 is a key that may do it.
func (r *repeats) key1(o operation) string {
	if o.may == "admin" {
		return r.keys.operator
	}
	return r.keys.client
}

// secret makes an API key, which is not shown twice, and revokes it.
func (r *repeats) secret() {
	r.t.Helper()
	const path, body = "/admin/keys", `{"name": "CI", "clientId": 7, "permissions": ["read"]}`
	var said struct{ Key, KeyID string }
	r.must(json.Unmarshal(r.once("adminCreateKey", path, body).body, &said))
	a := r.ask(r.then, r.keys.operator, http.MethodPost, path, body, idempotency.Header, "adminCreateKey")
	if a.status != http.StatusConflict || reasonOf(r.t, a) != "idempotency_secret_withheld" || a.header.Get("Idempotent-Replayed") != "" {
		r.t.Errorf("the repeat of adminCreateKey answers %d: %s", a.status, a.body)
	}
	var keys []struct{ KeyID string }
	r.read(r.keys.operator, "/admin/keys", &keys)
	if len(keys) != 5 || keys[0].KeyID != said.KeyID {
		r.t.Errorf("there are %d keys, the newest %s, want 5 and %s", len(keys), keys[0].KeyID, said.KeyID)
	}
	k, err := r.db.Idempotency().Find(r.t.Context(), &idempotency.Request{Key: "adminCreateKey"})
	r.must(err)
	if k == nil || k.Answer != nil || k.Result != said.KeyID {
		r.t.Errorf("of the secret is kept: %+v", k)
	}
	r.twice("adminRevokeKey", fmt.Sprintf("/admin/keys/%s", said.KeyID), "")
}

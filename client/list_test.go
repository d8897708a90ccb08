package client_test

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/client"
)

// collect reads a list to its end or its error.
func collect[T, V any](list iter.Seq2[T, error], of func(T) V) (all []V, err error) {
	for v, err := range list {
		if err != nil {
			return all, err
		}
		all = append(all, of(v))
	}
	return all, nil
}

// TestAllFacilities holds that a list without a filter goes through all
// facilities, and stops where it is told to.
func TestAllFacilities(t *testing.T) {
	t.Parallel()
	var asked []string
	broken := ""
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		at := r.URL.Query().Get("facilityCode")
		asked = append(asked, r.URL.Path+" "+at)
		switch {
		case at == broken && at != "":
			return reply(403, errorJSON(403, "x")), nil
		case strings.HasSuffix(r.URL.Path, "/inventory/locations"):
			return reply(200, `[{"code":"A"},{"code":"B"},{"code":"C"}]`), nil
		case at == "B":
			return reply(200, `[]`), nil
		}
		return reply(200, fmt.Sprintf(`[{"volumeId":"%s1","isoId":"%[1]s1"},{"volumeId":"%[1]s2","isoId":"%[1]s2"}]`, at)), nil
	})
	volumes := func() iter.Seq2[client.Volume, error] { return c.Volume.All(t.Context(), client.VolumeListOptions{}) }
	got, err := collect(volumes(), func(v client.Volume) string { return v.ID })
	if want := []string{"A1", "A2", "C1", "C2"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	isos, err := collect(c.ISO.All(t.Context(), client.ISOListOptions{}), func(i client.ISO) string { return i.ID })
	if err != nil || !reflect.DeepEqual(isos, got) {
		t.Errorf("got %v, %v", isos, err)
	}
	asked = nil
	for v := range volumes() {
		if v.ID == "A2" {
			break
		}
	}
	if want := []string{"/api/v2/inventory/locations ", "/api/v2/vps/volume A"}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked %q", asked)
	}
	broken, asked = "B", nil
	if got, err := collect(volumes(), func(v client.Volume) string { return v.ID }); !errors.Is(err, client.ErrForbidden) || len(got) != 2 || len(asked) != 3 {
		t.Errorf("got %v, %v after %q", got, err, asked)
	}
	asked = nil
	if got, err := collect(c.Volume.All(t.Context(), client.VolumeListOptions{FacilityCode: "C"}), func(v client.Volume) string { return v.ID }); err != nil || len(got) != 2 || len(asked) != 1 {
		t.Errorf("got %v, %v after %q", got, err, asked)
	}
}

// TestPages holds that a list in pages is read to its end, upward and downward.
func TestPages(t *testing.T) {
	t.Parallel()
	const last = 2345
	stuck := false
	c := newClient(t, func(r *http.Request) (*http.Response, error) {
		q := r.URL.Query()
		limit, _ := strconv.Atoi(q.Get("limit"))
		from, step := 1, 1
		if strings.HasSuffix(r.URL.Path, "/charges") {
			if from, step = last, -1; q.Has("before") {
				n, _ := strconv.Atoi(q.Get("before"))
				from = n - 1
			}
		} else if after, err := strconv.Atoi(q.Get("after")); err == nil && !stuck {
			from = after + 1
		}
		var b strings.Builder
		for i := from; i >= 1 && i <= last && limit > 0; i += step {
			fmt.Fprintf(&b, `,{"clientId":%d,"deviceId":%[1]d,"chargeId":%[1]d,"findingId":%[1]d,"quarantineId":%[1]d}`, i)
			limit--
		}
		return reply(200, "["+strings.TrimPrefix(b.String(), ",")+"]"), nil
	})
	ctx := t.Context()
	for name, read := range map[string]func() ([]int64, error){
		"clients": func() ([]int64, error) {
			return collect(c.Admin.Account.All(ctx), func(v client.Account) int64 { return v.ClientID })
		},
		"devices": func() ([]int64, error) {
			return collect(c.Admin.Device.All(ctx, 0), func(v client.Device) int64 { return v.DeviceID })
		},
		"findings": func() ([]int64, error) {
			return collect(c.Admin.Doctor.All(ctx, client.FindingListOptions{}), func(v client.Finding) int64 { return v.FindingID })
		},
		"quarantine": func() ([]int64, error) {
			return collect(c.Admin.Quarantine.All(ctx, ""), func(v client.Quarantined) int64 { return v.QuarantineID })
		},
		"charges": func() ([]int64, error) {
			return collect(c.Admin.Charge.All(ctx, client.ChargeListOptions{}), func(v client.Charge) int64 { return last + 1 - v.ChargeID })
		},
	} {
		got, err := read()
		if err != nil || len(got) != last {
			t.Errorf("%s: %d of %d, %v", name, len(got), last, err)
			continue
		}
		for i, id := range got {
			if id != int64(i+1) {
				t.Errorf("%s: %d at %d", name, id, i)
				break
			}
		}
	}
	if got, err := collect(c.Admin.Charge.All(ctx, client.ChargeListOptions{Before: 1500}), func(v client.Charge) int64 { return v.ChargeID }); err != nil || len(got) != 1499 || got[0] != 1499 {
		t.Errorf("charges before 1500: %d, %v", len(got), err)
	}
	stuck = true
	if got, err := collect(c.Admin.Account.All(ctx), func(v client.Account) int64 { return v.ClientID }); !errors.Is(err, client.ErrBadAnswer) || len(got) != 2000 {
		t.Errorf("a list that does not get on: %d, %v", len(got), err)
	}
}

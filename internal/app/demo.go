package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/vps"
)

// The demo's world: two facilities, two clients, four devices. DESIGN.md calls
// it the start-up contract; scripts and tests rely on it.
var (
	demoFacilities = []vps.Facility{
		{Code: "TPA1", Title: "Tampa 1", City: "Tampa", State: "FL", Country: "US"},
		{Code: "LAX3", Title: "Los Angeles 3", City: "Los Angeles", State: "CA", Country: "US"},
	}
	demoClients = []access.Client{{ID: 7, Name: "Demo client"}, {ID: 8, Name: "Other demo client"}}
	demoDevices = []vps.NewDevice{
		{ID: 1001, ClientID: 7, FacilityCode: "TPA1", Hostname: "demo-1001"},
		{ID: 1002, ClientID: 7, FacilityCode: "TPA1", Hostname: "demo-1002"},
		{ID: 1003, ClientID: 7, FacilityCode: "LAX3", Hostname: "demo-1003"},
		{ID: 2001, ClientID: 8, FacilityCode: "TPA1", Hostname: "demo-2001"},
	}
)

// demoKeyName marks the keys that a new demo.json replaces.
const demoKeyName = "demo"

// Demo is what demo.json in the data folder tells scripts.
type Demo struct {
	URL       string  `json:"url"`
	PID       int     `json:"pid"`
	APIKey    string  `json:"apiKey"`
	AdminKey  string  `json:"adminKey"`
	ClientID  int64   `json:"clientId"`
	DeviceIDs []int64 `json:"deviceIds"`
	Other     struct {
		ClientID  int64   `json:"clientId"`
		APIKey    string  `json:"apiKey"`
		DeviceIDs []int64 `json:"deviceIds"`
	} `json:"other"`
}

// seedDemo makes the demo's world where it is missing and waits until its
// devices run.
func (s *Server) seedDemo(ctx context.Context) error {
	for _, f := range demoFacilities {
		if _, err := s.VPS.Store.Facility(ctx, f.Code); err == nil {
			continue
		}
		if _, err := s.VPS.PutFacility(ctx, f); err != nil {
			return fmt.Errorf("make demo facility: %w", err)
		}
	}
	for _, c := range demoClients {
		c.CreatedAt = time.Now()
		if _, err := s.Access.Client(ctx, c.ID); err == nil {
			continue
		}
		if _, err := s.db.Access().AddClient(ctx, c); err != nil {
			return fmt.Errorf("make demo client: %w", err)
		}
	}
	for _, d := range demoDevices {
		d.MaxVolumes = new(16) // as many as real instances take
		if _, err := s.VPS.CreateDevice(ctx, d); err != nil && !errors.Is(err, vps.ErrDeviceExists) {
			return fmt.Errorf("make demo device: %w", err)
		}
	}
	return s.awaitDevices(ctx)
}

// awaitDevices waits until the demo's devices run.
func (s *Server) awaitDevices(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for _, d := range demoDevices {
		for {
			have, err := s.VPS.Get(ctx, access.Scope{All: true}, d.ID)
			if err != nil {
				return fmt.Errorf("read demo device: %w", err)
			}
			if have.Status == vps.Running {
				break
			}
			if have.Status == vps.Failed {
				t, _ := s.Tasks.Newest(ctx, access.Scope{All: true}, d.ID)
				return fmt.Errorf("demo device %d could not be made: %s", d.ID, t.Error)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for demo device %d: %w", d.ID, ctx.Err())
			case <-tick.C:
			}
		}
	}
	return nil
}

func (s *Server) demoPath() string { return filepath.Join(s.cfg.DataDir, "demo.json") }

// writeDemo replaces demo.json. Keys of an earlier one are kept while they are
// valid; where the file is missing they are revoked and made anew.
func (s *Server) writeDemo(ctx context.Context) error {
	var d Demo
	if b, err := os.ReadFile(s.demoPath()); err == nil {
		_ = json.Unmarshal(b, &d) // a file that is not ours counts as missing
	}
	if !s.valid(ctx, d.APIKey, d.AdminKey, d.Other.APIKey) {
		if err := s.newDemoKeys(ctx, &d); err != nil {
			return fmt.Errorf("make demo keys: %w", err)
		}
	}
	d.URL, d.PID, d.ClientID, d.Other.ClientID = s.URL(), os.Getpid(), demoClients[0].ID, demoClients[1].ID
	d.DeviceIDs, d.Other.DeviceIDs = nil, nil
	for _, n := range demoDevices {
		if n.ClientID == d.ClientID {
			d.DeviceIDs = append(d.DeviceIDs, n.ID)
		} else {
			d.Other.DeviceIDs = append(d.Other.DeviceIDs, n.ID)
		}
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.demoPath(), append(b, '\n'))
}

func (s *Server) valid(ctx context.Context, tokens ...string) bool {
	for _, t := range tokens {
		if _, err := s.Access.Authenticate(ctx, t, netip.IPv6Loopback()); err != nil {
			return false
		}
	}
	return true
}

func (s *Server) newDemoKeys(ctx context.Context, d *Demo) (err error) {
	old, err := s.Access.Keys(ctx, nil, 1000)
	if err != nil {
		return err
	}
	for _, k := range old {
		if k.Name != demoKeyName || !k.RevokedAt.IsZero() {
			continue
		}
		if err := s.Access.RevokeKey(ctx, k.ID); err != nil {
			return err
		}
	}
	for _, n := range []struct {
		to     *string
		client int64
		may    []access.Permission
	}{
		{&d.APIKey, demoClients[0].ID, access.Everything},
		{&d.Other.APIKey, demoClients[1].ID, access.Everything},
		{&d.AdminKey, 0, []access.Permission{access.Admin}},
	} {
		if _, *n.to, err = s.Access.CreateKey(ctx, access.NewKey{ClientID: n.client, Name: demoKeyName, Permissions: n.may}); err != nil {
			return err
		}
	}
	return nil
}

// greet tells a person how to begin.
func (s *Server) greet(w io.Writer) error {
	if !s.cfg.Demo {
		_, err := fmt.Fprintf(w, "drivebay serves %s\n", s.URL())
		return err
	}
	b, err := os.ReadFile(s.demoPath())
	if err != nil {
		return err
	}
	var d Demo
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `drivebay demo
  URL      %[1]s
  API key  %[2]s
  devices  1001, 1002 (TPA1), 1003 (LAX3); all keys are in %[3]s

Try:
  curl -H 'X-API-KEY: %[2]s' '%[1]s/api/v2/vps/volume?deviceId=1001'
  curl -H 'X-API-KEY: %[2]s' -d '{"deviceId": 1001, "size": 50}' '%[1]s/api/v2/vps/volume'
  curl -H 'X-API-KEY: %[2]s' '%[1]s/api/v2/network/status/1001?wait=30s'
`, d.URL, d.APIKey, s.demoPath())
	return err
}

// kindRenew is the task that charges the months that have begun.
const kindRenew task.Kind = "billing.renew"

// renewal is the server's own work each minute.
type renewal struct {
	ledger interface {
		RenewAll(context.Context) (int, error)
	}
	access *access.Service
}

// Run charges what is due, and writes when keys were last used.
func (r renewal) Run(ctx context.Context, run *task.Run) error {
	r.access.FlushUsed(ctx)
	n, err := r.ledger.RenewAll(ctx)
	if n > 0 {
		run.Log.Info("renewed services", "services", n)
	}
	return err
}

// Fail is never called: periodic work does not fail, it comes back.
func (renewal) Fail(_ context.Context, _ *task.Run, f task.Failure) error {
	return errors.New(f.Text)
}

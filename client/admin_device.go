package client

import (
	"context"
	"iter"

	"github.com/drivebay/drivebay/api"
)

// Device is an instance as its operator sees it.
type Device = api.Device

// DeviceService is what an operator can do with devices.
type DeviceService struct{ c *Client }

// List returns devices by ascending id; those of one client where it is not 0.
func (s DeviceService) List(ctx context.Context, clientID int64, p Page, opts ...CallOption) ([]Device, error) {
	return do[[]Device](ctx, s.c, p.of(reading("admin", "devices").number("clientId", clientID)), opts)
}

// All iterates over all devices; those of one client where it is not 0. It ends
// after an error.
func (s DeviceService) All(ctx context.Context, clientID int64, opts ...CallOption) iter.Seq2[Device, error] {
	return pages("GET /admin/devices", func(last int64) ([]Device, error) { return s.List(ctx, clientID, Page{last, pageSize}, opts...) },
		func(d Device) int64 { return d.DeviceID })
}

// DeviceCreate is a device to give to a client. What is zero, or nil, is left
// to the server.
type DeviceCreate struct {
	ClientID     int64
	FacilityCode string
	DeviceID     int64
	Hostname     string
	VCPU         int
	MemoryMiB    int
	RootGiB      int
	MaxVolumes   *int // 0 is none at all
	// Ref is the guest, by name or UUID, where guests are made elsewhere.
	Ref string
}

// Create gives a client a device.
func (s DeviceService) Create(ctx context.Context, o DeviceCreate, opts ...CallOption) (Task, error) {
	body := api.DeviceCreate{
		ClientID: o.ClientID, FacilityCode: o.FacilityCode, DeviceID: optional(o.DeviceID), Hostname: optional(o.Hostname), VCPU: optional(o.VCPU),
		Memory: optional(o.MemoryMiB), RootGiB: optional(o.RootGiB), MaxVolumes: o.MaxVolumes, Ref: optional(o.Ref),
	}
	return do[Task](ctx, s.c, posting(body, "admin", "devices"), opts)
}

// Delete forgets a device whose guest was made elsewhere. The guest stays.
func (s DeviceService) Delete(ctx context.Context, id int64, opts ...CallOption) error {
	return run(ctx, s.c, deleting("admin", "devices", id), opts)
}

// GuestImport chooses guests to import: Domains, or All.
type GuestImport struct {
	FacilityCode string
	ClientID     int64    // whose the devices become
	Host         string   // only its guests; "" for all hosts
	Domains      []string // guests by name or UUID
	All          bool
	DryRun       bool // say only what would be done
}

// ImportedGuest is what became of a guest.
type ImportedGuest = api.ImportedGuest

// Import makes devices and volumes of guests and disks that are there already.
func (s DeviceService) Import(ctx context.Context, o GuestImport, opts ...CallOption) ([]ImportedGuest, error) {
	body := api.VPSImport{
		FacilityCode: o.FacilityCode, ClientID: o.ClientID, Host: optional(o.Host), All: optional(o.All), DryRun: optional(o.DryRun),
	}
	if o.Domains != nil {
		body.Domains = &o.Domains
	}
	return do[[]ImportedGuest](ctx, s.c, posting(body, "admin", "vps", "import"), opts)
}

// Finding is something that differs between the database, the storage, the
// guests and the charges.
type Finding = api.Finding

// FindingClass is a kind of finding.
type FindingClass = api.FindingClass

// DoctorService finds such differences, and repairs them.
type DoctorService struct{ c *Client }

// FindingListOptions chooses findings. The zero value is all.
type FindingListOptions struct {
	Class        FindingClass
	FacilityCode string
}

// Findings returns the open findings of the last look, by ascending id.
func (s DoctorService) Findings(ctx context.Context, o FindingListOptions, p Page, opts ...CallOption) ([]Finding, error) {
	r := reading("admin", "findings").text("class", string(o.Class)).text("facilityCode", o.FacilityCode)
	return do[[]Finding](ctx, s.c, p.of(r), opts)
}

// All iterates over all findings chosen. It ends after an error.
func (s DoctorService) All(ctx context.Context, o FindingListOptions, opts ...CallOption) iter.Seq2[Finding, error] {
	return pages("GET /admin/findings", func(last int64) ([]Finding, error) { return s.Findings(ctx, o, Page{last, pageSize}, opts...) },
		func(f Finding) int64 { return f.FindingID })
}

// Reconcile is a look for differences.
type Reconcile struct {
	Repair       bool   // repair what is safe
	FacilityCode string // "" for all
	// GraceSeconds is how long a difference must have been seen to count; nil
	// for the server's setting.
	GraceSeconds *int
}

// Reconcile looks for differences now. What remains is among the findings once
// the task has ended.
func (s DoctorService) Reconcile(ctx context.Context, o Reconcile, opts ...CallOption) (Task, error) {
	body := api.ReconcileRequest{Repair: o.Repair, FacilityCode: optional(o.FacilityCode), GraceSeconds: o.GraceSeconds}
	return do[Task](ctx, s.c, posting(body, "admin", "reconcile"), opts)
}

// Quarantined is a disk or image that belongs to nothing.
type Quarantined = api.Quarantined

// QuarantineService is what an operator can do with the quarantine.
type QuarantineService struct{ c *Client }

// List returns what is in quarantine in a facility, or anywhere where the code
// is "", by ascending id.
func (s QuarantineService) List(ctx context.Context, facilityCode string, p Page, opts ...CallOption) ([]Quarantined, error) {
	return do[[]Quarantined](ctx, s.c, p.of(reading("admin", "quarantine").text("facilityCode", facilityCode)), opts)
}

// All iterates over all that is in quarantine in a facility, or anywhere where
// the code is "". It ends after an error.
func (s QuarantineService) All(ctx context.Context, facilityCode string, opts ...CallOption) iter.Seq2[Quarantined, error] {
	return pages("GET /admin/quarantine", func(last int64) ([]Quarantined, error) {
		return s.List(ctx, facilityCode, Page{last, pageSize}, opts...)
	},
		func(q Quarantined) int64 { return q.QuarantineID })
}

// Delete deletes a disk or image from quarantine, for good.
func (s QuarantineService) Delete(ctx context.Context, id int64, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, deleting("admin", "quarantine", id), opts)
}

package client

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/drivebay/drivebay/api"
)

// VPS is an instance.
type VPS struct {
	DeviceID     int64  `json:"deviceId"`
	FacilityCode string `json:"facilityCode"`
	// Status is "Running" or "Stopped", or a step between; "Missing" while no
	// host has its guest.
	Status    string `json:"status"`
	VCPU      int64  `json:"vcpu"`
	MemoryMiB int64  `json:"memory"`
	// ISOID is the ISO in its CD drive; "" for none.
	ISOID string `json:"isoId"`
	// MaxVolumes and AttachedVolumes are how many volumes it can take and has,
	// ROOT not counted; nil where the server does not say.
	MaxVolumes      *int64             `json:"maxVolumes"`
	AttachedVolumes *int64             `json:"attachedVolumes"`
	Interfaces      []NetworkInterface `json:"nics"`
}

// NetworkInterface is one of an instance's. What is not known is "".
type NetworkInterface struct {
	ID          string `json:"nicId"`
	Name        string `json:"nicName"`
	NetworkID   string `json:"networkId"`
	NetworkName string `json:"networkName"`
	MACAddress  string `json:"macAddress"`
	IPAddress   string `json:"ipAddress"`
	Netmask     string `json:"netmask"`
	Gateway     string `json:"gateway"`
	IPV6Address string `json:"ipv6Address"`
	IPV6CIDR    string `json:"ipv6Cidr"`
	IPV6Gateway string `json:"ipv6Gateway"`
	VLANID      *int64 `json:"vlanId"`
	VLANTag     *int64 `json:"vlanTag"`
}

// UnmarshalJSON reads an instance in every published form.
func (v *VPS) UnmarshalJSON(b []byte) error {
	type plain VPS
	*v = VPS{}
	w := struct {
		*plain
		ISOID  looseText `json:"isoId"`
		VCPU   looseInt  `json:"vcpu"`
		Memory looseInt  `json:"memory"`
	}{plain: (*plain)(v)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	v.ISOID, v.VCPU, v.MemoryMiB = string(w.ISOID), int64(w.VCPU), int64(w.Memory)
	return nil
}

func (v VPS) known() bool { return v.DeviceID != 0 }

// VPSEvent is something that happened to an instance.
type VPSEvent struct {
	ID        string    `json:"eventId"`
	Type      string    `json:"type"`  // such as "VOLUME.ATTACH"
	Level     string    `json:"level"` // INFO, WARNING or ERROR
	State     string    `json:"state"` // Scheduled, Started or Completed
	CreatedAt time.Time `json:"createdAt"`
}

// UnmarshalJSON reads an event in every published form.
func (e *VPSEvent) UnmarshalJSON(b []byte) error {
	type plain VPSEvent
	*e = VPSEvent{}
	w := struct {
		*plain
		ID        looseText `json:"eventId"`
		CreatedAt looseTime `json:"createdAt"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	e.ID, e.CreatedAt = string(w.ID), w.CreatedAt.Time
	return nil
}

// PowerAction is a change of an instance's power.
type PowerAction string

// What can be done to an instance's power. What is so already stays so; reboot
// and cycle start an instance that is off.
const (
	PowerBoot     PowerAction = "boot"
	PowerShutdown PowerAction = "shutdown" // asks the system to shut down
	PowerReboot   PowerAction = "reboot"   // shutdown, then boot
	PowerCycle    PowerAction = "cycle"    // cuts the power, then boots
)

// VPSService is what can be done with instances.
type VPSService struct{ c *Client }

// VPSListOptions chooses instances, which must match all of it. The zero value
// is all.
type VPSListOptions struct {
	FacilityCode string
	ClientID     int64
	NetworkID    string
	HostID       string
	StorageID    string
}

// List returns instances by ascending device id.
func (s VPSService) List(ctx context.Context, o VPSListOptions, opts ...CallOption) ([]VPS, error) {
	r := reading("vps").slashed().text("facilityCode", o.FacilityCode).number("clientId", s.c.actFor(o.ClientID)).
		text("networkId", o.NetworkID).text("hostId", o.HostID).text("storageId", o.StorageID)
	return do[[]VPS](ctx, s.c, r, opts)
}

// All iterates over what List returns. It ends after an error.
func (s VPSService) All(ctx context.Context, o VPSListOptions, opts ...CallOption) iter.Seq2[VPS, error] {
	return each(func() ([]VPS, error) { return s.List(ctx, o, opts...) })
}

// Get reads an instance.
func (s VPSService) Get(ctx context.Context, deviceID int64, opts ...CallOption) (VPS, error) {
	return do[VPS](ctx, s.c, reading("vps", deviceID), opts)
}

// Events returns what happened to an instance, newest first, at most limit
// entries; 0 is the server's own limit (1000).
func (s VPSService) Events(ctx context.Context, deviceID int64, limit int, opts ...CallOption) ([]VPSEvent, error) {
	return do[[]VPSEvent](ctx, s.c, reading("vps", deviceID, "events").number("limit", int64(limit)), opts)
}

// Power changes an instance's power. Servers other than drivebay have no such
// operation.
func (s VPSService) Power(ctx context.Context, deviceID int64, action PowerAction, opts ...CallOption) (Task, error) {
	body := api.VPSPower{Action: optional(api.PowerAction(action))}
	return do[Task](ctx, s.c, posting(body, "vps", deviceID, "power"), opts)
}

// ISOAttach is an ISO to put into a drive.
type ISOAttach struct {
	ISOID string
	// BootOnce starts the instance from it once, for installers. The ISO must be
	// bootable. Servers other than drivebay ignore it.
	BootOnce bool
}

// AttachISO puts an ISO into an instance's drive, which must be empty.
func (s VPSService) AttachISO(ctx context.Context, deviceID int64, o ISOAttach, opts ...CallOption) (Task, error) {
	body := api.ISOAttach{ISOID: o.ISOID, BootOnce: optional(o.BootOnce)}
	return do[Task](ctx, s.c, posting(body, "vps", deviceID, "attachiso"), opts)
}

// ISODetach is how to empty a drive.
type ISODetach struct {
	// Force opens a tray that the guest locks. Servers other than drivebay
	// ignore it.
	Force bool
}

// DetachISO takes the ISO out of an instance's drive.
func (s VPSService) DetachISO(ctx context.Context, deviceID int64, o ISODetach, opts ...CallOption) (Task, error) {
	r := posting(nil, "vps", deviceID, "detachiso")
	if o.Force {
		r.body = api.ISODetach{Force: &o.Force}
	}
	return do[Task](ctx, s.c, r, opts)
}

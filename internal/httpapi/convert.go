package httpapi

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/billing"
	"github.com/drivebay/drivebay/internal/event"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/iso"
	"github.com/drivebay/drivebay/internal/node"
	"github.com/drivebay/drivebay/internal/task"
	"github.com/drivebay/drivebay/internal/volume"
	"github.com/drivebay/drivebay/internal/vps"
)

// each converts a list; the result is never nil.
func each[D, A any](list []D, convert func(D) A) []A {
	out := make([]A, len(list))
	for i, d := range list {
		out[i] = convert(d)
	}
	return out
}

// orNull is nil for the zero value of T, which is how the domain says "none".
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// orZero is the zero value where a request left something out.
func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// inUTC is how times are shown: UTC, to the microsecond that every database
// keeps, so that an answer made before a time was stored says the same as later
// ones.
func inUTC(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// inUTCOrNull is nil for the zero time.
func inUTCOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = inUTC(t)
	return &t
}

func toTask(t task.Task) api.Task {
	message := t.Message
	if t.State == task.Failed {
		message = t.Error
	}
	return api.Task{
		TaskID:      t.ID,
		ClientID:    t.ClientID,
		DeviceID:    orNull(t.DeviceID),
		Result:      api.TaskResult(t.State.Result()),
		MetaData:    metaData(t),
		TaskCreated: inUTC(t.CreatedAt),
		TaskUpdated: inUTC(t.UpdatedAt),
		Progress:    t.Progress,
		Message:     message,
	}
}

// metaData is what the request asked for, as a JSON object in a string. A failed
// task has its reason there too, because the published shape has no other place
// for it.
func metaData(t task.Task) string {
	args := bytes.TrimSpace(t.Args)
	if t.State != task.Failed && len(args) > 0 {
		return string(args)
	}
	all := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber() // ids and sizes stay as they are written
	if err := d.Decode(&all); err != nil || all == nil {
		all = map[string]any{}
	}
	if t.State == task.Failed {
		all["error"], all["errorCode"] = t.Error, string(t.Reason)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return "{}" // what was decoded from JSON can always be encoded again
	}
	return string(b)
}

func accepted(t task.Task) api.TaskAcceptedJSONResponse {
	return api.TaskAcceptedJSONResponse(toTask(t))
}

// toVolume shows the size in GiB, or in bytes where the server is set so.
func toVolume(v volume.Volume, inBytes bool) api.Volume {
	out := api.Volume{
		VolumeID:     v.ID,
		Type:         api.VolumeType(v.Type),
		Size:         shownSize(v, inBytes),
		SizeBytes:    v.Bytes,
		DeviceID:     orNull(v.DeviceID),
		FacilityCode: v.FacilityCode,
		CreatedAt:    inUTC(v.CreatedAt),
		State:        api.VolumeState(v.State),
	}
	if v.Type != volume.Root {
		monthly := v.Monthly.Units()
		out.MonthlyPrice = &monthly
	}
	return out
}

func shownSize(v volume.Volume, inBytes bool) int64 {
	if inBytes {
		return v.Bytes
	}
	return int64(v.SizeGiB())
}

func toProducts(prices []billing.Price) api.VolumeProducts {
	return api.VolumeProducts{VolumeProducts: each(prices, func(p billing.Price) api.VolumeProduct {
		return api.VolumeProduct{Size: p.SizeGiB, MonthlyPrice: p.Monthly.Units()}
	})}
}

func toISO(i iso.ISO) api.ISO {
	out := api.ISO{
		ISOID:        i.ID,
		Name:         i.Name,
		Description:  i.Description,
		URL:          shownURL(i.URL),
		Bootable:     i.Bootable,
		Ready:        i.Ready(),
		Status:       i.Status(),
		Size:         orNull(i.Size),
		FacilityCode: i.FacilityCode,
		DeviceIds:    append([]int64{}, i.DeviceIDs...),
		Reason:       orNull(string(i.Reason)),
		TaskID:       orNull(i.TaskID),
		CreatedAt:    inUTC(i.CreatedAt),
	}
	if i.SHA256 != "" { // the image has been inspected
		out.SHA256, out.Label, out.BIOS, out.UEFI = &i.SHA256, &i.Label, &i.BIOS, &i.UEFI
	}
	if i.State == iso.Uploading {
		out.UploadURL, out.UploadOffset = new(uploadPath(i.ID)), &i.Done
	}
	return out
}

// shownURL is the address as it was given where nothing in it can be a secret,
// and redacted where it has a user, a query or a fragment: a key that may only
// read ISOs must not learn what opens the place they came from.
func shownURL(raw string) string {
	u, err := url.Parse(raw)
	if err == nil && u.User == nil && u.RawQuery == "" && u.Fragment == "" && u.Opaque == "" {
		return raw
	}
	return fetch.Redact(raw)
}

func toVPS(d vps.Device) api.VPS {
	return api.VPS{
		DeviceID:        d.ID,
		FacilityCode:    d.FacilityCode,
		Status:          string(d.Status),
		VCPU:            d.VCPU,
		Memory:          d.MemoryMB,
		ISOID:           orNull(d.ISOID),
		SSHKeyIds:       []int64{},
		Nics:            []api.VPSNetworkInterface{},
		MaxVolumes:      d.MaxVolumes,
		AttachedVolumes: d.Volumes,
	}
}

func toDevice(d vps.Device) api.Device {
	return api.Device{
		DeviceID:        d.ID,
		ClientID:        d.ClientID,
		FacilityCode:    d.FacilityCode,
		Hostname:        orNull(d.Hostname),
		Status:          string(d.Status),
		VCPU:            d.VCPU,
		Memory:          d.MemoryMB,
		MaxVolumes:      d.MaxVolumes,
		AttachedVolumes: d.Volumes,
		CreatedAt:       inUTC(d.CreatedAt),
	}
}

func toEvent(e event.Event) api.VPSEvent {
	return api.VPSEvent{
		EventID:   e.ID,
		Type:      e.Type,
		Level:     api.VPSEventLevel(e.Level),
		State:     api.VPSEventState(e.State),
		CreatedAt: inUTC(e.At),
	}
}

// toLocation calls every facility a core one: the published field tells them
// from edge sites, of which there are none here.
func toLocation(f vps.Facility) api.Location {
	return api.Location{
		ID:                f.ID,
		Code:              f.Code,
		Title:             f.Title,
		Core:              true,
		Location:          api.CityStateCountry{City: f.City, State: f.State, Country: f.Country},
		LocationOptionIds: []int64{},
	}
}

// The one type of service there is.
const (
	serviceTypeCode = "vps_volume"
	serviceTypeName = "VPS Volume"
)

// toService shows a service; deviceID is where its volume is attached now, 0
// for nowhere. The price is the same for the running month and the next, since
// a resize changes both at once.
func toService(s billing.Service, facilityName string, deviceID int64) api.Service {
	price := s.Monthly.Units()
	out := api.Service{
		ServiceID:            s.ID,
		Created:              s.StartedAt.Unix(),
		BilledPrice:          price,
		BilledPricePerPeriod: price,
		ServiceCost:          price,
		LastRenew:            s.PeriodStart.Unix(),
		Quantity:             1,
		Status:               string(s.Status),
		Period:               "monthly",
		StartDate:            s.StartedAt.Unix(),
		ServiceOptions:       []api.ServiceOption{},
		ServiceDevices:       []map[string]any{},
		ChildServices:        []map[string]any{},
		ProductID:            orNull(int64(s.ProductID)),
		ProductName:          serviceTypeName + " " + strconv.Itoa(s.SizeGiB) + " GiB",
		ServiceType:          serviceTypeName,
		AutoBill:             true,
		FacilityName:         facilityName,
		TypeCode:             serviceTypeCode,
		VolumeID:             orNull(s.VolumeID),
	}
	if s.Status == billing.Active {
		renew := s.PeriodEnd.Unix()
		out.RenewDate = &renew
	}
	if s.CancelledAt != nil {
		end := s.CancelledAt.Unix()
		out.EndDate = &end
	}
	if deviceID != 0 {
		out.ServiceDevices = append(out.ServiceDevices, map[string]any{"deviceId": deviceID})
	}
	return out
}

func toCharge(c billing.Charge) api.Charge {
	return api.Charge{
		ChargeID:    c.ID,
		ClientID:    c.ClientID,
		ServiceID:   c.ServiceID,
		VolumeID:    c.VolumeID,
		Kind:        string(c.Kind),
		Amount:      c.Amount.Units(),
		PeriodStart: inUTC(c.From),
		PeriodEnd:   inUTC(c.To),
		CreatedAt:   inUTC(c.At),
	}
}

func toPrice(p billing.Price) api.Price {
	return api.Price{FacilityCode: p.FacilityCode, Size: p.SizeGiB, MonthlyPrice: p.Monthly.Units()}
}

func toClient(c access.Client) api.ClientAccount {
	return api.ClientAccount{ClientID: c.ID, Name: c.Name, ParentID: orNull(c.ParentID), CreatedAt: inUTC(c.CreatedAt)}
}

func toNode(n node.Node) api.Node {
	return api.Node{
		Name: n.Name, Role: api.NodeRole(n.Role), Facilities: append([]string{}, n.Facilities...), Version: n.Version, URL: orNull(n.URL),
		Alive: n.Alive, Tasks: n.Tasks, StartedAt: inUTC(n.StartedAt), SeenAt: inUTC(n.SeenAt),
	}
}

func toKey(k access.Key) api.APIKey {
	allowed := make([]string, len(k.Allowed))
	for i, p := range k.Allowed {
		allowed[i] = p.String()
		if p.IsSingleIP() {
			allowed[i] = p.Addr().String()
		}
	}
	return api.APIKey{
		KeyID:            strconv.FormatInt(k.ID, 10),
		ClientID:         orNull(k.ClientID),
		Name:             k.Name,
		Prefix:           k.Prefix,
		Permissions:      each(k.Permissions, func(p access.Permission) api.Permission { return api.Permission(p) }),
		AllowedAddresses: allowed,
		CreatedAt:        inUTC(k.CreatedAt),
		ExpiresAt:        inUTCOrNull(k.ExpiresAt),
		LastUsedAt:       inUTCOrNull(k.LastUsedAt),
		RevokedAt:        inUTCOrNull(k.RevokedAt),
	}
}

// toNewKey is toKey with the token, which is shown this once.
func toNewKey(k access.Key, token string) api.NewAPIKey {
	s := toKey(k)
	return api.NewAPIKey{
		Key: token, KeyID: s.KeyID, ClientID: s.ClientID, Name: s.Name, Prefix: s.Prefix,
		Permissions: s.Permissions, AllowedAddresses: s.AllowedAddresses, CreatedAt: s.CreatedAt,
		ExpiresAt: s.ExpiresAt, LastUsedAt: s.LastUsedAt, RevokedAt: s.RevokedAt,
	}
}

func toQuota(q access.Quota) api.Quota {
	return api.Quota{Volumes: q.Volumes, Gib: q.GiB, Isos: q.ISOs, ISOBytes: q.ISOBytes}
}

func toUsage(u access.Usage) api.Usage {
	return api.Usage{Volumes: u.Volumes, Gib: u.GiB, Isos: u.ISOs, ISOBytes: u.ISOBytes}
}

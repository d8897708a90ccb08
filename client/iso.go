package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/drivebay/drivebay/api"
)

// ISO is an image for CD drives.
type ISO struct {
	ID           string `json:"isoId"`
	FacilityCode string `json:"facilityCode"`
	Name         string `json:"name"`
	Description  string `json:"description"`
	URL          string `json:"url"`
	Bootable     bool   `json:"bootable"`
	// Ready is true once it can be attached.
	Ready bool `json:"ready"`
	// Status is "Queued", "N% Downloaded", "Verifying", "Ready", else why the
	// import failed.
	Status string `json:"status"`
	// Reason is a stable code for why the import failed; "" unless it did.
	Reason string `json:"reason"`
	// SizeBytes is 0 until it is known.
	SizeBytes int64 `json:"size"`
	// DeviceIDs are the devices that have it in their drive.
	DeviceIDs []int64   `json:"deviceIds"`
	CreatedAt time.Time `json:"createdAt"`
	// TaskID is the task that imports it; "" where the server does not say.
	TaskID string `json:"taskId"`
	// SHA256 and Label are "" until they are known.
	SHA256 string `json:"sha256"`
	Label  string `json:"label"`
	// BIOS and UEFI tell whether it boots there; nil until it is known.
	BIOS *bool `json:"bios"`
	UEFI *bool `json:"uefi"`
}

// UnmarshalJSON reads an ISO in every published form.
func (i *ISO) UnmarshalJSON(b []byte) error {
	type plain ISO
	*i = ISO{}
	w := struct {
		*plain
		ID        looseText `json:"isoId"`
		Bootable  looseBool `json:"bootable"`
		Ready     looseBool `json:"ready"`
		Size      looseInt  `json:"size"`
		CreatedAt looseTime `json:"createdAt"`
	}{plain: (*plain)(i)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	i.ID, i.Bootable, i.Ready, i.SizeBytes, i.CreatedAt = string(w.ID), bool(w.Bootable), bool(w.Ready), int64(w.Size), w.CreatedAt.Time
	return nil
}

func (i ISO) known() bool { return i.ID != "" }

// ISOService is what can be done with ISOs.
type ISOService struct{ c *Client }

// ISOListOptions chooses ISOs.
type ISOListOptions struct {
	FacilityCode string
	ClientID     int64
}

// List returns the ISOs of a facility, which must be given, newest first.
func (s ISOService) List(ctx context.Context, o ISOListOptions, opts ...CallOption) ([]ISO, error) {
	r := reading("vps", "iso").text("facilityCode", o.FacilityCode).number("clientId", s.c.actFor(o.ClientID))
	return do[[]ISO](ctx, s.c, r, opts)
}

// All iterates over what List returns; without a facility, over the ISOs of all
// facilities, one after the other. It ends after an error.
func (s ISOService) All(ctx context.Context, o ISOListOptions, opts ...CallOption) iter.Seq2[ISO, error] {
	if o.FacilityCode != "" {
		return each(func() ([]ISO, error) { return s.List(ctx, o, opts...) })
	}
	return everywhere(ctx, s.c, func(facility string) ([]ISO, error) {
		o := o
		o.FacilityCode = facility
		return s.List(ctx, o, opts...)
	})
}

// ISORef says more of the ISO that is meant. The zero value is enough on a
// drivebay server; another facility than the ISO's own is ErrNotFound.
type ISORef struct {
	FacilityCode string
	ClientID     int64
}

func (s ISOService) at(r *call, ref ISORef) *call {
	return r.text("facilityCode", ref.FacilityCode).number("clientId", s.c.actFor(ref.ClientID))
}

// Get reads an ISO.
func (s ISOService) Get(ctx context.Context, id string, ref ISORef, opts ...CallOption) (ISO, error) {
	return do[ISO](ctx, s.c, s.at(reading("vps", "iso", id), ref), opts)
}

// ISOCreate is an image to import.
type ISOCreate struct {
	FacilityCode string
	Name         string
	Description  string
	URL          string // http or https
	// Bootable says that it must be bootable; its import fails if it is not.
	Bootable bool
	// Checksum is the digest it must have, such as "sha256:" and 64 hexadecimal
	// digits; "" for any.
	Checksum string
	ClientID int64
}

// Create begins to import an image. See [ISOService.Wait].
func (s ISOService) Create(ctx context.Context, o ISOCreate, opts ...CallOption) (ISO, error) {
	body := api.ISOCreate{
		FacilityCode: o.FacilityCode, Name: o.Name, Description: o.Description, URL: o.URL, Bootable: o.Bootable,
		Checksum: optional(o.Checksum), ClientID: optional(s.c.actFor(o.ClientID)),
	}
	return do[ISO](ctx, s.c, posting(body, "vps", "iso"), opts)
}

// Delete deletes an ISO, and stops its import if that still runs.
func (s ISOService) Delete(ctx context.Context, id string, ref ISORef, opts ...CallOption) (Task, error) {
	return do[Task](ctx, s.c, s.at(deleting("vps", "iso", id), ref), opts)
}

// Wait awaits that i is ready, until ctx ends. onProgress, if not nil, is called
// with i and then with each state that differs from the one before, the last one
// included.
//
// The ISO as it was last seen is returned in any case. The error is a
// [*TaskError] if its import failed, ErrNotFound if it is gone, and otherwise
// what kept us from seeing the end; the import goes on then. A server that does
// not say that an import failed is waited for until ctx ends.
func (s ISOService) Wait(ctx context.Context, i ISO, onProgress func(ISO), opts ...CallOption) (ISO, error) {
	tell := func(ISO) {}
	if onProgress != nil {
		tell = onProgress
	}
	tell(i)
	w := waiter{c: s.c, opts: opts, wait: max(time.Second, min(s.c.poll, longWait))}
	taskID := i.TaskID
	for !i.Ready && i.Reason == "" {
		t, err := w.importing(ctx, taskID)
		if err != nil {
			return i, err
		}
		got, err := look[ISO](ctx, &w, func() *call { return s.at(reading("vps", "iso", i.ID), ISORef{FacilityCode: i.FacilityCode}) })
		if err != nil {
			return i, err
		}
		if got.Status != i.Status || got.Ready != i.Ready || got.SizeBytes != i.SizeBytes {
			tell(got)
		}
		i = got
		if t.Ended() && !i.Ready && i.Reason == "" {
			if t.Err() != nil {
				return i, t.Err()
			}
			taskID = "" // it says no more than we know
		}
	}
	if !i.Ready {
		return i, &TaskError{Task: Task{ID: i.TaskID, Result: TaskFailed}, Reason: oneLine(i.Reason), Message: oneLine(i.Status)}
	}
	return i, nil
}

// importing lets some time pass, but not beyond the end of the task id where
// there is one.
func (w *waiter) importing(ctx context.Context, id string) (Task, error) {
	var t Task
	w.quick = true
	if id != "" {
		var err error
		if t, err = w.task(ctx, id); errors.Is(err, ErrNotFound) {
			return Task{Result: TaskSuccess}, nil // forgotten: the ISO itself has to tell
		} else if err != nil || t.Ended() {
			return t, err
		}
	}
	return t, w.rest(ctx, reading("network", "status", id))
}

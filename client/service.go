package client

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/drivebay/drivebay/api"
)

// Service is what is billed, such as a volume.
type Service struct {
	ID int64 `json:"serviceId"`
	// Status is "active", "cancelled" or another one of [ServiceListOptions].
	Status       string `json:"status"`
	Type         string `json:"serviceType"`
	TypeCode     string `json:"typeCode"`
	ProductName  string `json:"productName"`
	FacilityName string `json:"facilityName"`
	Period       string `json:"period"` // always "monthly" on a drivebay server
	// VolumeID is the volume it is for, which may be gone; "" where it is for
	// something else, or the server does not say.
	VolumeID string `json:"volumeId"`
	// BilledPrice is the price of the running period, NextPrice that of each
	// from the next renewal on.
	BilledPrice float64 `json:"billedPrice"`
	NextPrice   float64 `json:"billedPricePerPeriod"`
	// Times are zero where there are none: EndDate while it runs, RenewDate once
	// it is cancelled.
	Created   time.Time `json:"created"`
	StartDate time.Time `json:"startDate"`
	LastRenew time.Time `json:"lastRenew"`
	RenewDate time.Time `json:"renewDate"`
	EndDate   time.Time `json:"endDate"`
}

// UnmarshalJSON reads a service, whose times are seconds since 1970.
func (v *Service) UnmarshalJSON(b []byte) error {
	type plain Service
	*v = Service{}
	w := struct {
		*plain
		VolumeID  looseText `json:"volumeId"`
		Created   looseTime `json:"created"`
		StartDate looseTime `json:"startDate"`
		LastRenew looseTime `json:"lastRenew"`
		RenewDate looseTime `json:"renewDate"`
		EndDate   looseTime `json:"endDate"`
	}{plain: (*plain)(v)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	v.VolumeID, v.Created, v.StartDate = string(w.VolumeID), w.Created.Time, w.StartDate.Time
	v.LastRenew, v.RenewDate, v.EndDate = w.LastRenew.Time, w.RenewDate.Time, w.EndDate.Time
	return nil
}

func (v Service) known() bool { return v.ID != 0 }

// ServiceType is a kind of service.
type ServiceType = api.ServiceType

// ServiceService reads what is billed. It needs a key with the permission
// billing.
type ServiceService struct{ c *Client }

// ServiceListOptions chooses services. The zero value is all.
type ServiceListOptions struct {
	// Status is one of all, active, deactivated, pending, suspended and cancelled.
	Status   string
	TypeCode string // see Types
	OrderID  int64
}

// List returns services, newest first. Cancelled ones stay listed.
func (s ServiceService) List(ctx context.Context, o ServiceListOptions, opts ...CallOption) ([]Service, error) {
	status := o.Status
	if status == "" {
		status = "all" // the published API requires it
	}
	r := reading("service").slashed().text("status", status).text("type_code", o.TypeCode).number("orderId", o.OrderID)
	list, err := do[[]Service](ctx, s.c, r, opts)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound && e.Reason == "" {
		return []Service{}, nil // how the published API says that there are none
	}
	return list, err
}

// All iterates over what List returns. It ends after an error.
func (s ServiceService) All(ctx context.Context, o ServiceListOptions, opts ...CallOption) iter.Seq2[Service, error] {
	return each(func() ([]Service, error) { return s.List(ctx, o, opts...) })
}

// Get reads a service.
func (s ServiceService) Get(ctx context.Context, id int64, opts ...CallOption) (Service, error) {
	return do[Service](ctx, s.c, reading("service", id), opts)
}

// Types returns the types of services.
func (s ServiceService) Types(ctx context.Context, opts ...CallOption) ([]ServiceType, error) {
	return do[[]ServiceType](ctx, s.c, reading("service", "types"), opts)
}

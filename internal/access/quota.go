package access

import (
	"context"

	"github.com/drivebay/drivebay/internal/fault"
)

// Quota is what a client may have at most, children not included: an object
// counts for the client that owns it. nil is no bound.
type Quota struct {
	Volumes  *int64 // data volumes
	GiB      *int64 // the sum of their sizes
	ISOs     *int64
	ISOBytes *int64
}

// Usage is what a client has, or has asked for: what is still to come counts
// from the request that was accepted, and what is to go until it is gone, since
// either may fail.
type Usage struct {
	Volumes  int64 // with those being created; a ROOT volume is none
	GiB      int64 // with the sizes that accepted resizes lead to
	ISOs     int64 // failed ones too: they stay until they are deleted
	ISOBytes int64 // announced or received, whichever is more; none of a failed import
}

// ErrQuota: the request asks for more than the client may have.
var ErrQuota = fault.New(fault.Conflict, "quota_exceeded", "The client's quota is used up")

// Unlimited reports whether q bounds nothing.
func (q Quota) Unlimited() bool {
	return q.Volumes == nil && q.GiB == nil && q.ISOs == nil && q.ISOBytes == nil
}

// Check reports whether a client with used may have more besides. Where nothing
// more is asked for, it does not matter that the quota has been lowered below
// what is used. ErrQuota, with the numbers.
func (q Quota) Check(used, more Usage) error {
	for _, c := range []struct {
		limit      *int64
		used, more int64
		what       string
	}{
		{q.Volumes, used.Volumes, more.Volumes, "volumes"},
		{q.GiB, used.GiB, more.GiB, "GiB of volumes"},
		{q.ISOs, used.ISOs, more.ISOs, "ISOs"},
		{q.ISOBytes, used.ISOBytes, more.ISOBytes, "bytes of ISOs"},
	} {
		// Not by their sum, which could be more than fits.
		if c.limit != nil && c.more > 0 && c.more > *c.limit-c.used {
			return ErrQuota.Textf("The client's quota is %d %s: %d are used, and %d more were asked for", *c.limit, c.what, c.used, c.more)
		}
	}
	return nil
}

// QuotaTx is what Reserve reads in the transaction that accepts a request.
type QuotaTx interface {
	// Quota returns a client's quota and, if it has one, lets no other
	// transaction read it by this method until this one has ended: two
	// requests at once must not both take what is left. Clients without a
	// quota do not wait for each other.
	Quota(ctx context.Context, clientID int64) (Quota, error)
	// Used counts what the client has, as this transaction sees it.
	Used(ctx context.Context, clientID int64) (Usage, error)
}

// Reserve reports whether the client may have more than it has. Call it before
// what is asked for is written in the same transaction, which then counts.
// ErrQuota.
func Reserve(ctx context.Context, tx QuotaTx, clientID int64, more Usage) error {
	q, err := tx.Quota(ctx, clientID)
	if err != nil || q.Unlimited() {
		return err
	}
	used, err := tx.Used(ctx, clientID)
	if err != nil {
		return err
	}
	return q.Check(used, more)
}

package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/fault"
)

var errFull = fault.New(fault.Conflict, "device_full", "The device is full")

func TestSentinels(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	err := fmt.Errorf("create: %w", errFull.Textf("The device takes %d", 3).Because(cause))
	if !errors.Is(err, errFull) || !errors.Is(err, cause) {
		t.Errorf("%v is not the sentinel, or lost its cause", err)
	}
	if errors.Is(err, fault.New(fault.Conflict, "other", "")) || errors.Is(err, fault.New(fault.Invalid, "device_full", "")) {
		t.Errorf("%v matches another reason or kind", err)
	}
	if fault.KindOf(err) != fault.Conflict || fault.ReasonOf(err) != "device_full" {
		t.Errorf("kind %v, reason %v", fault.KindOf(err), fault.ReasonOf(err))
	}
	f, ok := fault.As(err)
	if !ok || f.Text != "The device takes 3" || errFull.Text != "The device is full" {
		t.Errorf("text %q; the sentinel's is %q", f.Text, errFull.Text)
	}
	if fault.KindOf(cause) != fault.Internal || fault.ReasonOf(cause) != "internal" {
		t.Error("an error that is no fault must be internal")
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	size := fault.Field("size_not_sold", "size", "%d GiB is not sold", 51)
	if want := map[string]string{"size": "51 GiB is not sold"}; !cmp.Equal(size.Fields, want) {
		t.Error(cmp.Diff(want, size.Fields))
	}
	other := size.Textf("no")
	if other.Fields["size"] != "no" || size.Fields["size"] != "51 GiB is not sold" {
		t.Errorf("copies share their fields: %v, %v", other.Fields, size.Fields)
	}
	if err := fault.Together(); err != nil {
		t.Errorf("nothing wrong gives %v", err)
	}
	if err := fault.Together(size); !errors.Is(err, size) {
		t.Errorf("one fault gives %v", err)
	}
	f, ok := fault.As(fault.Together(size, fault.Field("url_invalid", "url", "not a URL")))
	if !ok || f.Reason != "validation_failed" || f.Kind != fault.Invalid {
		t.Fatalf("two faults give %v", f)
	}
	if want := map[string]string{"size": "51 GiB is not sold", "url": "not a URL"}; !cmp.Equal(f.Fields, want) {
		t.Error(cmp.Diff(want, f.Fields))
	}
}

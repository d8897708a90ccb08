package provider

import (
	"context"
	"errors"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/drivebay/drivebay/client"
)

// attributes are the names here of the fields that the API complains about.
var attributes = map[string]string{
	"bootOnce": "boot_once", "bootable": "bootable", "checksum": "checksum", "description": "description", "deviceId": "device_id",
	"facilityCode": "facility_code", "isoId": "iso_id", "maxMonthlyPrice": "max_monthly_price", "name": "name", "size": "size", "url": "url", "volumeId": "volume_id",
}

// diagnose reports err. The client's text has the reason and the request id. A
// complaint about a field that the resource has goes to that attribute too.
func diagnose(diags *diag.Diagnostics, summary string, err error, has ...string) {
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text += "\n\nThe time of the block `timeouts` is over. What the server has accepted goes on; the next plan finds how it ended."
	}
	var e *client.Error
	placed := false
	if errors.As(err, &e) {
		for field, complaint := range e.Fields {
			if name := attributes[field]; slices.Contains(has, name) {
				diags.AddAttributeError(path.Root(name), summary, complaint+"\n\n"+text)
				placed = true
			}
		}
	}
	if !placed {
		diags.AddError(summary, text)
	}
}

// reasonOf is the stable reason of a refusal or of a task's failure; "" where
// there is none.
func reasonOf(err error) string {
	var refused *client.Error
	var failed *client.TaskError
	switch {
	case errors.As(err, &refused):
		return refused.Reason
	case errors.As(err, &failed):
		return failed.Reason
	}
	return ""
}

func isGone(err error) bool { return errors.Is(err, client.ErrNotFound) }

package httpapi

import (
	"context"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/internal/adopt"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/volume"
)

// AdminImportVPS registers guests that are there already.
func (o *ops) AdminImportVPS(ctx context.Context, r api.AdminImportVPSRequestObject) (api.AdminImportVPSResponseObject, error) {
	return o.importVPS(ctx, importOf(r.Body))
}

func (o *ops) importVPS(ctx context.Context, q adopt.Request) (api.AdminImportVPSResponseObject, error) {
	list, err := o.Adopt.Import(ctx, q)
	if err != nil {
		return nil, err
	}
	return api.AdminImportVPS200JSONResponse(each(list, toImported)), nil
}

func importOf(b *api.VPSImport) adopt.Request {
	return adopt.Request{
		FacilityCode: b.FacilityCode, ClientID: b.ClientID, Host: orZero(b.Host), All: orZero(b.All), Domains: orZero(b.Domains),
		DryRun: orZero(b.DryRun),
	}
}

func toImported(g adopt.Guest) api.ImportedGuest {
	out := api.ImportedGuest{
		Ref: orNull(g.Ref), Name: g.Name, Host: orNull(g.Host), Result: api.ImportedGuestResult(g.Result), DeviceID: orNull(g.DeviceID),
		MaxVolumes: g.MaxVolumes, Disks: each(g.Disks, toImportedDisk),
	}
	out.Reason, out.Message = why(g.Why)
	return out
}

func toImportedDisk(d adopt.Disk) api.ImportedDisk {
	out := api.ImportedDisk{
		Source: d.Source, Target: d.Target, SizeBytes: d.Bytes, Type: api.ImportedDiskType(d.Type), VolumeID: orNull(d.VolumeID),
	}
	if d.Type != volume.Root && d.Why == nil {
		monthly := d.Price.Monthly.Units()
		out.MonthlyPrice = &monthly
	}
	out.Reason, out.Message = why(d.Why)
	return out
}

// why is a refusal as it stands in an answer that is none.
func why(f *fault.Error) (reason, message *string) {
	if f == nil {
		return nil, nil
	}
	return orNull(string(f.Reason)), &f.Text
}

// AdminDeleteDevice forgets a device whose guest was made elsewhere.
func (o *ops) AdminDeleteDevice(ctx context.Context, r api.AdminDeleteDeviceRequestObject) (api.AdminDeleteDeviceResponseObject, error) {
	if err := o.VPS.DeleteDevice(ctx, r.DeviceID); err != nil {
		return nil, err
	}
	return api.AdminDeleteDevice204Response{}, nil
}

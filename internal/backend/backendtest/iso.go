package backendtest

import (
	"os"
	"path/filepath"

	"github.com/drivebay/drivebay/internal/backend"
)

var isoCases = map[string]func(*kit){
	"ImportTwice": func(k *kit) {
		spec, path := k.image()
		content, err := os.ReadFile(path)
		k.ok(err)
		k.ok(k.d.ImportISO(k.ctx, spec, path))
		before := k.view()
		if len(before.ISOs) != 1 || before.ISOs[0] != backend.ISOView(spec) {
			k.Fatalf("the driver holds %v", before.ISOs)
		}
		again := filepath.Join(k.TempDir(), "again")
		k.ok(os.WriteFile(again, content, 0o600))
		k.ok(k.d.ImportISO(k.ctx, spec, again))
		if _, err := os.Stat(again); err != nil {
			k.Fatalf("the file of a repeated import is not left alone: %v", err)
		}
		// The first call may have moved its file: a repeat does not need it.
		k.ok(k.d.ImportISO(k.ctx, spec, path))
		k.same(before, k.view())
	},
	"ImportWrongLength": func(k *kit) {
		spec, path := k.image()
		before := k.view()
		for _, wrong := range []int64{spec.Bytes - 1, spec.Bytes + 1, 0, -1} {
			k.refused(before, k.d.ImportISO(k.ctx, backend.ISOSpec{Key: spec.Key, Bytes: wrong}, path), backend.ErrInvalid)
		}
		k.ok(k.d.ImportISO(k.ctx, spec, path))
		before = k.view()
		k.refused(before, k.d.ImportISO(k.ctx, backend.ISOSpec{Key: spec.Key, Bytes: spec.Bytes + 1}, path), backend.ErrConflict)
	},
	"ImportMissingFile": func(k *kit) {
		spec, path := k.image()
		before := k.view()
		k.refused(before, k.d.ImportISO(k.ctx, spec, filepath.Join(k.TempDir(), "none")), backend.ErrInvalid)
		k.refused(before, k.d.ImportISO(k.ctx, spec, k.TempDir()), backend.ErrInvalid)
		k.ok(k.d.ImportISO(k.ctx, spec, path))
	},
	"DeleteISOTwice": func(k *kit) {
		before := k.view()
		key := k.iso()
		k.ok(k.d.DeleteISO(k.ctx, key))
		k.same(before, k.view())
		k.ok(k.d.DeleteISO(k.ctx, key))
		k.ok(k.d.DeleteISO(k.ctx, missingKey))
		k.same(before, k.view())
	},
	"DeleteISOInDrive": func(k *kit) {
		a, b, key := k.vm(), k.vm(), k.iso()
		k.ok(k.d.SetMedia(k.ctx, a, key, false))
		k.ok(k.d.SetMedia(k.ctx, b, key, false)) // one image in any number of drives
		for _, ref := range []string{a, b} {
			before := k.view()
			k.refused(before, k.d.DeleteISO(k.ctx, key), backend.ErrInUse)
			k.ok(k.d.SetMedia(k.ctx, ref, "", false))
		}
		k.ok(k.d.DeleteISO(k.ctx, key))
	},
	"Media": func(k *kit) {
		ref, one, two := k.vm(), k.iso(), k.iso()
		for _, key := range []string{"", one, one, two, "", "", one} { // insert, repeat, swap, eject
			k.ok(k.d.SetMedia(k.ctx, ref, key, false))
			k.media(ref, key)
		}
		k.ok(k.d.SetMedia(k.ctx, ref, two, true))
		k.media(ref, two)
	},
	"MediaMissing": func(k *kit) {
		ref, key := k.vm(), k.iso()
		k.ok(k.d.SetMedia(k.ctx, ref, key, false))
		before := k.view()
		k.refused(before, k.d.SetMedia(k.ctx, ref, missingKey, false), backend.ErrISONotFound)
		k.refused(before, k.d.SetMedia(k.ctx, ref, missingKey, true), backend.ErrISONotFound)
		k.refused(before, k.d.SetMedia(k.ctx, missingID, key, false), backend.ErrVMNotFound)
		k.ok(k.d.SetMedia(k.ctx, missingID, "", false))
		k.same(before, k.view())
	},
	"TrayLocked": func(k *kit) {
		k.need(k.d.Info().TrayLock, "lock a tray")
		ref, one, two := k.vm(), k.iso(), k.iso()
		k.ok(k.d.SetMedia(k.ctx, ref, one, false))
		k.h.LockTray(k.T, ref, true)
		before := k.view()
		k.refused(before, k.d.SetMedia(k.ctx, ref, two, false), backend.ErrTrayLocked)
		k.refused(before, k.d.SetMedia(k.ctx, ref, "", false), backend.ErrTrayLocked)
		k.ok(k.d.SetMedia(k.ctx, ref, one, false)) // there already moves no tray
		k.ok(k.d.SetMedia(k.ctx, ref, "", true))
		k.media(ref, "")
		k.h.LockTray(k.T, ref, false)
		k.ok(k.d.SetMedia(k.ctx, ref, two, false))
		k.media(ref, two)
	},
	"TrayLockNeedsPower": func(k *kit) {
		k.need(k.d.Info().TrayLock, "lock a tray")
		ref, key := k.vm(), k.iso()
		k.ok(k.d.SetMedia(k.ctx, ref, key, false))
		k.h.LockTray(k.T, ref, true)
		k.ok(k.d.Power(k.ctx, ref, backend.PowerOff))
		k.ok(k.d.SetMedia(k.ctx, ref, "", false))
		k.media(ref, "")
	},
}

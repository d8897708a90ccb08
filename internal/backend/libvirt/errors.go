package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	lv "github.com/digitalocean/go-libvirt"

	"github.com/drivebay/drivebay/internal/backend"
)

// isCode reports whether libvirt answered with one of the codes. An error that
// is no answer, such as a lost connection, has none.
func isCode(err error, codes ...lv.ErrorNumber) bool {
	var answer lv.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, c := range codes {
		if answer.Code == uint32(c) {
			return true
		}
	}
	return false
}

// says reports whether libvirt's answer has one of the texts. Its errors carry
// no more than a code, and the code of half of them is 1.
func says(err error, texts ...string) bool {
	var answer lv.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, t := range texts {
		if strings.Contains(strings.ToLower(answer.Message), t) {
			return true
		}
	}
	return false
}

// stateChanged: what was asked for did not fit the state the domain was in by
// then. Read again and choose anew.
func stateChanged(err error) bool {
	return isCode(err, lv.ErrOperationInvalid, lv.ErrDeviceMissing) ||
		isCode(err, lv.ErrConfigUnsupported) && says(err, "alias")
}

// poolBusy: the pool or the volume is at work; it passes.
func poolBusy(err error) bool {
	return says(err, "asynchronous jobs running", "is still being allocated", "being built", "is still in use", "is in use.")
}

// trayBusy: the tray is not as libvirt takes it to be, as under the firmware of a
// guest that has just started. A locked one is another matter.
func trayBusy(err error) bool {
	return !errors.Is(err, backend.ErrTrayLocked) && isCode(err, lv.ErrInternalError) && says(err, "tray of") && says(err, "is not open")
}

func exists(err error) bool {
	return isCode(err, lv.ErrStorageVolExist) || says(err, "file exists", "already exists")
}

// failure turns what a call came to into an error of backend. Errors of backend
// and the context's own stay as they are.
func failure(doing string, err error) error {
	var known *backend.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return kindOf(err).Because(fmt.Errorf("%s: %w", doing, err))
}

// kindOf is the table of libvirt's answers. What is not in it has an unknown
// outcome: temporary, to be looked at again.
func kindOf(err error) *backend.Error {
	switch {
	case isCode(err, lv.ErrNoDomain):
		return backend.ErrVMNotFound
	case isCode(err, lv.ErrNoStorageVol):
		return backend.ErrVolumeNotFound
	case says(err, "no more available pci", "no free", "target address is already"):
		return backend.ErrNoSlot
	case says(err, `"write" lock`, "is locked by", "image is in use"):
		return backend.ErrInUse
	case isCode(err, lv.ErrOperationFailed) && says(err, "tray", "is locked"):
		return backend.ErrTrayLocked
	case says(err, "no space left", "disk quota exceeded"):
		return backend.ErrNoSpace
	case says(err, "file too large"), isCode(err, lv.ErrNoSupport, lv.ErrOperationUnsupported):
		return backend.ErrUnsupported
	case errors.Is(err, lv.ErrUnsupported):
		return backend.ErrUnsupported
	}
	return backend.ErrUnavailable
}

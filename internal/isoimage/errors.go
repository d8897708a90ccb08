package isoimage

import (
	"fmt"

	"github.com/drivebay/drivebay/internal/fault"
)

// The reasons of this package. They are part of the contract.
const (
	ReasonNotISO      fault.Reason = "not_an_iso"
	ReasonTruncated   fault.Reason = "iso_truncated"
	ReasonMalformed   fault.Reason = "iso_malformed"
	ReasonNotBootable fault.Reason = "iso_not_bootable"
)

// Error is a verdict on an image's content; a repeat with the same content
// ends the same. Reason and Text may be shown to a caller.
type Error struct {
	Reason fault.Reason
	Text   string
	// Found is a stable word for what the file is instead, such as "html" or
	// "gzip". Only ReasonNotISO has one.
	Found string
	// Claimed and Size are bytes: what the descriptors ask for and what is
	// there. Only ReasonTruncated has them.
	Claimed, Size int64
}

// Error is the text.
func (e *Error) Error() string { return e.Text }

// Is reports whether target is an *Error of the same reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

func truncated(claimed, size int64) *Error {
	return &Error{
		Reason: ReasonTruncated, Claimed: claimed, Size: size,
		Text: fmt.Sprintf("the image is incomplete: its descriptors claim %d bytes and the file has %d", claimed, size),
	}
}

func malformed(text string, args ...any) *Error {
	return &Error{Reason: ReasonMalformed, Text: "the image is damaged: " + fmt.Sprintf(text, args...)}
}

// notISO names what was found; quote, if not empty, is a cleaned piece of it.
func notISO(found, quote string) *Error {
	text := "the file is not an ISO image but " + foundText[found]
	if quote != "" {
		text += fmt.Sprintf(" that reads %q", quote)
	}
	return &Error{Reason: ReasonNotISO, Found: found, Text: text}
}

package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/drivebay/drivebay/internal/fault"
)

// The reasons of an *Error. They are part of the contract.
const (
	ReasonURLInvalid       fault.Reason = "url_invalid"         // not a URL this service can read
	ReasonURLNotAllowed    fault.Reason = "url_not_allowed"     // a scheme, host or address that downloads may not reach
	ReasonUnreachable      fault.Reason = "source_unreachable"  // no such name, no connection, no answer in time
	ReasonTLS              fault.Reason = "source_tls"          // the certificate or the handshake is wrong
	ReasonStatus           fault.Reason = "source_status"       // another HTTP status than a success
	ReasonBadAnswer        fault.Reason = "source_bad_answer"   // not HTTP, or HTTP that contradicts itself
	ReasonTooManyRedirects fault.Reason = "too_many_redirects"  // a loop, or a longer chain than allowed
	ReasonEncoded          fault.Reason = "content_encoded"     // compressed although identity was asked for
	ReasonHTML             fault.Reason = "source_is_html"      // a web page instead of a file
	ReasonTooLarge         fault.Reason = "iso_too_large"       // over Options.MaxBytes
	ReasonStalled          fault.Reason = "source_stalled"      // open connection, no bytes
	ReasonTooSlow          fault.Reason = "source_too_slow"     // bytes, but under Options.MinRate
	ReasonTruncated        fault.Reason = "source_truncated"    // the connection ended before the announced length
	ReasonWrongLength      fault.Reason = "source_wrong_length" // a range longer or shorter than it was said to be
	ReasonChanged          fault.Reason = "source_changed"      // the file at the source became another one, again and again
	ReasonStorageFull      fault.Reason = "storage_full"        // no room for the file here
)

// Error is why a download ended. Reason and Text may be shown to the caller of
// the service: Text names the source by host only. The wrapped cause is for
// the log; it never holds a URL.
//
// Fetch repeats by itself what may heal, so an *Error it returns is its last
// word. Permanent tells whether the same URL may work on another day without a
// change of the URL, the source or the settings.
type Error struct {
	Reason    fault.Reason
	Text      string
	Permanent bool
	cause     error
	after     time.Duration // what the source asked us to wait
}

// Error is the text with its cause, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Text + ": " + e.cause.Error()
	}
	return e.Text
}

// Unwrap returns what caused e, nil when nothing did.
func (e *Error) Unwrap() error { return e.cause }

// Is matches by reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// permanent returns an error that a repeat cannot change.
func permanent(reason fault.Reason, text string, args ...any) *Error {
	return &Error{Reason: reason, Text: fmt.Sprintf(text, args...), Permanent: true}
}

// temporary returns an error that is worth a repeat.
func temporary(reason fault.Reason, text string, args ...any) *Error {
	return &Error{Reason: reason, Text: fmt.Sprintf(text, args...)}
}

func (e *Error) because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// spent is e after the last of tries connections.
func (e *Error) spent(tries int) *Error {
	c := *e
	if tries > 1 {
		c.Text = fmt.Sprintf("%s (gave up after %d tries)", e.Text, tries)
	}
	return &c
}

// handshakeError marks an error of the TLS handshake that is not one of the
// network under it.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// isNetwork reports whether err comes from the network or a time limit, not
// from what the other side said.
func isNetwork(err error) bool {
	var timeout net.Error
	var errno syscall.Errno
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.As(err, &errno):
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded)
}

// connectError says why no answer came from host. known is true once the
// source has delivered something: then even an unknown name may heal.
func connectError(err error, host string, known bool) *Error {
	var own *Error
	var shake *handshakeError
	var dns *net.DNSError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &shake):
		return permanent(ReasonTLS, "%s", tlsText(shake.err, host)).because(shake.err)
	case errors.As(err, &dns):
		e := temporary(ReasonUnreachable, "the name of the source, %s, cannot be resolved", host).because(err)
		e.Permanent = dns.IsNotFound && !known
		return e
	case isNetwork(err):
		return temporary(ReasonUnreachable, "the source %s cannot be reached or does not answer", host).because(err)
	}
	return temporary(ReasonBadAnswer, "the source %s answers with something that is not valid HTTP", host).because(err)
}

func tlsText(err error, host string) string {
	var cert *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &cert):
		return "the TLS certificate of " + host + " is not valid for it or not trusted"
	case errors.As(err, &plain):
		return "the source " + host + " does not speak TLS on this port"
	}
	return "no TLS connection to " + host + " could be agreed on"
}

// StorageError turns the errors of a full disk into storage_full. Others stay
// what they are: internal.
func StorageError(doing string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return permanent(ReasonStorageFull, "there is not enough room to store the image").because(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

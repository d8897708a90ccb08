package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/drivebay/drivebay/client"
)

// image is an ISO to make, from an address or a file.
type image struct {
	client.ISOCreate
	file  string
	quiet bool
	waiting
}

// uploadISO makes an ISO of a file and sends the file, or goes on with an upload
// of the same that was broken off. It waits until all bytes are sent in any case.
func (s *shell) uploadISO(ctx context.Context, c *client.Client, n *image) (client.ISO, []byte, error) {
	var none client.ISO
	f, err := os.Open(n.file)
	if err != nil {
		return none, nil, noFile(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return none, nil, noFile(err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return none, nil, failed(Failed, "failed", "%s is not a file with an image.", n.file)
	}
	o := client.ISOUpload{
		FacilityCode: n.FacilityCode, Name: n.Name, Description: n.Description, SizeBytes: info.Size(),
		Bootable: n.Bootable, Checksum: n.Checksum, ClientID: n.ClientID,
	}
	if o.Checksum == "" { // so that an upload that goes on with another file does not pass
		s.say("Reading %s.", n.file)
		if o.Checksum, err = digest(ctx, f); err != nil {
			return none, nil, err
		}
	}
	i, err := s.unfinished(ctx, c, o)
	if err != nil {
		return none, nil, err
	}
	if i.ID == "" {
		if i, _, err = change(n.key, func(opts ...client.CallOption) (client.ISO, error) { return c.ISO.BeginUpload(ctx, o, opts...) }); err != nil {
			return none, nil, err
		}
	}
	if err := s.sendImage(ctx, c, i, f); err != nil {
		return none, nil, err
	}
	return whole(func(body client.CallOption) (client.ISO, error) {
		return c.ISO.Get(ctx, i.ID, client.ISORef{FacilityCode: o.FacilityCode, ClientID: o.ClientID}, body)
	})
}

// unfinished finds the upload of the same image that was broken off; its ID is
// "" where there is none.
func (s *shell) unfinished(ctx context.Context, c *client.Client, o client.ISOUpload) (client.ISO, error) {
	list, err := c.ISO.List(ctx, client.ISOListOptions{FacilityCode: o.FacilityCode, ClientID: o.ClientID})
	if err != nil {
		return client.ISO{}, err
	}
	for _, i := range list {
		if i.UploadURL != "" && i.Name == o.Name && i.Description == o.Description && i.Bootable == o.Bootable && i.SizeBytes == o.SizeBytes {
			s.say("Going on with the upload of ISO %s.", i.ID)
			return i, nil
		}
	}
	return client.ISO{}, nil
}

// sendImage sends what the server does not have yet.
func (s *shell) sendImage(ctx context.Context, c *client.Client, i client.ISO, f *os.File) error {
	var bar *progressbar.ProgressBar
	if s.live && s.format != formatJSON {
		bar = s.newBar(i.SizeBytes, progressbar.OptionThrottle(100*time.Millisecond)) // it hears of every block
		bar.Describe("sending")
		defer bar.Clear()
	}
	tenth := int64(-1)
	err := c.ISO.Upload(ctx, i, f, func(sent int64) {
		if bar != nil {
			_ = bar.Set64(min(sent, i.SizeBytes-1)) // a bar that is full ends
			return
		}
		if now := sent * 10 / i.SizeBytes; now != tenth {
			tenth = now
			s.say("iso %s: %d%% sent", i.ID, now*10)
		}
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		f := failed(Interrupted, "interrupted", "Interrupted. What was sent of ISO %s is kept for a day.", i.ID)
		f.hint, f.TaskID = "To go on: the same command again.", i.TaskID
		return f
	}
	return err
}

// digest is the checksum of a file, in the form of the API.
func digest(ctx context.Context, f *os.File) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, readUntil{ctx, f}); err != nil {
		return "", noFile(err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// readUntil reads until ctx ends.
type readUntil struct {
	ctx context.Context
	r   io.Reader
}

func (r readUntil) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// awaitISO waits until an ISO is ready, for at most timeout. The import goes on
// when it gives up.
func (s *shell) awaitISO(ctx context.Context, c *client.Client, i client.ISO, raw []byte, timeout time.Duration) (client.ISO, []byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errLate)
	defer cancel()
	p := s.newProgress("iso " + i.ID)
	defer p.end()
	got, err := c.ISO.Wait(ctx, i, p.iso)
	if err != nil {
		return got, nil, stopped(ctx, err, timeout, fmt.Sprintf("The import of ISO %s", i.ID), "drivebay iso wait "+i.ID, i.TaskID)
	}
	if got, err = c.ISO.Get(ctx, i.ID, client.ISORef{FacilityCode: i.FacilityCode}, client.WithBody(&raw)); err != nil {
		return got, nil, err
	}
	return got, raw, nil
}

package iso

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/task"
)

// Uploads is where the bytes of uploads grow until an import takes them.
type Uploads struct {
	// Folder is made when it is needed. ID tells it from the folder of another
	// server; servers that share one have the same.
	Folder, ID string
	// MaxBytes is the longest image that is taken.
	MaxBytes int64
	// Takes reports whether the servers that import for a facility see the
	// folder.
	Takes func(facilityCode string) bool
	// Server names this start of this server, with those that it was before in
	// front: node/boot.
	Server string
	// Idle is how long an upload may get no byte before it is given up; 0: 24
	// hours.
	Idle time.Duration
}

const (
	// uploadHold is how long a writer that is not heard of keeps others out. It
	// writes nothing without having held on within uploadFresh, and a read of
	// its body ends well before the rest of that time.
	uploadHold  = 2 * time.Minute
	uploadFresh = 5 * time.Second
	// uploadEvery is the bytes after which they are made durable.
	uploadEvery = 32 << 20
	// uploadEnd bounds the end of a request whose client has gone.
	uploadEnd = 30 * time.Second
	// uploadBlock is one read and one write.
	uploadBlock = 64 << 10
)

// What the rules of uploads refuse.
var (
	ErrNoUploads       = fault.New(fault.Conflict, "uploads_not_taken", "This server takes no uploads for the facility")
	ErrNoUpload        = fault.New(fault.NotFound, "upload_not_found", "The ISO is not made by an upload")
	ErrUploadOver      = fault.New(fault.Conflict, "upload_over", "The upload has ended")
	ErrUploadOffset    = fault.New(fault.Conflict, "upload_offset", "The upload is at another offset")
	ErrUploadBusy      = fault.New(fault.Conflict, "upload_busy", "Another request is writing to the upload")
	ErrUploadTooLong   = fault.New(fault.Invalid, "upload_too_long", "The body goes beyond the size that was announced")
	ErrUploadElsewhere = fault.New(fault.Unavailable, "upload_elsewhere", "Another server has the bytes of this upload")
	ErrUploadCut       = fault.New(fault.Invalid, "upload_interrupted", "The body did not come to its end; go on from the offset that is there")
	ErrUploadLost      = fault.New(fault.Conflict, "upload_lost", "The bytes of the upload are no longer there; delete the ISO and begin again")
	ErrAbandoned       = fault.New(fault.Conflict, "upload_abandoned", "The upload got no byte for too long")
	ErrTwoSources      = fault.Field("url_and_upload", "upload", "an image comes from a url or by an upload, not both")
)

// checkUpload is what is wrong with the size of an upload, nil for nothing.
func (s *Service) checkUpload(bytes int64) *fault.Error {
	if s.Uploads != nil && bytes > s.Uploads.MaxBytes {
		return fault.Field(fetch.ReasonTooLarge, "upload", "the file is %d bytes long; the limit is %d bytes", bytes, s.Uploads.MaxBytes)
	}
	return nil
}

// uploadIdle is how long an upload may get no byte.
func (s *Service) uploadIdle() time.Duration {
	if s.Uploads == nil {
		return 24 * time.Hour
	}
	return cmp.Or(s.Uploads.Idle, 24*time.Hour)
}

// Uploaded returns an ISO that is made by an upload. Its Done bytes are
// durable, and its Size is what they will be. ErrNotFound, ErrNoUpload,
// ErrDeleting, ErrUploadOver.
func (s *Service) Uploaded(ctx context.Context, scope access.Scope, id string) (ISO, error) {
	i, err := s.Store.Get(ctx, scope, id)
	if err == nil {
		err = checkUploaded(i)
	}
	return i, err
}

// checkUploaded reports whether an ISO is, or has been, uploaded.
func checkUploaded(i ISO) error {
	switch {
	case i.Upload == "":
		return ErrNoUpload
	case i.State == Deleting:
		return ErrDeleting
	case i.State == Failed:
		return ErrUploadOver.Textf("The upload has ended: %s", i.Status())
	}
	return nil
}

// Upload takes the bytes of body as those from offset on, which must be where
// the upload is. length is how many they are said to be, -1 where that is not
// said. With the last one the import begins. Bytes that came before an error
// are kept: Uploaded tells how many are there. body must end by itself, with an
// error, when nothing comes any more, within a minute.
//
// As in Uploaded; ErrUploadOffset, ErrUploadTooLong, ErrUploadBusy,
// ErrUploadElsewhere, ErrUploadLost, a full disk, the fault that body ended
// with, or else ErrUploadCut.
func (s *Service) Upload(ctx context.Context, scope access.Scope, id string, offset, length int64, body io.Reader) (ISO, error) {
	u := &upload{s: s, id: id, off: offset, saved: offset}
	if err := u.begin(ctx, scope, length); err != nil || u.i.State != Uploading {
		return u.i, err
	}
	err := u.open()
	if err == nil {
		err = u.receive(ctx, body)
	}
	// The client may have gone, and what it sent stays.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), uploadEnd)
	defer cancel()
	err = errors.Join(err, u.end(end, !errors.Is(err, ErrUploadTooLong)))
	return u.i, err
}

// upload is one request that writes.
type upload struct {
	s      *Service
	id     string
	writer string
	i      ISO // as it was last written
	file   *os.File
	off    int64     // where the next byte goes
	saved  int64     // bytes that are durable and recorded
	fresh  time.Time // when it last held on
	broken bool      // the disk refused to keep what was written
}

// begin keeps other writers out, if the upload is where the caller thinks and
// goes on. An upload that is complete has nothing to be kept out of.
func (u *upload) begin(ctx context.Context, scope access.Scope, length int64) error {
	return u.s.Store.Tx(ctx, func(tx Tx) error {
		i, pending, err := visible(ctx, tx, scope, u.id)
		if err != nil {
			return err
		}
		u.i = i
		switch err := checkUploaded(i); {
		case err != nil:
			return err
		case goes(pending):
			return ErrDeleting
		case u.off != i.Done:
			return ErrUploadOffset.Textf("The upload is at offset %d, not %d", i.Done, u.off)
		case length > i.Size-u.off:
			return ErrUploadTooLong.Textf("The body is %d bytes long, and %d are missing", length, i.Size-u.off)
		case i.State != Uploading:
			return nil
		case !u.s.hasFolder(i):
			return ErrUploadElsewhere
		}
		u.writer = u.s.Uploads.Server + "/" + u.s.NewID()
		u.fresh = time.Now()
		return u.hold(ctx, tx, uploadHold)
	})
}

// hold keeps other writers out for the time to come. ErrUploadBusy.
func (u *upload) hold(ctx context.Context, tx Tx, d time.Duration) error {
	held, err := tx.HoldUpload(ctx, u.id, u.writer, d)
	if err == nil && !held {
		err = ErrUploadBusy
	}
	return err
}

// open opens the file, which has all bytes before the offset.
func (u *upload) open() error {
	path := u.s.uploaded(u.id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder of uploads: %w", err)
	}
	var err error
	if u.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return diskFault(fetch.StorageError("open upload", err))
	}
	info, err := u.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("stat upload: %w", err)
	case info.Size() < u.off:
		return ErrUploadLost
	case u.off == 0:
		fetch.SyncFolder(path)
	}
	return nil
}

// receive writes what body has. It never records the last byte: end does,
// once it is known that no more come.
func (u *upload) receive(ctx context.Context, body io.Reader) error {
	buf := make([]byte, uploadBlock)
	for {
		n, rerr := body.Read(buf)
		if int64(n) > u.i.Size-u.off {
			return ErrUploadTooLong
		}
		if n > 0 && time.Since(u.fresh) >= uploadFresh {
			if err := u.save(ctx); err != nil {
				return err
			}
		}
		if _, err := u.file.WriteAt(buf[:n], u.off); err != nil {
			return diskFault(fetch.StorageError("write upload", err))
		}
		u.off += int64(n)
		switch {
		case rerr == io.EOF:
			return nil
		case rerr != nil:
			if _, ok := fault.As(rerr); ok {
				return rerr
			}
			return ErrUploadCut.Because(rerr)
		case u.off-u.saved >= uploadEvery && u.off < u.i.Size:
			if err := u.save(ctx); err != nil {
				return err
			}
		}
	}
}

// save makes the bytes so far durable, records them, and holds on.
func (u *upload) save(ctx context.Context) error {
	if err := u.sync(); err != nil {
		return err
	}
	return u.write(ctx, true, uploadHold)
}

func (u *upload) sync() error {
	if u.off == u.saved {
		return nil
	}
	if err := u.file.Sync(); err != nil {
		u.broken = true
		return diskFault(fetch.StorageError("sync upload", err))
	}
	return nil
}

// write holds on for the time to come, which may be none, and records the bytes
// so far where keep says so, unless the upload has ended meanwhile. With the
// last one the import is queued.
func (u *upload) write(ctx context.Context, keep bool, hold time.Duration) error {
	at := time.Now()
	var i ISO
	err := u.s.Store.Tx(ctx, func(tx Tx) (err error) {
		if i, err = tx.ISO(ctx, u.id); err == nil {
			err = checkUploaded(i)
		}
		switch { // by another writer, when this one was thought dead
		case err == nil && i.State != Uploading:
			err = ErrUploadOver
		case err == nil && i.Done != u.saved:
			err = ErrUploadOffset.Textf("The upload is at offset %d by now", i.Done)
		}
		if err != nil {
			return err
		}
		if err := u.hold(ctx, tx, hold); err != nil || !keep || u.off == i.Done {
			return err
		}
		i.Done = u.off
		if err := tx.Received(ctx, u.id, i.Done); err != nil || i.Done < i.Size {
			return err
		}
		i.State = Queued
		if err := tx.PutISO(ctx, i); err != nil {
			return err
		}
		return tx.Hasten(ctx, i.TaskID)
	})
	if err == nil {
		u.i, u.saved, u.fresh = i, i.Done, at
	}
	return err
}

// end closes the file and lets others write. Where keep is set what came is
// recorded, and the import begins if that is all.
func (u *upload) end(ctx context.Context, keep bool) error {
	var err error
	if u.file == nil {
		keep = false
	}
	if keep = keep && !u.broken; keep {
		err = u.sync()
	}
	werr := u.write(ctx, keep && err == nil, 0)
	if u.file != nil {
		err = errors.Join(err, u.file.Close())
	}
	if errors.Is(werr, ErrNotFound) || errors.Is(werr, ErrDeleting) || errors.Is(werr, ErrUploadOver) {
		err = errors.Join(err, u.s.tidyUpload(ctx, u.id))
	}
	return errors.Join(werr, err)
}

// tidyUpload removes a file that was made after its ISO had ended.
func (s *Service) tidyUpload(ctx context.Context, id string) error {
	i, err := s.Store.Get(ctx, access.Scope{All: true}, id)
	if errors.Is(err, ErrNotFound) || err == nil && (i.State == Failed || i.State == Deleting) {
		return s.dropUpload(id)
	}
	return err
}

// awaitUpload gives the task of an upload that is not complete back until it
// is, or no byte has come for too long: ErrAbandoned.
func (s *Service) awaitUpload(ctx context.Context, j job) error {
	limit := s.uploadIdle()
	err := s.Store.Step(ctx, j.Lease, func(tx Tx) error {
		i, err := tx.ISO(ctx, j.i.ID)
		if err != nil {
			return err
		}
		if i.State != Uploading { // its last bytes came just now
			return tx.Postpone(ctx, j.Lease, 0)
		}
		idle, err := tx.Idle(ctx, i.ID)
		if err != nil {
			return err
		}
		if idle >= limit {
			return ErrAbandoned.Textf("The upload got no byte for %s, with %d of %d there", limit, i.Done, i.Size)
		}
		return tx.Postpone(ctx, j.Lease, limit-idle)
	})
	if err != nil {
		return err
	}
	return task.ErrPostponed
}

// elsewherePause is how long the import of an upload is left to another server.
const elsewherePause = 2 * time.Second

// collect copies a whole upload into the staging folder and digests it on the
// way. From then on it is like a download; what a late writer may do to the
// upload's own file does not matter.
func (s *Service) collect(ctx context.Context, j *job, digests []string) (fetch.Result, error) {
	if !s.hasFolder(j.i) {
		err := s.Store.Step(ctx, j.Lease, func(tx Tx) error { return tx.Postpone(ctx, j.Lease, elsewherePause) })
		return fetch.Result{}, errors.Join(err, task.ErrPostponed)
	}
	res, err := fetch.Copy(ctx, s.uploaded(j.i.ID), s.staged(j.i.ID), j.i.Size, digests)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, io.ErrUnexpectedEOF):
		return res, ErrUploadLost.Because(err)
	case errors.Is(err, &fetch.Error{Reason: fetch.ReasonStorageFull}):
		return res, fetchFault(err)
	}
	return res, err
}

// uploaded is where the upload of an ISO grows.
func (s *Service) uploaded(id string) string { return filepath.Join(s.Uploads.Folder, id+".part") }

// hasFolder reports whether an ISO's upload grows in this server's folder.
func (s *Service) hasFolder(i ISO) bool { return s.Uploads != nil && s.Uploads.ID == i.Upload }

// forgetUpload removes the bytes of an ISO's upload where they are here.
func (s *Service) forgetUpload(i ISO) error {
	if i.Upload == "" || !s.hasFolder(i) {
		return nil
	}
	return s.dropUpload(i.ID)
}

func (s *Service) dropUpload(id string) error {
	if err := os.Remove(s.uploaded(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove upload: %w", err)
	}
	return nil
}

// diskFault makes a full disk a fault that may pass; other errors stay.
func diskFault(err error) error {
	var fe *fetch.Error
	if errors.As(err, &fe) {
		return fault.New(fault.Unavailable, fe.Reason, "%s", fe.Text).Because(err)
	}
	return err
}

// SweepUploads removes what is left of uploads in this server's folder that no
// unfinished import needs. unfinished is asked after the folder was read, so
// that it knows every file that was there.
func (s *Service) SweepUploads(unfinished func() ([]string, error)) error {
	entries, err := os.ReadDir(s.Uploads.Folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read folder of uploads: %w", err)
	}
	ids, err := unfinished()
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, id := range ids {
		keep[filepath.Base(s.uploaded(id))] = true
	}
	for _, e := range entries {
		if keep[e.Name()] || filepath.Ext(e.Name()) != ".part" {
			continue
		}
		if err := os.Remove(filepath.Join(s.Uploads.Folder, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean folder of uploads: %w", err)
		}
	}
	return nil
}

package iso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/drivebay/drivebay/internal/access"
	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/fault"
	"github.com/drivebay/drivebay/internal/fetch"
	"github.com/drivebay/drivebay/internal/isoimage"
	"github.com/drivebay/drivebay/internal/task"
)

// checkpoint is what an import remembers between attempts: how far the
// download is, or that it is done and how it came out.
type checkpoint struct {
	Fetch  *fetch.State  `json:"fetch,omitempty"`
	Result *fetch.Result `json:"result,omitempty"`
	// Again: the download has been started over once for a wrong checksum.
	Again bool `json:"again,omitempty"`
}

// errAgain ends an attempt whose download has to be made again.
var errAgain = fault.New(fault.Unavailable, "download_again", "The image is downloaded once more")

// errBusy: the same content is being removed at this moment.
var errBusy = fault.New(fault.Unavailable, "content_busy", "the same image is just being removed; the import goes on when that is done")

// runImport downloads, verifies and stores the image, then makes it ready.
func (s *Service) runImport(ctx context.Context, j job) error {
	switch j.i.State {
	case Uploading:
		return s.awaitUpload(ctx, j)
	case Queued, Downloading, Verifying:
	default:
		return task.ErrPrecondition
	}
	res, err := s.download(ctx, &j)
	if err != nil {
		return err
	}
	j.Report(99, "verifying")
	if err := s.enter(ctx, &j, Verifying); err != nil {
		return err
	}
	if err := s.accept(ctx, &j, res); err != nil {
		return err
	}
	spec := backend.ISOSpec{Key: j.i.SHA256, Bytes: j.i.Size}
	err = j.driver.ImportISO(ctx, spec, s.staged(j.i.ID))
	if errors.Is(err, backend.ErrInvalid) && !s.hasStaged(j.i.ID, j.i.Size) {
		// An earlier attempt ran on another node, and its disk has the file.
		return s.startOver(ctx, &j)
	}
	if err != nil {
		return err
	}
	// There already, perhaps, and then our copy is not needed.
	if err := errors.Join(s.unstage(j.i.ID), s.forgetUpload(j.i)); err != nil {
		return err
	}
	err = s.Store.Finish(ctx, j.Lease, task.Success, func(tx Tx) error {
		i := j.i
		i.State = Ready
		return tx.PutISO(ctx, i)
	})
	if err == nil && s.Imported != nil {
		s.Imported(j.i.Size)
	}
	return err
}

// accept verifies a download and claims its content, once. An image that was
// claimed by an earlier attempt and downloaded again must be the same.
func (s *Service) accept(ctx context.Context, j *job, res fetch.Result) error {
	if j.i.SHA256 != "" && j.i.SHA256 != res.SHA256 {
		return fault.New(fault.Invalid, fetch.ReasonChanged, "The source now has another image than at first")
	}
	if j.i.SHA256 != "" {
		return nil
	}
	info, err := s.verify(j.i, res)
	if errors.Is(err, ErrChecksum) && res.Resumed && !j.cp.Again {
		// Pieces of two versions may have been put together.
		j.cp.Again = true
		return s.startOver(ctx, j)
	}
	if err != nil {
		return err
	}
	return s.claim(ctx, j, res, info)
}

// startOver forgets the download, so that the next attempt begins from zero.
func (s *Service) startOver(ctx context.Context, j *job) error {
	if err := s.unstage(j.i.ID); err != nil {
		return err
	}
	if err := j.Save(ctx, checkpoint{Again: j.cp.Again}); err != nil {
		return err
	}
	return errAgain
}

// wanted are the digests that an ISO's checksum needs besides sha256.
func wanted(i ISO) []string {
	if algorithm, _, err := ParseChecksum(i.Checksum); err == nil && algorithm != "sha256" {
		return []string{algorithm}
	}
	return nil
}

// download brings the image into the staging folder, from where an earlier
// attempt stopped.
func (s *Service) download(ctx context.Context, j *job) (fetch.Result, error) {
	if _, err := j.Saved(&j.cp); err != nil {
		j.Log.Warn("start download over", "error", err)
		j.cp = checkpoint{}
	}
	cp := j.cp
	if cp.Result != nil && (j.i.SHA256 != "" || s.hasStaged(j.i.ID, cp.Result.Bytes)) {
		return *cp.Result, nil
	}
	if err := os.MkdirAll(s.Staging, 0o700); err != nil {
		return fetch.Result{}, fmt.Errorf("make staging folder: %w", err)
	}
	if j.i.Upload != "" {
		res, err := s.collect(ctx, j, wanted(j.i))
		if err != nil {
			return res, err
		}
		return res, j.Save(ctx, checkpoint{Result: &res, Again: cp.Again})
	}
	if err := s.enter(ctx, j, Downloading); err != nil {
		return fetch.Result{}, err
	}
	req := fetch.Request{URL: j.i.URL, Path: s.staged(j.i.ID), State: cp.Fetch, Digests: wanted(j.i)}
	req.Checkpoint = func(st fetch.State) error { return j.Save(ctx, checkpoint{Fetch: &st, Again: cp.Again}) }
	fetching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	req.Progress = s.progress(ctx, j, stop)
	res, err := s.Fetcher.Fetch(fetching, req)
	if err != nil {
		if cause := context.Cause(fetching); errors.Is(cause, access.ErrQuota) {
			return fetch.Result{}, cause
		}
		if ctx.Err() != nil || errors.Is(err, task.ErrLeaseLost) {
			return fetch.Result{}, err
		}
		return fetch.Result{}, fetchFault(err)
	}
	return res, j.Save(ctx, checkpoint{Result: &res, Again: cp.Again})
}

// progress returns what the download calls with bytes received and announced;
// it writes them to the ISO about once a second. Bytes count against the
// client's quota from then on; if that has no room for them, it calls stop.
func (s *Service) progress(ctx context.Context, j *job, stop context.CancelCauseFunc) func(done, total int64) {
	var last time.Time
	counted := max(j.i.Done, j.i.Size)
	return func(done, total int64) {
		now := s.Now()
		if now.Sub(last) < time.Second {
			return
		}
		last = now
		i := j.i
		i.Done, i.Size = done, max(total, 0)
		j.Report(min(i.Percent(), 98), fmt.Sprintf("%d of %s bytes", done, announced(total)))
		var err error
		if n := max(i.Done, i.Size); n > counted {
			if err = s.reserve(ctx, j, i); err == nil {
				counted = n
			}
		}
		if err == nil {
			j.i = i // not before its bytes are counted
			err = s.Store.Advance(ctx, j.Lease, i.ID, i.Done, i.Size)
		}
		switch {
		case errors.Is(err, access.ErrQuota):
			stop(err)
		case err != nil && ctx.Err() == nil:
			j.Log.Warn("write download progress", "error", err)
		}
	}
}

// reserve writes an ISO that is known to have more bytes than before, if the
// client's quota has room for them. access.ErrQuota.
func (s *Service) reserve(ctx context.Context, j *job, i ISO) error {
	return s.Store.Step(ctx, j.Lease, func(tx Tx) error { return putWithin(ctx, tx, i) })
}

// putWithin is PutISO for an ISO that may have more bytes than its row says.
func putWithin(ctx context.Context, tx Tx, i ISO) error {
	was, err := tx.ISO(ctx, i.ID)
	if err != nil {
		return err
	}
	more := max(i.Done, i.Size) - max(was.Done, was.Size)
	if more > 0 {
		if err := access.Reserve(ctx, tx, i.ClientID, access.Usage{ISOBytes: more}); err != nil {
			return err
		}
	}
	return tx.PutISO(ctx, i)
}

func announced(total int64) string {
	if total <= 0 {
		return "unknown"
	}
	return fmt.Sprint(total)
}

// verify looks at the finished file: length, checksum, descriptors, and the
// boot catalogue if the caller says it is bootable.
func (s *Service) verify(i ISO, res fetch.Result) (isoimage.Info, error) {
	if i.Checksum != "" {
		algorithm, want, err := ParseChecksum(i.Checksum)
		if err != nil {
			return isoimage.Info{}, err
		}
		got := res.SHA256
		if algorithm != "sha256" {
			got = res.Digests[algorithm]
		}
		if got != want {
			return isoimage.Info{}, ErrChecksum.Textf("The image has %s %s, not %s as was given", algorithm, got, want)
		}
	}
	f, err := os.Open(s.staged(i.ID))
	if err != nil {
		return isoimage.Info{}, fmt.Errorf("open downloaded image: %w", err)
	}
	defer f.Close()
	info, err := isoimage.Inspect(f, res.Bytes)
	if err == nil && i.Bootable {
		err = isoimage.CheckBootable(info)
	}
	var ie *isoimage.Error
	if errors.As(err, &ie) {
		err = fault.New(fault.Invalid, ie.Reason, "%s", ie.Text).Because(err)
	}
	return info, err
}

// claim takes a share of the content before it is stored, so that nobody who
// deletes the same content at this moment can take it away again.
func (s *Service) claim(ctx context.Context, j *job, res fetch.Result, info isoimage.Info) error {
	i := j.i
	i.Size, i.Done, i.SHA256 = res.Bytes, res.Bytes, res.SHA256
	i.Label, i.BIOS, i.UEFI = info.Label, info.BIOS, info.UEFI
	err := s.Store.Step(ctx, j.Lease, func(tx Tx) error {
		c, err := tx.Content(ctx, i.FacilityCode, i.SHA256)
		if err != nil {
			return err
		}
		if c.State == Removing {
			return errBusy
		}
		if c.State == Absent {
			if err := tx.PutContent(ctx, i.FacilityCode, i.SHA256, Content{State: Present, Bytes: i.Size}); err != nil {
				return err
			}
		}
		return putWithin(ctx, tx, i) // here at the latest the length is known
	})
	if err == nil {
		j.i = i
	}
	return err
}

// enter shows the ISO in a state of its import.
func (s *Service) enter(ctx context.Context, j *job, st State) error {
	if j.i.State == st {
		return nil
	}
	i := j.i
	i.State = st
	if err := s.Store.Step(ctx, j.Lease, func(tx Tx) error { return tx.PutISO(ctx, i) }); err != nil {
		return err
	}
	j.i = i
	return nil
}

// failImport keeps the ISO, with the reason, until it is deleted. A content
// claimed by then stays claimed until that too.
func (s *Service) failImport(ctx context.Context, j job, f task.Failure) error {
	if err := errors.Join(s.unstage(j.i.ID), s.forgetUpload(j.i)); err != nil {
		j.Log.Warn("remove download", "iso", j.i.ID, "error", err)
	}
	return s.Store.Finish(ctx, j.Lease, f.Outcome(), func(tx Tx) error {
		i := j.i
		if i.State == Ready || i.State == Deleting {
			return nil
		}
		i.State, i.Reason, i.Error = Failed, f.Reason, f.Text
		return tx.PutISO(ctx, i)
	})
}

// staged is where the download of an ISO grows.
func (s *Service) staged(id string) string { return filepath.Join(s.Staging, id+".part") }

func (s *Service) hasStaged(id string, bytes int64) bool {
	st, err := os.Stat(s.staged(id))
	return err == nil && st.Size() == bytes
}

func (s *Service) unstage(id string) error {
	if err := os.Remove(s.staged(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove download: %w", err)
	}
	return nil
}

// fetchFault is what a caller learns of a download that ended badly. The
// fetcher has spent its retries by then, so what it blames on the URL, the
// source or a full disk is final; trouble of our own may pass.
func fetchFault(err error) *fault.Error {
	var fe *fetch.Error
	if errors.As(err, &fe) {
		return fault.New(fault.Invalid, fe.Reason, "%s", fe.Text).Because(err)
	}
	return fault.New(fault.Unavailable, "import_failed", "The download could not be finished").Because(err)
}

// CleanStaging removes what is left of downloads that no unfinished import
// needs. Call it before tasks run.
func (s *Service) CleanStaging(unfinished []string) error {
	entries, err := os.ReadDir(s.Staging)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read staging folder: %w", err)
	}
	keep := map[string]bool{}
	for _, id := range unfinished {
		keep[filepath.Base(s.staged(id))] = true
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(s.Staging, e.Name())); err != nil {
			return fmt.Errorf("clean staging folder: %w", err)
		}
	}
	return nil
}

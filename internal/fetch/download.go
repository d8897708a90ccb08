package fetch

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
)

// download is one Fetch under way.
type download struct {
	f       *Fetcher
	req     Request
	url     *url.URL
	st      State // Bytes and Hashes as last made durable
	sink    *sink
	told    int64      // highest done given to Progress
	saving  chan error // result of the checkpoint under way; nil: none
	saved   State      // what that checkpoint makes durable
	resumed bool
}

// open opens the file and takes up the saved state as far as both agree. On
// an error nothing is left open.
func (d *download) open() error {
	source := sourceID(d.req.URL)
	d.st = State{Source: source, Total: -1}
	if d.req.State.usable(source, d.f.opt.MaxBytes) {
		d.st = *d.req.State
		d.st.Hashes = maps.Clone(d.st.Hashes)
	} else if d.req.State != nil {
		// It must not come back once the file has other bytes.
		if err := d.tell(d.st); err != nil {
			return err
		}
	}
	digests, err := newSums(d.req.Digests)
	if err != nil {
		return err
	}
	_, statErr := os.Stat(d.req.Path)
	file, err := d.f.opt.OpenFile(d.req.Path)
	if err != nil {
		return StorageError("open image file", err)
	}
	if statErr != nil {
		SyncFolder(d.req.Path)
	}
	if err := d.takeUp(file, digests); err != nil {
		file.Close()
		return err
	}
	d.told = d.st.Bytes
	d.resumed = d.st.Bytes > 0
	d.sink = newSink(file, digests, d.st.Bytes)
	return nil
}

// takeUp brings the file and the digests to the state's Bytes, or all three to
// zero when the file is not what the state says.
func (d *download) takeUp(file File, digests *sums) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("stat image file: %w", err)
	}
	if d.st.Bytes > 0 && info.Size() < d.st.Bytes {
		d.st.zero()
		if err := d.tell(d.st); err != nil {
			return err
		}
	}
	if info.Size() != d.st.Bytes {
		if err := file.Truncate(d.st.Bytes); err != nil {
			return StorageError("cut image file", err)
		}
	}
	if d.st.Bytes == 0 {
		return nil
	}
	if !digests.unmarshal(d.st.Hashes) {
		if err := digests.read(file, d.st.Bytes); err != nil {
			return fmt.Errorf("read image file: %w", err)
		}
	}
	return nil
}

// SyncFolder makes a new file's name durable. Where a folder cannot be synced
// there is nothing to do about it; a file lost that way is noticed by takeUp.
func SyncFolder(path string) {
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		dir.Close()
	}
}

// tell gives a state to the caller.
func (d *download) tell(s State) error {
	if d.req.Checkpoint == nil {
		return nil
	}
	s.Check = s.check()
	if err := d.req.Checkpoint(s); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}

// beginSave starts a checkpoint of all bytes so far and does not wait for the
// disk. Only one is under way at a time.
func (d *download) beginSave() error {
	if err := d.endSave(); err != nil {
		return err
	}
	d.sink.settle()
	hashes, err := d.sink.sums.marshal()
	if err != nil {
		return err
	}
	s := d.st
	s.Bytes, s.Hashes = d.sink.off, hashes
	d.saved, d.saving = s, make(chan error, 1)
	go func(done chan<- error, file File) {
		if err := file.Sync(); err != nil {
			done <- StorageError("sync image file", err)
			return
		}
		done <- d.tell(s)
	}(d.saving, d.sink.file)
	return nil
}

// endSave waits for the checkpoint under way.
func (d *download) endSave() error {
	if d.saving == nil {
		return nil
	}
	err := <-d.saving
	d.saving = nil
	if err == nil {
		d.st.Bytes, d.st.Hashes = d.saved.Bytes, d.saved.Hashes
	}
	return err
}

// save makes all bytes so far durable and their state known.
func (d *download) save() error {
	if err := d.beginSave(); err != nil {
		return err
	}
	return d.endSave()
}

// restart goes back to zero. The caller's state goes first: an old one must
// never meet a file with new bytes.
func (d *download) restart() error {
	if err := d.endSave(); err != nil {
		return err
	}
	had := d.st.Bytes > 0
	d.st.zero()
	d.resumed = false
	if had {
		if err := d.tell(d.st); err != nil {
			return err
		}
	}
	return d.sink.restart()
}

// wrote books n more bytes in the file: budget, progress, checkpoint.
func (d *download) wrote() error {
	off := d.sink.off
	if off >= d.st.Mark+refillBytes {
		d.st.Mark, d.st.Failures = off, 0
	}
	d.progress(off)
	last := d.st.Bytes
	if d.saving != nil {
		last = d.saved.Bytes
	}
	if off-last >= d.f.opt.CheckpointEvery && off != d.st.Total {
		return d.beginSave()
	}
	return nil
}

func (d *download) progress(done int64) {
	if d.req.Progress != nil && done > d.told {
		d.told = done
		d.req.Progress(done, d.st.Total)
	}
}

// finish makes the whole file durable.
func (d *download) finish() error {
	d.st.Total = d.sink.off
	return d.save()
}

// result describes the whole file.
func (d *download) result() Result {
	d.sink.settle()
	digests := d.sink.sums.hex()
	res := Result{
		Bytes: d.st.Total, SHA256: digests["sha256"], Digests: map[string]string{},
		ContentType: d.st.ContentType, FinalURL: d.st.FinalURL, Resumed: d.resumed,
	}
	for _, name := range d.req.Digests {
		res.Digests[name] = digests[name]
	}
	return res
}

// close ends what runs beside and closes the file. The outcome of a checkpoint
// still under way is of no interest any more, only its end is.
func (d *download) close() error {
	_ = d.endSave()
	return d.sink.close()
}

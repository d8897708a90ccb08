package fetch

// sink writes blocks to the file and digests them in a goroutine beside. All
// methods belong to one goroutine, that of Fetch.
type sink struct {
	file  File
	sums  *sums
	off   int64 // bytes written
	free  chan []byte
	work  chan block
	ended chan struct{}
}

// block is data to digest, or, with done set, a question whether all before it
// is digested.
type block struct {
	data []byte
	done chan struct{}
}

func newSink(file File, sums *sums, off int64) *sink {
	s := &sink{
		file: file, sums: sums, off: off,
		free: make(chan []byte, blocks), work: make(chan block, blocks), ended: make(chan struct{}),
	}
	for range blocks {
		s.free <- make([]byte, blockBytes)
	}
	go s.digest()
	return s
}

func (s *sink) digest() {
	defer close(s.ended)
	for b := range s.work {
		if b.done != nil {
			close(b.done)
			continue
		}
		s.sums.write(b.data)
		s.free <- b.data[:blockBytes]
	}
}

// buffer hands out a block to fill. It must go back by write or release.
func (s *sink) buffer() []byte { return <-s.free }

func (s *sink) release(buf []byte) { s.free <- buf[:blockBytes] }

// write appends data, which must be the start of a buffer, and takes it back.
// After an error the sink can only be closed.
func (s *sink) write(data []byte) error {
	// The buffer may come back to free while it is being written. That is
	// sound: only this goroutine takes from free, and not before it is done here.
	s.work <- block{data: data}
	if _, err := s.file.WriteAt(data, s.off); err != nil {
		return StorageError("write image", err)
	}
	s.off += int64(len(data))
	return nil
}

// settle waits until all data is digested; sums may be used until the next
// write.
func (s *sink) settle() {
	done := make(chan struct{})
	s.work <- block{done: done}
	<-done
}

// restart empties the file.
func (s *sink) restart() error {
	s.settle()
	if err := s.file.Truncate(0); err != nil {
		return StorageError("empty image file", err)
	}
	s.sums.reset()
	s.off = 0
	return nil
}

func (s *sink) close() error {
	close(s.work)
	<-s.ended
	return s.file.Close()
}

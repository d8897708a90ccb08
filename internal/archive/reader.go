package archive

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"github.com/go-faster/jx"
)

// Reader reads a file, row by row, in constant memory.
type Reader struct {
	in     *bufio.Reader
	sum    hash.Hash
	header Header
	counts []Table
	at     int // the table rows are of

	number int // of the line
	line   []byte
	row    Row
	dec    jx.Decoder
	again  jx.Writer
	end    error // io.EOF once the trailer was right
}

// Row is one row. The Reader uses it again for the next one.
type Row struct {
	Table   string
	Columns []string
	Values  []any // nil, bool, int64 or string
}

// NewReader reads the header. The error is ErrForeign, ErrNewer, ErrDamaged or
// what reading r answered.
func NewReader(r io.Reader) (*Reader, error) {
	zip, err := gzip.NewReader(r)
	switch {
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, ErrForeign
	case err != nil:
		return nil, fmt.Errorf("read file: %w", err)
	}
	ar := &Reader{in: bufio.NewReaderSize(zip, 64<<10), sum: sha256.New()}
	if err := ar.read(); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(ar.line, &ar.header); err != nil {
		return nil, ErrForeign
	}
	if err := ar.header.check(); err != nil {
		return nil, err
	}
	ar.counts = make([]Table, len(ar.header.Tables))
	for i, t := range ar.header.Tables {
		ar.counts[i].Name = t.Name
	}
	ar.sum.Write(ar.line)
	return ar, nil
}

// Header is the first line.
func (r *Reader) Header() Header { return r.header }

// Next reads one row. The error is io.EOF after the last one, when the whole
// file has proved to be as it was written; no row counts before that. Any
// other error is one of NewReader's, and stays.
func (r *Reader) Next() (*Row, error) {
	if r.end != nil {
		return nil, r.end
	}
	more, err := r.next()
	switch {
	case err != nil:
		r.end = err
	case !more:
		r.end = io.EOF
	}
	return &r.row, r.end
}

func (r *Reader) next() (more bool, err error) {
	if err := r.read(); err != nil {
		return false, err
	}
	if !bytes.HasPrefix(r.line, []byte(`{"table":`)) {
		return false, r.finish()
	}
	r.sum.Write(r.line)
	if err := r.decode(r.line[:len(r.line)-1]); err != nil {
		return false, damaged("line %d is no row", r.number)
	}
	for r.at < len(r.counts) && r.counts[r.at].Name != r.row.Table {
		r.at++
	}
	if r.at == len(r.counts) {
		return false, damaged("line %d has a row of table %s, which does not belong there", r.number, r.row.Table)
	}
	r.counts[r.at].Rows++
	return true, nil
}

// read reads the next line, with its end, into r.line.
func (r *Reader) read() error {
	r.line = r.line[:0]
	r.number++
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.line)+len(part) > maxLine {
			return damaged("line %d is longer than any row", r.number)
		}
		r.line = append(r.line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r.readError(err)
		}
	}
}

// readError says whether the file ended, was altered, or could not be read.
func (r *Reader) readError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return damaged("it ends in line %d", r.number)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return damaged("it cannot be unpacked from line %d on", r.number)
	}
	return fmt.Errorf("read file: %w", err)
}

// decode reads the line of a row into r.row. It accepts what encodeRow would
// have written, to the byte.
func (r *Reader) decode(line []byte) error {
	r.dec.ResetBytes(line)
	row := &r.row
	row.Values = row.Values[:0]
	at := 0
	err := r.dec.ObjBytes(func(d *jx.Decoder, key []byte) error {
		at++
		switch {
		case at == 1 && string(key) == "table":
			name, err := d.StrBytes()
			if err == nil && string(name) != row.Table {
				row.Table, row.Columns = string(name), nil
			}
			return err
		case at == 2 && string(key) == "row":
			return d.ObjBytes(row.column)
		}
		return errNoRow
	})
	if err != nil {
		return err
	}
	row.Columns = row.Columns[:len(row.Values)]
	r.again.Reset()
	if err := encodeRow(&r.again, row.Table, row.Columns, row.Values); err != nil {
		return err
	}
	if !bytes.Equal(r.again.Buf, line) {
		return errNoRow
	}
	return nil
}

// column reads one more column. The names are those of the row before, mostly.
func (row *Row) column(d *jx.Decoder, name []byte) error {
	i := len(row.Values)
	if i == len(row.Columns) {
		row.Columns = append(row.Columns, string(name))
	} else if row.Columns[i] != string(name) {
		row.Columns = append(append([]string(nil), row.Columns[:i]...), string(name))
	}
	v, err := decodeValue(d)
	row.Values = append(row.Values, v)
	return err
}

// errNoRow is a line that is no row, or not as rows are written.
var errNoRow = errors.New("no row")

func decodeValue(d *jx.Decoder) (any, error) {
	switch d.Next() {
	case jx.Null:
		return nil, d.Null()
	case jx.Bool:
		return d.Bool()
	case jx.Number:
		n, err := d.Num()
		if err != nil {
			return nil, err
		}
		return strconv.ParseInt(n.String(), 10, 64)
	case jx.String:
		return d.Str()
	}
	return nil, errNoRow
}

// finish holds the trailer in r.line to what was read, and that nothing
// follows.
func (r *Reader) finish() error {
	var t trailer
	dec := json.NewDecoder(bytes.NewReader(r.line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return damaged("line %d is neither a row nor the end", r.number)
	}
	switch {
	case t.SHA256 != hex.EncodeToString(r.sum.Sum(nil)):
		return damaged("its checksum is not that of its lines")
	case !sameCounts(t.Tables, r.counts), !sameCounts(r.header.Tables, r.counts):
		return damaged("its rows are not as many as it says")
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return damaged("something follows its end")
	case !errors.Is(err, io.EOF):
		return r.readError(err)
	}
	return nil
}

package libvirt

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

// made makes a packet.
func made(kind, serial, state uint32, content string) packet {
	p := append(make(packet, packetHead), content...)
	binary.BigEndian.PutUint32(p, uint32(len(p)))
	binary.BigEndian.PutUint32(p[16:], kind)
	binary.BigEndian.PutUint32(p[20:], serial)
	binary.BigEndian.PutUint32(p[24:], state)
	return p
}

// TestOrderOfPackets: whatever a server sends ahead of its answer to a transfer's
// call and after the transfer's end, and however it arrives, the library sees the
// answer first and the end last.
func TestOrderOfPackets(t *testing.T) {
	const event, ok, failed = 2, 0, 1
	var (
		opened = made(typeReply, 1, ok, "opened")
		told   = made(event, 0, ok, "an event")
		answer = made(typeReply, 2, ok, "answer")
		some   = made(typeStream, 2, stateContinue, "some")
		more   = made(typeStream, 2, stateContinue, "more")
	)
	for name, end := range map[string]packet{
		"empty": made(typeStream, 2, stateContinue, ""), "confirmed": made(typeStream, 2, ok, ""), "broken off": made(typeStream, 2, failed, "why"),
	} {
		want := bytes.Join([][]byte{opened, told, answer, some, more, end}, nil)
		for order, sent := range map[string][][]byte{
			"in order":    {opened, told, answer, some, more, end},
			"early":       {opened, some, told, answer, more, end},
			"early whole": {opened, some, more, end, told, answer},
			"too much":    {opened, told, answer, some, more, end, made(typeStream, 2, failed, "the source is gone"), made(typeStream, 2, ok, "")},
			"both":        {opened, some, more, end, end, told, answer, end},
		} {
			for how, shape := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader, "with its end": iotest.DataErrReader,
			} {
				t.Run(name+"/"+order+"/"+how, func(t *testing.T) {
					w := newWire(from{r: shape(bytes.NewReader(bytes.Join(sent, nil)))})
					got, err := io.ReadAll(w)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("got %q, %v\nwant %q", got, err, want)
					}
					select {
					case <-w.lost:
					default:
						t.Error("the end is not noticed")
					}
				})
			}
		}
	}
}

// TestNoPacket: what is no packet ends the connection.
func TestNoPacket(t *testing.T) {
	for name, sent := range map[string][]byte{"short": {0, 0, 0, 5, 1}, "long": {255, 255, 255, 255, 1}, "cut": made(typeReply, 1, 0, "answer")[:30]} {
		w := newWire(from{r: bytes.NewReader(sent)})
		if got, err := io.ReadAll(w); err == nil || len(got) > 0 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// from is a connection that reads from elsewhere.
type from struct {
	net.Conn
	r io.Reader
}

func (f from) Read(p []byte) (int, error) { return f.r.Read(p) }

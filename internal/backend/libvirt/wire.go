package libvirt

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// wire is the network connection under one of libvirt's. lost closes when it is
// gone, whoever noticed: the library's own sign of that is written and read
// without a lock while it connects.
//
// Packets are handed on in the order that the library can bear. libvirt may send
// the first content of a transfer ahead of its answer to the call, which the
// library would take for the answer; and more than one packet at its end, when
// the library holds a lock for ever to deliver what nobody takes.
type wire struct {
	net.Conn
	once sync.Once
	lost chan struct{}
	in   packets // of the reader
}

func newWire(c net.Conn) *wire {
	return &wire{Conn: c, lost: make(chan struct{}), in: packets{from: bufio.NewReaderSize(c, 64<<10)}}
}

func (w *wire) gone() { w.once.Do(func() { close(w.lost) }) }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.in.Read(p)
	if err != nil {
		w.gone()
	}
	return n, err
}

func (w *wire) Close() error {
	w.gone()
	return w.Conn.Close()
}

// packet is one of libvirt's protocol. Its head is the whole length, program,
// version, procedure, type, serial and status, four bytes each.
type packet []byte

const (
	packetHead = 28
	packetMost = 64 << 20 // libvirt's own limit is 32 MiB

	typeReply     = 1
	typeStream    = 3
	stateContinue = 2
)

func (p packet) word(at int) uint32 { return binary.BigEndian.Uint32(p[at:]) }
func (p packet) kind() uint32       { return p.word(16) }
func (p packet) serial() uint32     { return p.word(20) }

// ends reports whether p is the last of a transfer.
func (p packet) ends() bool {
	return p.kind() == typeStream && (p.word(24) != stateContinue || len(p) == packetHead)
}

// packets reads them, on a connection that makes one transfer at most.
type packets struct {
	from     *bufio.Reader
	next     []byte   // what is left of those to hand on
	early    []packet // of the transfer, whose call has not been answered yet
	answered uint32   // the serial of the last answer
	over     bool     // the transfer has ended
}

func (s *packets) Read(p []byte) (int, error) {
	for len(s.next) == 0 {
		got, err := s.read()
		if err != nil {
			return 0, err
		}
		s.take(got)
	}
	n := copy(p, s.next)
	s.next = s.next[n:]
	return n, nil
}

func (s *packets) read() (packet, error) {
	head, err := s.from.Peek(4)
	if err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < packetHead || length > packetMost {
		return nil, fmt.Errorf("a packet of %d bytes", length)
	}
	p := make(packet, length)
	_, err = io.ReadFull(s.from, p)
	return p, err
}

// take decides on one packet.
func (s *packets) take(p packet) {
	switch {
	case p.kind() == typeStream && p.serial() != s.answered:
		s.early = append(s.early, p)
	case p.kind() == typeStream:
		s.hand(p)
	case p.kind() == typeReply:
		s.answered = p.serial()
		s.next = p
		early := s.early
		s.early = nil
		for _, e := range early {
			s.take(e)
		}
	default:
		s.next = p
	}
}

// hand passes a packet of the transfer on.
func (s *packets) hand(p packet) {
	if !s.over {
		s.next = append(s.next, p...)
		s.over = p.ends()
	}
}

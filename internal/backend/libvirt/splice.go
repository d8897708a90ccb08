package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// element is where one element lies in an XML text.
type element struct {
	path       string // the names from the root to it, joined by "/"
	attrs      []xml.Attr
	start, end int // text[start:end] is the element
	inner      int // where its content begins
	tail       int // where its content ends
}

// attr is the value of the attribute, "" without.
func (e element) attr(name string) string {
	for _, a := range e.attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// elements finds every element of the text, in the order in which they begin.
// libvirt's documents are edited as text, since no reader of ours knows all that
// an operator may have put into them, and what is not known must not be lost.
func elements(text string) ([]element, error) {
	var (
		all  []element
		open []int
		dec  = xml.NewDecoder(strings.NewReader(text))
	)
	for {
		before := int(dec.InputOffset())
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			if len(open) > 0 {
				return nil, fmt.Errorf("the element %s does not end", all[open[0]].path)
			}
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			path := t.Name.Local
			if len(open) > 0 {
				path = all[open[len(open)-1]].path + "/" + path
			}
			open = append(open, len(all))
			all = append(all, element{path: path, attrs: slices.Clone(t.Attr), start: before, inner: int(dec.InputOffset())})
		case xml.EndElement:
			if len(open) == 0 {
				return nil, fmt.Errorf("the element %s ends before it begins", t.Name.Local)
			}
			e := &all[open[len(open)-1]]
			e.tail, e.end = before, int(dec.InputOffset())
			open = open[:len(open)-1]
		}
	}
}

// edit replaces text[from:to].
type edit struct {
	from, to int
	text     string
}

// apply makes edits that do not overlap.
func apply(text string, edits []edit) string {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(text[at:e.from])
		b.WriteString(e.text)
		at = e.to
	}
	b.WriteString(text[at:])
	return b.String()
}

// quoted is s as an attribute's value.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	b.WriteByte('"')
	return b.String()
}

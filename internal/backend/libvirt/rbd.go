package libvirt

import (
	"context"
	"fmt"
	"strings"

	"github.com/drivebay/drivebay/internal/backend"
)

// rbdSource is what a guest needs to reach a pool of Ceph's, as the pool's own
// definition has it.
type rbdSource struct {
	Name  string `xml:"name"`
	Hosts []struct {
		Name string `xml:"name,attr"`
		Port string `xml:"port,attr"`
	} `xml:"host"`
	Auth *struct {
		Type     string `xml:"type,attr"`
		Username string `xml:"username,attr"`
		Secret   struct {
			UUID  string `xml:"uuid,attr"`
			Usage string `xml:"usage,attr"`
		} `xml:"secret"`
	} `xml:"auth"`
}

// xml is the source element of a disk that connects to the image.
func (s *rbdSource) xml(image string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<source protocol='rbd' name=%s>", quoted(s.Name+"/"+image))
	for _, h := range s.Hosts {
		fmt.Fprintf(&b, "<host name=%s", quoted(h.Name))
		if h.Port != "" {
			fmt.Fprintf(&b, " port=%s", quoted(h.Port))
		}
		b.WriteString("/>")
	}
	if a := s.Auth; a != nil {
		fmt.Fprintf(&b, "<auth username=%s><secret type='ceph'", quoted(a.Username))
		if a.Secret.UUID != "" {
			fmt.Fprintf(&b, " uuid=%s", quoted(a.Secret.UUID))
		} else {
			fmt.Fprintf(&b, " usage=%s", quoted(a.Secret.Usage))
		}
		b.WriteString("/></auth>")
	}
	b.WriteString("</source>")
	return b.String()
}

// rbdBusy says what a refused delete of an image came from. Ceph deletes no
// image that somebody watches or that has snapshots; libvirt's text for it tells
// of a missing file.
func (p *pool) rbdBusy(ctx context.Context, f *file, cause error) error {
	there, err := p.find(ctx, f.ref.Name)
	switch {
	case err != nil:
		return err
	case there == nil:
		return nil
	}
	return backend.ErrHeld.Because(cause)
}

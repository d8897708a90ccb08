package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// TestRandomRequests sends requests that are half right to the whole server.
// Whatever comes, it answers JSON in the shape of the contract, never a 5xx,
// and what it accepts leaves the folder in order.
func TestRandomRequests(t *testing.T) {
	needBinary(t)
	t.Parallel()
	o := newOrigin(t)
	links := []string{o.serve("/image.iso", newImage("IMAGE", 256<<10, true)), o.serve("/data.iso", newImage("DATA", 256<<10, false)), o.URL + "/none"}
	s := startDemo(t, allow, "--rate-limit=0", "--rate-limit-anonymous=0", "--log-level=warn")
	source, each := random(t), max(3000, 250*rounds(t))/4
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var workers sync.WaitGroup
	var generators []*generator
	for range 4 {
		g := newGenerator(t, rand.New(rand.NewPCG(source.Uint64(), source.Uint64())), s.demo, links)
		generators = append(generators, g)
		c := s.client()
		c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		workers.Go(func() {
			for n := 0; n < each && ctx.Err() == nil; n++ {
				r := g.request()
				if wrong := r.send(ctx, c, g); wrong != "" && ctx.Err() == nil {
					t.Errorf("%v\n%s", r, wrong)
					cancel() // one is enough to look at
				}
			}
		})
	}
	workers.Wait()
	checkReach(t, generators, each)
	s.mustLive()
	if a := get(t, http.DefaultClient, s.demo.URL+"/readyz"); a.status != http.StatusOK {
		t.Errorf("afterwards the server is not ready: %v", a)
	}
	if log := tail(s.log, 1<<20); strings.Contains(log, "level=ERROR") {
		t.Error("the server logged errors")
	}
	s.endUploads()
	s.settle()
	check(t, s.dir)
}

// endUploads deletes the ISOs whose bytes nobody sends, which would wait for a day.
func (s *server) endUploads() {
	s.t.Helper()
	c := open(s.t, s.dir)
	defer c.db.Close()
	for _, id := range rows(c, func(id *string) []any { return []any{id} }, `SELECT id FROM iso WHERE upload <> '' AND state <> 'deleting'`) {
		a := s.client().do(http.MethodDelete, "/vps/iso/"+id, nil)
		if a.status == http.StatusNotFound {
			a = newClient(s.t, s.demo.URL, s.demo.Other.APIKey).do(http.MethodDelete, "/vps/iso/"+id, nil)
		}
		// A delete that is under way refuses another, and may be over by now.
		if a.status != http.StatusCreated && a.status != http.StatusNotFound && a.status != http.StatusConflict {
			s.t.Errorf("the end of an upload: %v", a)
		}
	}
}

// checkReach holds that the requests got behind the door: most operations have
// answered one with success, and refused one. A short run gets less far.
func checkReach(t *testing.T, generators []*generator, each int) {
	t.Helper()
	done, refused, all := map[string]bool{}, map[string]bool{}, len(generators[0].ops)
	for _, g := range generators {
		maps.Copy(done, g.done)
		maps.Copy(refused, g.refused)
	}
	t.Logf("of %d operations %d had a success and %d a refusal", all, len(done), len(refused))
	most := all * 2 / 3
	far := most
	if each < 10_000 {
		far = all / 2
	}
	if !t.Failed() && (len(done) < far || len(refused) < most) {
		t.Errorf("only %q had a success and %q a refusal", slices.Sorted(maps.Keys(done)), slices.Sorted(maps.Keys(refused)))
	}
}

// wild is a request that was made up.
type wild struct {
	op             string // the operation it nearly is
	method, target string
	header         http.Header
	body           string
}

func (r wild) String() string {
	return fmt.Sprintf("%s %.500s\n%.1000q\n%.1000q", r.method, r.target, r.header, r.body)
}

// maxBody is the longest body the server reads.
const maxBody = 1 << 20

// send sends r and says what is wrong with the answer, "" if nothing is.
func (r wild) send(ctx context.Context, c *client, g *generator) (wrong string) {
	req, err := http.NewRequestWithContext(ctx, r.method, strings.TrimSuffix(c.url, "/api/v2")+r.target, strings.NewReader(r.body))
	if err != nil {
		return "" // what cannot be sent cannot be asked
	}
	req.Header = r.header
	a, err := c.send(req)
	if err != nil {
		if len(r.body) > maxBody {
			return "" // the server need not read it to its end
		}
		return "no answer: " + err.Error()
	}
	g.learn(r.op, a)
	return judge(r.method, a)
}

// judge says what is wrong with an answer, whatever the request was.
func judge(method string, a answer) string {
	switch {
	case a.status >= 500 || a.status >= 300 && a.status < 400:
		return a.String()
	case a.header.Get("X-Request-Id") == "":
		return "an answer without X-Request-Id: " + a.String()
	case a.status >= 400:
		if diff := isShape(method, a); diff != "" {
			return diff + ": " + a.String()
		}
	case a.status == http.StatusNoContent || method == http.MethodHead:
	case !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || !json.Valid(a.body):
		return "no JSON: " + a.String()
	case !utf8.Valid(a.body):
		return "no UTF-8: " + a.String()
	}
	return ""
}

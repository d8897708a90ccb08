package cli

import (
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/drivebay/drivebay/client"
)

// findTerminals finds out which of the streams are terminals.
func (s *shell) findTerminals() {
	is := func(stream any) (int, bool) {
		f, ok := stream.(*os.File)
		if !ok {
			return 0, false
		}
		return int(f.Fd()), term.IsTerminal(int(f.Fd()))
	}
	_, s.typed = is(s.in)
	_, s.live = is(s.err)
	s.live = s.live && s.getenv("TERM") != "dumb"
	if fd, ok := is(s.out); ok {
		if width, _, err := term.GetSize(fd); err == nil {
			s.width = width
		}
	}
}

// progress tells a person how something gets on: a bar on a terminal that is
// redrawn, else a line for each news.
type progress struct {
	s     *shell
	what  string
	bar   *progressbar.ProgressBar
	bytes int64 // the bar counts up to so many bytes; 0: it counts percent
	said  string
}

func (s *shell) newProgress(what string) *progress { return &progress{s: s, what: what} }

// task shows a task.
func (p *progress) task(t client.Task) {
	if t.Ended() {
		return // the command tells
	}
	p.news(t.Progress, t.Message, 0, 0)
}

// iso shows an import.
func (p *progress) iso(i client.ISO) {
	if i.Ready || i.Reason != "" {
		return
	}
	var percent int
	if _, err := fmt.Sscanf(i.Status, "%d%% ", &percent); err != nil {
		p.news(0, i.Status, 0, 0) // it is being verified, or waits
		return
	}
	percent = max(0, min(percent, 100))
	p.news(percent, i.Status, i.SizeBytes*int64(percent)/100, i.SizeBytes)
}

// news shows percent and message; of a number of bytes, where total is not 0.
func (p *progress) news(percent int, message string, done, total int64) {
	if p.s.format == formatJSON {
		return
	}
	if !p.s.live {
		if now := fmt.Sprintf("%d%% %s", percent, message); message != "" && now != p.said {
			p.s.say("%s: %s", p.what, now)
			p.said = now
		}
		return
	}
	if p.bar == nil || total != p.bytes {
		p.end()
		p.bar, p.bytes = p.s.newBar(total), total
	}
	if total > 0 {
		p.bar.Describe("importing")
		_ = p.bar.Set64(min(done, total-1)) // a bar that is full ends
		return
	}
	p.bar.Describe(cut(clean(message), longestMessage))
	_ = p.bar.Set(min(max(percent, 0), 99))
}

const (
	barWidth       = 18 // with all that stands beside it, 80 columns
	longestMessage = 22
)

func (s *shell) newBar(bytes int64, more ...progressbar.Option) *progressbar.ProgressBar {
	most := int64(100)
	opts := []progressbar.Option{
		progressbar.OptionSetWriter(s.err), progressbar.OptionSetWidth(barWidth), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(true), progressbar.OptionUseANSICodes(true),
	}
	if bytes > 0 {
		most = bytes
		opts = append(opts, progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowCount())
	}
	return progressbar.NewOptions64(most, append(opts, more...)...)
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear() // a terminal that is gone: nobody looks
		p.bar = nil
	}
}

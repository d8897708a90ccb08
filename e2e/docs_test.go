package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/api"
	"github.com/drivebay/drivebay/e2e/built"
	"github.com/drivebay/drivebay/internal/testneed"
)

// The documents' commands run as they are written: only the port, the paths
// and the address of the image are replaced.

// shell is one interactive shell, fed line by line as a person does. Of each
// curl it notes the status.
type shell struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// marker stands behind what a line has printed.
const marker = "@@end-of-line@@"

func newShell(t *testing.T, dir string, env ...string) *shell {
	t.Helper()
	for _, tool := range []string{"sh", "curl", "sed"} {
		_, err := exec.LookPath(tool)
		testneed.Need(t, tool, err == nil, tool+" is not installed")
	}
	cmd := exec.CommandContext(within(t, 5*patience), "sh")
	cmd.Dir, cmd.Env = dir, append(built.Env(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // the lines told what went wrong
	})
	s := &shell{t: t, in: in, out: bufio.NewScanner(out)}
	s.out.Buffer(nil, 16<<20)
	s.run(`curl() { command curl -w '%{stderr}status %{http_code}\n' "$@"; }`)
	return s
}

var statusLine = regexp.MustCompile(`(?m)^(.*)status ([0-9]{3})$`)

// run feeds one line and returns what it printed and the statuses of its curls.
func (s *shell) run(line string) (text string, statuses []string) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\nprintf '\\n%s %%s\\n' $?\n", line, marker); err != nil {
		s.t.Fatal(err)
	}
	var all strings.Builder
	for s.out.Scan() {
		rest, ended := strings.CutPrefix(s.out.Text(), marker)
		if !ended {
			all.WriteString(s.out.Text() + "\n")
			continue
		}
		if rest != " 0" {
			s.t.Errorf("%s\nended with%s:\n%s", line, rest, all.String())
		}
		for _, m := range statusLine.FindAllStringSubmatch(all.String(), -1) {
			statuses = append(statuses, m[2])
		}
		return strings.TrimSpace(statusLine.ReplaceAllString(all.String(), "$1")), statuses
	}
	s.t.Fatalf("%s\nended the shell: %v", line, s.out.Err())
	return "", nil
}

// blocks returns the code blocks of a document: fenced as lang, or, for "",
// indented by four spaces.
func blocks(t *testing.T, path, lang string) [][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	inside := false
	for _, line := range strings.Split(string(b), "\n") {
		code, is := strings.CutPrefix(line, "    ")
		if lang != "" {
			if strings.HasPrefix(line, "```") {
				inside = line == "```"+lang
				if inside {
					out = append(out, nil)
				}
				continue
			}
			code, is = line, inside
		}
		switch {
		case is && lang == "" && !inside:
			out, inside = append(out, []string{code}), true
		case is:
			out[len(out)-1] = append(out[len(out)-1], code)
		case lang == "" && strings.TrimSpace(line) != "":
			inside = false
		}
	}
	return out
}

// freePort is a port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := testneed.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// TestREADME pastes every sh block of the README.
func TestREADME(t *testing.T) {
	needBinary(t)
	t.Parallel()
	o := newOrigin(t)
	link := o.serve("/netboot.xyz.iso", newImage("NETBOOT", 1<<20, true))
	port := freePort(t)
	s := newServer(t, "--demo")
	s.work = t.TempDir()
	s.dir = filepath.Join(s.work, "drivebay-data")
	s.args = []string{"serve", "--demo", "--listen", "127.0.0.1:" + port, allow}
	s.start()
	s.awaitDemo()
	c := s.client()
	sh := newShell(t, s.work)
	isoID, lines, curls := "", 0, 0
	for _, block := range blocks(t, "README.md", "sh") {
		for _, line := range block {
			if line == "" {
				continue
			}
			lines++
			line = strings.ReplaceAll(line, ":8080", ":"+port)
			line = strings.ReplaceAll(line, "https://boot.netboot.xyz/ipxe/netboot.xyz.iso", link)
			line = strings.ReplaceAll(line, "the isoId from above", isoID)
			text, statuses := sh.run(line)
			for _, code := range statuses {
				curls++
				if code[0] != '2' {
					t.Fatalf("%s\nanswers %s %s", line, code, text)
				}
			}
			isoID = settle(c, isoID)
		}
	}
	if lines < 14 || curls < 13 {
		t.Errorf("the README has %d lines with %d curls, want its ten and those of the ISO", lines, curls)
	}
	checkREADME(t, c, isoID)
	check(t, s.dir)
}

// settle waits as a person does who looks at the answer before typing on: for
// the device's newest task and the import. It returns the id of the ISO.
func settle(c *client, isoID string) string {
	c.t.Helper()
	a := c.do("GET", "/network/status/1001", nil)
	if a.status == http.StatusOK {
		testneed.Eventually(c.t, "the end of the device's newest task", func() bool {
			var task api.Task
			c.want(http.StatusOK, "GET", "/network/status/1001", nil, &task)
			return task.Result != api.TaskResultPending
		})
	}
	var list []api.ISO
	c.want(http.StatusOK, "GET", "/vps/iso?facilityCode=TPA1", nil, &list)
	if len(list) == 0 {
		return isoID
	}
	c.ended(*list[0].TaskID)
	return list[0].ISOID
}

// checkREADME holds that the lines did what the text says.
func checkREADME(t *testing.T, c *client, isoID string) {
	t.Helper()
	var tasks []api.Task
	c.want(http.StatusOK, "GET", "/network/status/", nil, &tasks)
	var did []string
	for _, task := range tasks {
		did = append(did, metaOf(t, task).Action+" "+string(task.Result))
	}
	want := []string{
		"iso.detach Success", "iso.attach Success", "iso.create Success",
		"volume.delete Success", "volume.resize Success", "volume.create Success",
	}
	if got := did[:min(len(did), len(want))]; strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the tasks are %q, want them to begin with %q", did, want)
	}
	if iso := c.iso(isoID); !iso.Ready || !zero(iso.BIOS) {
		t.Errorf("the ISO is %+v", iso)
	}
	var services []api.Service
	c.want(http.StatusOK, "GET", "/service/", nil, &services)
	if len(services) != 1 || services[0].Status != "cancelled" || services[0].ServiceCost != 10 {
		t.Errorf("services: %+v, want one, of 10.00 a month, cancelled", services)
	}
}

// TestInstallGuide pastes the commands of the install guide.
func TestInstallGuide(t *testing.T) {
	needBinary(t)
	t.Parallel()
	work := t.TempDir()
	if err := os.Mkdir(filepath.Join(work, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(work, "bin", "drivebay")); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	s := newServer(t)
	replace := strings.NewReplacer(":8080", ":"+port, "/var/lib/drivebay", s.dir)
	text := blocks(t, "docs/guide/install.md", "")
	if len(text) < 2 || len(text[0]) != 2 || text[0][0] != "make build" {
		t.Fatalf("the guide does not begin with a build and a start: %q", text)
	}
	words := strings.Fields(replace.Replace(text[0][1]))
	s.work, s.args = work, words[1:]
	s.start()
	url := s.awaitURL()
	key := s.firstKey()
	sh := newShell(t, work)
	said := map[string]string{}
	for _, block := range text[1:] {
		for _, line := range block {
			if line != "" {
				out, _ := sh.run(replace.Replace(line))
				said[line] = out
			}
		}
	}
	s.checkInstalled(url, key, said)
	if code := s.stop(); code != 0 {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	s.start()
	s.awaitURL()
	if again := s.firstKey(); again != key {
		t.Errorf("the second start made another first key")
	}
	check(t, s.dir)
}

// firstKey reads the operator's key that the first start left.
func (s *server) firstKey() string {
	s.t.Helper()
	path := filepath.Join(s.dir, "admin.key")
	info, err := os.Stat(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		s.t.Errorf("admin.key has mode %v", info.Mode())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	key := strings.TrimSpace(string(b))
	if strings.Contains(s.out.String(), key) || strings.Contains(tail(s.log, 1<<20), key) {
		s.t.Error("the first key is in what the server says")
	}
	return key
}

// checkInstalled holds that the guide's commands made what they say.
func (s *server) checkInstalled(url, adminKey string, said map[string]string) {
	s.t.Helper()
	admin := newClient(s.t, url, adminKey)
	var devices []api.Device
	admin.want(http.StatusOK, "GET", "/admin/devices", nil, &devices)
	if len(devices) != 1 || zero(devices[0].Hostname) != "vps1" || devices[0].ClientID != 1 || devices[0].Status != "Running" {
		s.t.Fatalf("devices: %+v\nthe commands said %q", devices, said)
	}
	var key string
	for line, out := range said {
		if strings.Contains(line, " key create ") {
			key = regexp.MustCompile(`dbay_[a-z0-9]+_[a-z0-9]+`).FindString(out)
		}
	}
	c := newClient(s.t, url, key)
	c.newVolume(devices[0].DeviceID, 50)
	c.refused(http.StatusForbidden, "permission_missing", "GET", "/admin/keys", nil)
}

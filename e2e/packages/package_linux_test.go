package packages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/drivebay/drivebay/internal/testneed"

	_ "github.com/drivebay/drivebay/internal/app" // so that its tests run anew once the program has changed
	_ "github.com/drivebay/drivebay/internal/cli" // so that its tests run anew once the program has changed
)

const (
	older, olderDebian = "v0.9.0-rc.1", "0.9.0~rc.1"
	newer, newerDebian = "v0.9.0", "0.9.0"

	binary   = "/usr/bin/drivebay"
	settings = "/etc/drivebay/drivebay.yaml"
	data     = "/var/lib/drivebay"
	unit     = "/usr/lib/systemd/system/drivebay.service"
	wanted   = "/etc/systemd/system/multi-user.target.wants/drivebay.service"
)

func TestPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("nothing is built under -short")
	}
	testneed.Asked(t, "deb", "a release takes minutes to build")
	system := "linux/" + runtime.GOARCH
	testneed.Need(t, "deb", runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64", "there is no package for "+system)
	program := packager(t)
	first := pack(t, program, system, older)
	t.Run("same bytes", func(t *testing.T) {
		again := pack(t, program, system, older, "TZ=Asia/Tokyo", "LC_ALL=C", "GOFLAGS=-tags=x")
		if !bytes.Equal(first.sums(), again.sums()) {
			t.Errorf("the same commit gave\n%s\nand then\n%s", first.sums(), again.sums())
		}
	})
	t.Run("archive", func(t *testing.T) { tryArchive(t, first, system) })
	t.Run("life", func(t *testing.T) { live(t, first, pack(t, program, system, newer)) })
	t.Run("user", func(t *testing.T) { tryUsers(t, first) })
}

// tryArchive checks the sums, unpacks the archive and asks the binary who it is.
func tryArchive(t *testing.T, b built, system string) {
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = b.dir
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != 2 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	to := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xzf", b.file(".tar.gz"), "-C", to, "--strip-components=1").CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v %s", err, out)
	}
	for _, name := range []string{"LICENSE", "README.md", "drivebay.example.yaml"} {
		got, err := os.ReadFile(filepath.Join(to, name))
		want, err2 := os.ReadFile(filepath.Join("../..", name))
		if err != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %v; is it as in the repository: %v", name, err, err2, bytes.Equal(got, want))
		}
	}
	for name, has := range map[string]string{
		"man/drivebay-volume-create.1": ".TH", "completions/drivebay.bash": "__start_drivebay", "completions/_drivebay": "#compdef drivebay",
		"completions/drivebay.fish": "complete", "completions/drivebay.ps1": "Register-ArgumentCompleter",
	} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || !bytes.Contains(got, []byte(has)) {
			t.Errorf("%s: %v; it should have %q", name, err, has)
		}
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(to, "drivebay"), "version", "-o", "json").Output()
	var says struct{ Version, Commit, Platform string }
	if err == nil {
		err = json.Unmarshal(out, &says)
	}
	if err != nil || says.Version != older || says.Platform != system || !regexp.MustCompile(`^[0-9a-f]{12}(\+changes)?$`).MatchString(says.Commit) {
		t.Errorf("version says %s, %v", out, err)
	}
}

// live installs the package, runs its server, upgrades, removes and purges.
func live(t *testing.T, first, second built) {
	m := newMachine(t)
	// A machine may leave such files out when it installs a package.
	listed := m.run("dpkg-deb", "--contents", put(m, first))
	for _, name := range []string{
		"man/man1/drivebay-volume-create.1.gz", "bash-completion/completions/drivebay", "zsh/vendor-completions/_drivebay",
		"fish/vendor_completions.d/drivebay.fish",
	} {
		if !regexp.MustCompile(`(?m)^-rw-r--r-- root/root .* \./usr/share/` + regexp.QuoteMeta(name) + `$`).MatchString(listed) {
			t.Errorf("the package has no %s", name)
		}
	}
	m.run("dpkg", "--install", put(m, first))
	checkInstalled(m, olderDebian)
	checkUnit(m)
	serveOnce(m)

	changed := "# mine\nlisten: 127.0.0.1:8081\ndata_dir: /var/lib/drivebay\n"
	m.run("sh", "-c", `printf %s "$1" >"$0"`, settings, changed)
	m.run("dpkg", "--install", put(m, second))
	checkInstalled(m, newerDebian)
	if got := m.run("cat", settings); got != strings.TrimSpace(changed) {
		t.Errorf("the upgrade left the settings %q", got)
	}
	if got := m.run(binary, "version"); !strings.HasPrefix(got, "drivebay "+newer+" (") {
		t.Errorf("after the upgrade the version is %s", got)
	}
	if !m.there(data + "/admin.key") {
		t.Error("the upgrade lost the data")
	}

	if said := m.run("dpkg", "--remove", "drivebay"); !strings.Contains(said, data+" is kept") {
		t.Errorf("the removal does not say that data is kept: %s", said)
	}
	for name, want := range map[string]bool{binary: false, unit: false, settings: true, data + "/admin.key": true} {
		if got := m.there(name); got != want {
			t.Errorf("after a removal %s is there: %v, want %v", name, got, want)
		}
	}
	m.run("dpkg", "--purge", "drivebay")
	for _, name := range []string{settings, filepath.Dir(settings), data, wanted} {
		if m.there(name) {
			t.Errorf("after a purge %s is there", name)
		}
	}
	m.run("getent", "passwd", "drivebay")
	// What an earlier life left does not disturb the next.
	m.run("dpkg", "--install", put(m, first))
	checkInstalled(m, olderDebian)
}

// put copies the package to where dpkg finds it.
func put(m *machine, b built) string {
	m.t.Helper()
	data, err := os.ReadFile(b.file(".deb"))
	if err != nil {
		m.t.Fatal(err)
	}
	name := filepath.Base(b.file(".deb"))
	if err := os.WriteFile(m.path(name), data, 0o644); err != nil {
		m.t.Fatal(err)
	}
	return "/" + name
}

func checkInstalled(m *machine, version string) {
	m.t.Helper()
	m.modes(map[string]string{
		binary: "755 root:root", unit: "644 root:root", settings: "640 root:drivebay", data: "700 drivebay:drivebay",
		filepath.Dir(settings):                  "755 root:root",
		"/usr/share/doc/drivebay/copyright":     "644 root:root",
		"/usr/share/doc/drivebay/changelog.gz":  "644 root:root",
		"/usr/share/doc/drivebay/examples":      "755 root:root",
		"/usr/share/common-licenses/Apache-2.0": "644 root:root", // which copyright names
	})
	got := m.run("dpkg-query", "--show", "--showformat=${Status} ${Version}${Conffiles}", "drivebay")
	if !regexp.MustCompile(`^install ok installed ` + regexp.QuoteMeta(version) + `\s+` + settings + ` [0-9a-f]{32}$`).MatchString(got) {
		m.t.Errorf("dpkg has %q, want version %s and %s as its one settings file", got, version, settings)
	}
	if out := m.run("dpkg", "--verify", "drivebay"); out != "" && !strings.HasSuffix(out, " c "+settings) {
		m.t.Errorf("dpkg --verify: %s", out)
	}
	user := strings.Split(m.run("getent", "passwd", "drivebay"), ":")
	if user[5] != data || user[6] != "/usr/sbin/nologin" {
		m.t.Errorf("the user is %q", user)
	}
}

func checkUnit(m *machine) {
	m.t.Helper()
	if m.there("/usr/bin/deb-systemd-helper") && m.run("readlink", "--canonicalize", wanted) != unit {
		m.t.Errorf("the service is not enabled")
	}
	if !m.there("/usr/bin/systemd-analyze") {
		m.t.Log("systemd-analyze is not installed: the unit is not verified")
		return
	}
	if out := m.run("systemd-analyze", "--no-pager", "--man=no", "verify", unit); out != "" {
		m.t.Errorf("systemd-analyze says of the unit:\n%s", out)
	}
}

// serveOnce runs the server, uses it as docs/guide/install.md does, and stops it.
func serveOnce(m *machine) {
	m.t.Helper()
	s := m.serve()
	s.await("READY=1")
	uid := m.runsAs(s)
	rsp, err := http.Get(s.url + "/readyz")
	if err != nil {
		m.t.Fatal(err)
	}
	rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		m.t.Errorf("/readyz: %s", rsp.Status)
	}
	for _, words := range [][]string{
		{"ready"},
		{"facility", "set", "TPA1", "--title", "Tampa 1", "--city", "Tampa", "--state", "FL", "--country", "US"},
		{"facility", "list"},
	} {
		cmd := exec.CommandContext(m.t.Context(), m.path(binary), words...)
		cmd.Env = []string{"DRIVEBAY_URL=" + s.url, "DRIVEBAY_API_KEY_FILE=" + m.path(data+"/admin.key")}
		if out, err := cmd.CombinedOutput(); err != nil {
			m.t.Errorf("%s: %v %s", words, err, out)
		}
	}
	if err := s.stop(); err != nil {
		m.t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
	s.await("STOPPING=1")
	cmd := exec.CommandContext(m.t.Context(), m.path(binary), "ready", "--url", s.url)
	if out, err := cmd.CombinedOutput(); err == nil {
		m.t.Errorf("a stopped server is called ready: %s", out)
	}
	m.modes(map[string]string{data + "/admin.key": "600 drivebay:drivebay", data + "/drivebay.db": "600 drivebay:drivebay"})
	if uid == "0" {
		m.t.Error("the server ran as root")
	}
}

// runsAs returns the user of the server's process, and holds that it is the
// package's.
func (m *machine) runsAs(s *service) string {
	m.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		m.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^Uid:\t([0-9]+)\t`).FindSubmatch(status)
	users, err := os.ReadFile(m.path("etc/passwd"))
	if err != nil || found == nil || !bytes.Contains(users, []byte("\ndrivebay:x:"+string(found[1])+":")) {
		m.t.Fatalf("the server runs as %q, which is not drivebay in\n%s\n%v", found, users, err)
	}
	return string(found[1])
}

// tryUsers installs where only useradd makes users, and where nothing does.
func tryUsers(t *testing.T, b built) {
	m := newMachine(t)
	m.run("sh", "-c", "rm -f /usr/sbin/adduser")
	m.run("dpkg", "--force-depends", "--install", put(m, b))
	checkInstalled(m, olderDebian)

	m = newMachine(t)
	m.run("sh", "-c", "rm -f /usr/sbin/adduser /usr/sbin/useradd")
	if said := m.fails("dpkg", "--force-depends", "--install", put(m, b)); !strings.Contains(said, "neither adduser nor useradd") {
		t.Errorf("without a way to make users dpkg says %s", said)
	}
}

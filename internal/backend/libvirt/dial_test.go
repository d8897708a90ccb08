package libvirt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/libvirttest"
)

// front is a server before a libvirt's socket.
type front struct {
	l  net.Listener
	wg sync.WaitGroup
}

// serve hands each connection to handle, and ends with the test.
func serve(t testing.TB, handle func(net.Conn)) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	f := &front{l: l}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { defer c.Close(); handle(c) })
		}
	})
	t.Cleanup(func() { ok(t, l.Close()); f.wg.Wait() })
	return f
}

// join copies both ways until one end closes.
func join(a, b io.ReadWriteCloser) {
	var wg sync.WaitGroup
	for _, ends := range [][2]io.ReadWriteCloser{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(ends[0], ends[1])
			_, _ = a.Close(), b.Close()
		})
	}
	wg.Wait()
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	ok(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// works wants a driver to work over the URI, with an upload, which has a
// connection of its own.
func works(t *testing.T, uri string) {
	t.Helper()
	r := newRig(t, libvirttest.Shared(t))
	g := r.guest(t, 0, libvirttest.GuestOptions{Off: true})
	r.hosts[0].URI = uri
	d := r.open(t, Options{})
	ctx := t.Context()
	ok(t, d.EnsureVolume(ctx, backend.VolumeSpec{ID: "v", Bytes: testBytes, Ref: g.UUID}))
	ok(t, d.EnsureAttached(ctx, g.UUID, "v"))
	key := importISO(t, d, string(make([]byte, 5<<20)))
	ok(t, d.SetMedia(ctx, g.UUID, key, false))
	ok(t, d.SetMedia(ctx, g.UUID, "", false))
	ok(t, d.DeleteISO(ctx, key))
}

func TestSSH(t *testing.T) {
	libvirttest.Need(t)
	dir := t.TempDir()
	newKey := func(file string) ssh.Signer {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		ok(t, err)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		ok(t, err)
		writePEM(t, filepath.Join(dir, file), "PRIVATE KEY", der)
		signer, err := ssh.NewSignerFromKey(key)
		ok(t, err)
		return signer
	}
	server, mine := newKey("server"), newKey("mine")
	newKey("stranger")
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "operator" || !bytes.Equal(key.Marshal(), mine.PublicKey().Marshal()) {
			return nil, errors.New("a stranger")
		}
		return nil, nil
	}}
	config.AddHostKey(server)
	f := serve(t, func(c net.Conn) { toSockets(c, config) })
	addr := f.l.Addr().String()
	known := filepath.Join(dir, "known_hosts")
	ok(t, os.WriteFile(known, []byte(knownhosts.Line([]string{addr}, server.PublicKey())+"\n"), 0o600))
	uri := func(key, knownHosts, socket string) string {
		q := url.Values{"keyfile": {filepath.Join(dir, key)}, "known_hosts": {knownHosts}, "socket": {socket}}
		return "qemu+ssh://operator@" + addr + "/system?" + q.Encode()
	}
	socket := libvirttest.Shared(t).Socket
	t.Run("Works", func(t *testing.T) { works(t, uri("mine", known, socket)) })

	other := filepath.Join(dir, "others")
	ok(t, os.WriteFile(other, []byte(knownhosts.Line([]string{addr}, mine.PublicKey())+"\n"), 0o600))
	refused(t, uri("stranger", known, socket), uri("mine", other, socket), uri("mine", known, "/none"), uri("none", known, socket))
	t.Run("WithoutVerifying", func(t *testing.T) { works(t, uri("mine", other, socket)+"&no_verify=1") })
}

// toSockets is an SSH server that reaches sockets of this machine.
func toSockets(c net.Conn, config *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return // the client says why
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for n := range channels {
		var where struct {
			Path, Rest string
			Port       uint32
		}
		if n.ChannelType() != "direct-streamlocal@openssh.com" || ssh.Unmarshal(n.ExtraData(), &where) != nil {
			_ = n.Reject(ssh.UnknownChannelType, "no")
			continue
		}
		socket, err := net.Dial("unix", where.Path)
		if err != nil {
			_ = n.Reject(ssh.ConnectionFailed, "no such socket")
			continue
		}
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		go join(channel, socket)
	}
}

// refused wants no connection over any of the URIs.
func refused(t *testing.T, uris ...string) {
	t.Helper()
	for _, uri := range uris {
		u, err := checkURI(uri)
		ok(t, err)
		if _, w, err := open(u, dialLimit); err == nil {
			_ = w.Close()
			t.Errorf("connected over %s", uri)
		}
	}
}

func TestTLS(t *testing.T) {
	libvirttest.Need(t)
	pki, strangers := t.TempDir(), t.TempDir()
	newCert := func(dir, file string, serial int64, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ok(t, err)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: file}, NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: ca == nil, BasicConstraintsValid: true,
			KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if ca == nil {
			ca, caKey = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		ok(t, err)
		text, err := x509.MarshalPKCS8PrivateKey(key)
		ok(t, err)
		writePEM(t, filepath.Join(dir, file+"cert.pem"), "CERTIFICATE", der)
		writePEM(t, filepath.Join(dir, file+"key.pem"), "PRIVATE KEY", text)
		return c, key, der
	}
	ca, caKey, _ := newCert(pki, "ca", 1, nil, nil)
	_, serverKey, server := newCert(pki, "server", 2, ca, caKey)
	newCert(pki, "client", 3, ca, caKey)
	strangeCA, strangeKey, _ := newCert(strangers, "ca", 1, nil, nil)
	newCert(strangers, "client", 2, strangeCA, strangeKey)
	text, err := os.ReadFile(filepath.Join(pki, "cacert.pem"))
	ok(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	socket := libvirttest.Shared(t).Socket
	f := serve(t, func(c net.Conn) {
		s := tls.Server(c, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{server}, PrivateKey: serverKey}},
			ClientCAs:    pool, ClientAuth: tls.RequireAndVerifyClientCert,
		})
		if s.Handshake() != nil {
			return // the client says why
		}
		_, _ = s.Write([]byte{1}) // libvirt's word that it takes the client's certificate
		there, err := net.Dial("unix", socket)
		if err != nil {
			return
		}
		join(s, there)
	})
	uri := "qemu+tls://" + f.l.Addr().String() + "/system?pkipath="
	works(t, uri+pki)
	refused(t, uri+strangers, uri+strangers+"&no_verify=1", uri+filepath.Join(pki, "none"))
}

func TestRetryPause(t *testing.T) {
	for _, tt := range []struct {
		failed     int
		took, want time.Duration
	}{{0, 0, retryMin}, {1, 0, 2 * retryMin}, {1000, 0, retryMax}, {0, 10 * time.Second, 10 * time.Second}} {
		if got := retryPause(tt.failed, tt.took); got != tt.want {
			t.Errorf("after %d failures and %s: %s, want %s", tt.failed, tt.took, got, tt.want)
		}
	}
}

package libvirt

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshDialer reaches a host's libvirt through its SSH server, as a user with a
// key: one that is named, else those of the agent and of the user's folder.
type sshDialer struct {
	addr, user string
	socket     string // of libvirt, on the host
	keyFile    string // "" for the usual ones
	knownHosts string // "" for the user's
	noVerify   bool
}

func newSSH(u *url.URL, noVerify bool) *sshDialer {
	q := u.Query()
	return &sshDialer{
		addr: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "22")), user: u.User.Username(),
		socket:  cmp.Or(q.Get("socket"), "/var/run/libvirt/libvirt-sock"),
		keyFile: q.Get("keyfile"), knownHosts: q.Get("known_hosts"), noVerify: noVerify,
	}
}

// Dial returns the connection to libvirt; closing it closes all of it.
func (s *sshDialer) Dial() (net.Conn, error) {
	config, done, err := s.config()
	if err != nil {
		return nil, err
	}
	defer done()
	raw, err := net.DialTimeout("tcp", s.addr, dialLimit)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(dialLimit)) // a connection that has just been made takes it
	conn, channels, requests, err := ssh.NewClientConn(raw, s.addr, config)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	client := ssh.NewClient(conn, channels, requests)
	c, err := client.Dial("unix", s.socket)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reach %s there: %w", s.socket, err), client.Close())
	}
	_ = raw.SetDeadline(time.Time{})
	return &sshConn{c, client}, nil
}

// config is who we are and whom we believe. done is to be called after the
// handshake.
func (s *sshDialer) config() (config *ssh.ClientConfig, done func(), err error) {
	me, err := user.Current()
	if err != nil {
		return nil, nil, err
	}
	folder := filepath.Join(me.HomeDir, ".ssh")
	config = &ssh.ClientConfig{User: cmp.Or(s.user, me.Username), Timeout: dialLimit}
	if s.noVerify {
		config.HostKeyCallback = ssh.InsecureIgnoreHostKey()
	} else if config.HostKeyCallback, err = knownhosts.New(cmp.Or(s.knownHosts, filepath.Join(folder, "known_hosts"))); err != nil {
		return nil, nil, err
	}
	done = func() {}
	var signers []ssh.Signer
	files := []string{s.keyFile}
	if s.keyFile == "" {
		signers, done = agentSigners()
		files = []string{filepath.Join(folder, "id_ed25519"), filepath.Join(folder, "id_ecdsa"), filepath.Join(folder, "id_rsa")}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && s.keyFile == "" {
			continue
		}
		var key ssh.Signer
		if err == nil {
			key, err = ssh.ParsePrivateKey(text)
		}
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("key %s: %w", file, err)
		}
		signers = append(signers, key)
	}
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(signers...)}
	return config, done, nil
}

// agentSigners are the keys of the user's SSH agent, none without one. They work
// until done.
func agentSigners() (signers []ssh.Signer, done func()) {
	c, err := net.DialTimeout("unix", os.Getenv("SSH_AUTH_SOCK"), dialLimit)
	if err != nil {
		return nil, func() {}
	}
	signers, _ = agent.NewClient(c).Signers() // an agent that refuses has no keys
	return signers, func() { _ = c.Close() }
}

// sshConn is a connection through a server, with that to the server itself.
type sshConn struct {
	net.Conn
	client *ssh.Client
}

func (c *sshConn) Close() error { return errors.Join(c.Conn.Close(), c.client.Close()) }

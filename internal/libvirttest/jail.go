package libvirttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// jail is a shell that is the first process of namespaces of its own: what it
// starts ends with it, and it ends with the test process, however that ends.
// It obeys orders, one a line, and answers each with the same line.
type jail struct {
	shell  *exec.Cmd
	log    bytes.Buffer // whole once the shell has ended
	orders io.WriteCloser
	reply  *bufio.Reader
}

// newJail starts a script with a folder as its $1.
func newJail(script, dir string) (*jail, error) {
	j := &jail{shell: exec.Command("bash", "-c", script, "bash", dir)}
	j.shell.Stderr = &j.log
	j.shell.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	j.shell.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	orders, err := j.shell.StdinPipe()
	if err != nil {
		return nil, err
	}
	replies, err := j.shell.StdoutPipe()
	if err != nil {
		return nil, err
	}
	j.orders, j.reply = orders, bufio.NewReader(replies)
	if err := j.shell.Start(); err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	return j, nil
}

// order has the shell do one thing and returns when it is done.
func (j *jail) order(what string) error {
	if _, err := fmt.Fprintln(j.orders, what); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	line, err := j.reply.ReadString('\n')
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if strings.TrimSpace(line) != what {
		return fmt.Errorf("%s: it answers %q", what, line)
	}
	return nil
}

// end ends all that is in the namespaces, and with it what is mounted there.
// The error is what the shell complained of.
func (j *jail) end() error {
	_ = j.shell.Process.Kill() // it may have ended by itself
	_ = j.shell.Wait()         // killed
	if j.log.Len() > 0 {
		return fmt.Errorf("in a namespace: %s", &j.log)
	}
	return nil
}

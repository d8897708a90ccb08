package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// documents are the manual pages, and what completes words in each shell, both
// with the names that archives have for them.
type documents struct {
	manual, completions []file
	installed           map[string]string // where a package has each, and the file with it
}

// shells are those the program knows, with the files it writes for them.
var shells = []struct{ name, archive, debian string }{
	{"bash", "drivebay.bash", "/usr/share/bash-completion/completions/drivebay"},
	{"zsh", "_drivebay", "/usr/share/zsh/vendor-completions/_drivebay"},
	{"fish", "drivebay.fish", "/usr/share/fish/vendor_completions.d/drivebay.fish"},
	{"powershell", "drivebay.ps1", ""},
}

// document has the program write its documents, which takes a binary for the
// machine that this runs on.
func (r *release) document(work string) (d documents, err error) {
	binary, err := r.build(target{runtime.GOOS, runtime.GOARCH}, work)
	if err != nil {
		return d, err
	}
	pages := filepath.Join(work, "man")
	env := []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.at.Unix()), "HOME=" + work, "XDG_CONFIG_HOME="}
	if _, err := output(work, env, binary, "man", pages); err != nil {
		return d, err
	}
	entries, err := os.ReadDir(pages)
	if err != nil {
		return d, err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(pages, e.Name()))
		if err != nil {
			return d, err
		}
		d.manual = append(d.manual, file{"man/" + e.Name(), 0o644, text})
	}
	for _, shell := range shells {
		text, err := output(work, env, binary, "completion", shell.name)
		if err != nil {
			return d, err
		}
		d.completions = append(d.completions, file{"completions/" + shell.archive, 0o644, []byte(text)})
	}
	d.installed, err = d.write(work)
	return d, err
}

// write puts the documents into files below a folder, as a Debian package has
// them, and returns the path of each by where it is installed.
func (d documents) write(folder string) (map[string]string, error) {
	all := map[string]string{}
	put := func(to string, data []byte) error {
		path := filepath.Join(folder, filepath.Base(to)+".installed")
		all[to] = path
		return os.WriteFile(path, data, 0o644)
	}
	for _, page := range d.manual {
		data, err := gzipped(page.data)
		if err == nil {
			err = put("/usr/share/man/man1/"+filepath.Base(page.name)+".gz", data)
		}
		if err != nil {
			return nil, err
		}
	}
	for i, shell := range shells {
		if shell.debian == "" {
			continue
		}
		if err := put(shell.debian, d.completions[i].data); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// gzipped is data as gzip has it, with no time in it.
func gzipped(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(data)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

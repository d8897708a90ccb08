package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	content := bytes.Repeat([]byte("0123456789"), 30_000) // no whole number of blocks
	if err := errors.Join(os.WriteFile(from, append(content, "behind"...), 0o600), os.WriteFile(to, make([]byte, 1<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	n := int64(len(content))
	want, err := newSums([]string{"md5", "sha512"})
	if err != nil {
		t.Fatal(err)
	}
	want.write(content)
	res, err := Copy(t.Context(), from, to, n, []string{"md5", "sha512"})
	if err != nil || res.Bytes != n || res.SHA256 != want.hex()["sha256"] || res.Digests["md5"] != want.hex()["md5"] ||
		res.Digests["sha512"] != want.hex()["sha512"] || res.Resumed {
		t.Errorf("copied: %+v, %v", res, err)
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the copy has %d bytes, %v", len(got), err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	for name, c := range map[string]struct {
		ctx  context.Context
		from string
		n    int64
		want error
	}{
		"too short": {t.Context(), from, n + 7, io.ErrUnexpectedEOF},
		"missing":   {t.Context(), from + "x", n, fs.ErrNotExist},
		"over":      {over, from, n, context.Cause(over)},
	} {
		if _, err := Copy(c.ctx, c.from, to, c.n, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := Copy(t.Context(), from, to, n, []string{"crc32"}); err == nil {
		t.Error("an unknown digest is taken")
	}
}

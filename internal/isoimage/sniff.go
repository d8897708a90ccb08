package isoimage

import (
	"bytes"
	"html"
	"strings"
	"unicode/utf8"
)

const (
	headBytes  = 16 << 10
	sampleSize = 64 << 10
	maxQuote   = 80 // characters
)

// foundText is what each Found word means in a sentence.
var foundText = map[string]string{
	"empty": "an empty file",
	"zeros": "an empty disk: only zeros stand where its descriptors should be",
	"short": "a file too short to hold one",
	"html":  "an HTML page",
	"xml":   "an XML document",
	"json":  "a JSON document",
	"text":  "a text file",

	"gzip":  "a gzip-compressed file, which has to be unpacked first",
	"xz":    "an xz-compressed file, which has to be unpacked first",
	"zstd":  "a zstd-compressed file, which has to be unpacked first",
	"bzip2": "a bzip2-compressed file, which has to be unpacked first",
	"lz4":   "an lz4-compressed file, which has to be unpacked first",
	"zip":   "a ZIP archive, which has to be unpacked first",
	"7z":    "a 7-Zip archive, which has to be unpacked first",
	"rar":   "a RAR archive, which has to be unpacked first",
	"tar":   "a tar archive, which has to be unpacked first",

	"qcow2": "a QCOW2 disk image",
	"vmdk":  "a VMDK disk image",
	"vhd":   "a VHD disk image",
	"vhdx":  "a VHDX disk image",
	"vdi":   "a VDI disk image",
	"dmg":   "an Apple disk image",
	"disk":  "a raw disk image with a partition table",
	"ext":   "an ext file system",
	"fat":   "a FAT file system or floppy image",

	"squashfs":    "a SquashFS file system",
	"rawcd":       "a raw CD image with 2352-byte sectors",
	"high-sierra": "a CD image in the old High Sierra format",
	"elf":         "an ELF program",
	"pe":          "a Windows or EFI program",
	"pdf":         "a PDF document",
	"deb":         "a Unix archive or Debian package",
	"data":        "data of an unknown kind",
}

type magic struct {
	found string
	off   int
	bytes string
}

// diskMagics are looked at before anything else; see Inspect.
var diskMagics = []magic{
	{"qcow2", 0, "QFI\xfb"},
	{"vmdk", 0, "KDMV"},
	{"vmdk", 0, "COWD"},
	{"vmdk", 0, "# Disk DescriptorFile"},
	{"vhdx", 0, "vhdxfile"},
	{"vhd", 0, "conectix"},
	{"vdi", 64, "\x7f\x10\xda\xbe"},
}

var magics = []magic{
	{"gzip", 0, "\x1f\x8b"},
	{"xz", 0, "\xfd7zXZ\x00"},
	{"zstd", 0, "\x28\xb5\x2f\xfd"},
	{"bzip2", 0, "BZh"},
	{"lz4", 0, "\x04\x22\x4d\x18"},
	{"zip", 0, "PK\x03\x04"},
	{"zip", 0, "PK\x05\x06"},
	{"7z", 0, "7z\xbc\xaf\x27\x1c"},
	{"rar", 0, "Rar!\x1a\x07"},
	{"tar", 257, "ustar"},
	{"squashfs", 0, "hsqs"},
	{"rawcd", 0, "\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00"},
	{"elf", 0, "\x7fELF"},
	{"pe", 0, "MZ"},
	{"pdf", 0, "%PDF-"},
	{"deb", 0, "!<arch>\n"},
	{"ext", 1080, "\x53\xef"},
	{"fat", 54, "FAT1"},
	{"fat", 82, "FAT32"},
}

func match(list []magic, head []byte) string {
	for _, m := range list {
		if len(head) > m.off && bytes.HasPrefix(head[m.off:], []byte(m.bytes)) {
			return m.found
		}
	}
	return ""
}

// diskFormat returns the disk image format head begins with, or "".
func diskFormat(head []byte) string { return match(diskMagics, head) }

// whatElse returns a ReasonNotISO error that names what a file without any
// descriptor is.
func (im *image) whatElse(head []byte) error {
	if len(head) == 0 {
		return notISO("empty", "")
	}
	if found := match(magics, head); found != "" {
		return notISO(found, "")
	}
	if found, quote := document(head); found != "" {
		return notISO(found, quote)
	}
	found, err := im.byPlace(head)
	if err != nil {
		return err
	}
	return notISO(found, "")
}

// byPlace knows the kinds of file that are not told by their first bytes.
func (im *image) byPlace(head []byte) (string, error) {
	tail, err := im.read(im.size-512, 512)
	if err != nil {
		return "", err
	}
	if bytes.HasPrefix(tail, []byte("conectix")) {
		return "vhd", nil // of fixed size: only a footer
	}
	if bytes.HasPrefix(tail, []byte("koly")) {
		return "dmg", nil
	}
	area, err := im.read(firstDescriptor*sectorSize, sampleSize)
	if err != nil {
		return "", err
	}
	switch {
	case len(area) >= 14 && string(area[9:14]) == "CDROM":
		return "high-sierra", nil
	case zero(area) && zero(head):
		return "zeros", nil
	case len(area) < sectorSize:
		return "short", nil // before "disk": the start of a hybrid image looks like one
	case partitioned(head):
		return "disk", nil
	}
	return "data", nil
}

// document recognises what web servers send in place of a file, and quotes it.
func document(head []byte) (found, quote string) {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n\f")
	if len(text) == 0 {
		return "", ""
	}
	lower := strings.ToLower(string(text[:min(len(text), 1024)]))
	switch {
	case isHTML(lower):
		return "html", quoteMarkup(text)
	case strings.HasPrefix(lower, "<?xml"):
		return "xml", quoteMarkup(text)
	case !isText(text):
		return "", ""
	case text[0] == '{' || text[0] == '[':
		return "json", clean(string(text), maxQuote)
	}
	return "text", clean(string(text), maxQuote)
}

func isHTML(lower string) bool {
	for _, p := range []string{"<!doctype html", "<html", "<head", "<body", "<title", "<script"} {
		if strings.HasPrefix(lower, p) {
			return true
		}
	}
	comment := strings.HasPrefix(lower, "<!--") || strings.HasPrefix(lower, "<?xml")
	return comment && strings.Contains(lower, "<html")
}

// isText reports whether the start of a file is UTF-8 without control
// characters.
func isText(b []byte) bool {
	b = b[:min(len(b), 512)]
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 {
			return len(b) < utf8.UTFMax && !utf8.FullRune(b) // cut at the sample's end
		}
		if r < ' ' && !strings.ContainsRune("\t\r\n\f", r) {
			return false
		}
		b = b[n:]
	}
	return true
}

// quoteMarkup returns the title of a page, else the start of its text.
func quoteMarkup(b []byte) string {
	s := strings.ToValidUTF8(string(b), "_")
	if t := between(s, "<title", "</title"); t != "" {
		return clean(html.UnescapeString(t), maxQuote)
	}
	var text strings.Builder
	for s != "" {
		plain, rest, _ := strings.Cut(s, "<")
		text.WriteString(plain + " ")
		_, s, _ = strings.Cut(rest, ">")
	}
	return clean(html.UnescapeString(text.String()), maxQuote)
}

// between returns the text of the first element that starts with open (in
// lower case, without its ">") up to end. Only ASCII case is folded, so that
// offsets hold.
func between(s, open, end string) string {
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
	from := strings.Index(lower, open)
	if from < 0 {
		return ""
	}
	gt := strings.IndexByte(s[from:], '>')
	if gt < 0 {
		return ""
	}
	from += gt + 1
	to := strings.Index(lower[from:], end)
	if to < 0 {
		return ""
	}
	return s[from : from+to]
}

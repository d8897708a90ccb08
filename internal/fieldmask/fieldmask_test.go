package fieldmask

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drivebay/drivebay/internal/fault"
)

func object(fields ...Field) *Schema { return &Schema{Kind: Object, Fields: fields} }
func list(elem *Schema) *Schema      { return &Schema{Kind: List, Elem: elem} }

// The model and the data of the case table in the contract's notes.
var (
	scalar = &Schema{}
	vlan   = object(Field{"id", scalar}, Field{"tag", scalar})
	nic    = object(Field{"ip", scalar}, Field{"mac", scalar}, Field{"vlan", vlan})
	model  = object(
		Field{"deviceId", scalar}, Field{"status", scalar}, Field{"isoId", nil},
		Field{"nics", list(nic)}, Field{"keys", list(scalar)}, Field{"meta", &Schema{Kind: Free}},
		Field{"loc", object(Field{"city", scalar}, Field{"zip", scalar})})
	task = object(Field{"taskId", scalar}, Field{"clientId", scalar}, Field{"deviceId", scalar}, Field{"result", scalar},
		Field{"metaData", scalar}, Field{"taskCreated", scalar}, Field{"taskUpdated", scalar})
	volume = object(Field{"volumeId", scalar}, Field{"type", scalar}, Field{"size", scalar},
		Field{"deviceId", scalar}, Field{"createdAt", scalar}, Field{"facilityCode", scalar})
)

const (
	wholeNICs = `[{"ip":"1.1.1.1","mac":"aa","vlan":{"id":1,"tag":2}},{"ip":"2.2.2.2","mac":"bb","vlan":null}]`
	ipNICs    = `[{"ip":"1.1.1.1"},{"ip":"2.2.2.2"}]`
	tail      = `"keys":[1,2],"meta":{"a":1,"b":{"c":2}},"loc":null`
	data      = `{"deviceId":7,"status":"Running","isoId":null,"nics":` + wholeNICs + `,` + tail + `}`
	allIPs    = `{"deviceId":7,"status":"Running","isoId":null,"nics":` + ipNICs + `,` + tail + `}`
	ipsFirst  = `{"nics":` + ipNICs + `,"deviceId":7,"status":"Running","isoId":null,` + tail + `}`

	two     = `{"deviceId":7,"status":"Running"}`
	pending = `{"taskId":"t","clientId":7,"deviceId":1,"result":null,"metaData":"{}","taskCreated":"c","taskUpdated":"c"}`
	disk    = `{"volumeId":"v","type":"DATADISK","size":53687091200,"deviceId":7,"createdAt":"c","facilityCode":"TPA1"}`

	comma   = "Mask parse error: Unexpected comma"
	opening = "Mask parse error: Unexpected opening bracket"
	closing = "Mask parse error: Unexpected closing bracket"
	missing = "Mask parse error: Missing closing bracket"
	unfit   = "Mask error: Mask is inconsistent with model"
)

// A want that is no JSON is the text of the error. Case 57 (201 stays 201) and
// 58 (an error's body is not masked) belong to the transport; their masks are
// here.
var cases = []struct {
	n      int
	masks  []string
	schema *Schema
	json   string
	want   string
}{
	{1, []string{"", " ", "\t", "\n"}, model, data, data},
	{2, []string{"deviceId"}, model, data, `{"deviceId":7}`},
	{3, []string{"{deviceId}"}, model, data, `{"deviceId":7}`},
	{4, []string{"deviceId,status"}, model, data, two},
	{5, []string{"{ deviceId , status }"}, model, data, two},
	{6, []string{"deviceId status", "deviceId;status", "deviceId\tstatus"}, model, data, two},
	{7, []string{`"deviceId"`}, model, data, `{"deviceId":7}`},
	{8, []string{"nics"}, model, data, `{"nics":` + wholeNICs + `}`},
	{9, []string{"nics{ip}", "{nics{ip}}", "nics {ip}"}, model, data, `{"nics":` + ipNICs + `}`},
	{10, []string{"nics{ip,vlan{id}}"}, model, data, `{"nics":[{"ip":"1.1.1.1","vlan":{"id":1}},{"ip":"2.2.2.2","vlan":null}]}`},
	{11, []string{"*", "{*}", "*,*"}, model, data, data},
	{12, []string{"nics{ip},*", "*,nics{ip}", "nics{ip}*"}, model, data, ipsFirst},
	{13, []string{"nics{*}", "nics{*,nope}"}, model, data, `{"nics":` + wholeNICs + `}`},
	{14, []string{"nics{vlan{id},*}"}, model, data, `{"nics":[{"vlan":{"id":1},"ip":"1.1.1.1","mac":"aa"},{"vlan":null,"ip":"2.2.2.2","mac":"bb"}]}`},
	{15, []string{"nope"}, model, data, `{}`},
	{16, []string{"deviceId,nope"}, model, data, `{"deviceId":7}`},
	{17, []string{"nope{a{b}}"}, model, data, `{}`},
	{18, []string{"Deviceid"}, model, data, `{}`},
	{19, []string{"device.Id"}, model, data, `{}`},
	{20, []string{"dev*", "**"}, model, data, `{}`},
	{21, []string{"deviceId,*,nope"}, model, data, data},
	{22, []string{"isoId"}, model, data, `{"isoId":null}`},
	{23, []string{"loc", "loc{city}"}, model, data, `{"loc":null}`},
	{24, []string{"nics{nope}"}, model, data, `{"nics":[{},{}]}`},
	{25, []string{"nics{}"}, model, data, `{"nics":` + wholeNICs + `}`},
	{25, []string{"meta{}"}, model, data, `{"meta":{"a":1,"b":{"c":2}}}`},
	{25, []string{"nics{vlan{}}"}, model, data, `{"nics":[{"vlan":{"id":1,"tag":2}},{"vlan":null}]}`},
	{26, []string{"meta{a}"}, model, data, `{"meta":{"a":1}}`},
	{27, []string{"meta{b{c}}"}, model, data, `{"meta":{"b":{"c":2}}}`},
	{28, []string{"meta{zz}"}, model, data, `{"meta":{}}`},
	{29, []string{"meta{a,b{zz}}"}, model, data, `{"meta":{"a":1,"b":{}}}`},
	{30, []string{"{}", "{ }", "!!"}, model, data, `{}`},
	{31, []string{"deviceId,", "{deviceId,}"}, model, data, `{"deviceId":7}`},
	{31, []string{"nics{ip,}"}, model, data, `{"nics":` + ipNICs + `}`},
	{32, []string{"nics{ip}deviceId"}, model, data, `{"nics":` + ipNICs + `,"deviceId":7}`},
	{33, []string{"deviceId,deviceId"}, model, data, `{"deviceId":7}`},
	{34, []string{"nics{ip},nics"}, model, data, `{"nics":` + wholeNICs + `}`},
	{35, []string{"nics,nics{ip}"}, model, data, `{"nics":` + ipNICs + `}`},
	{36, []string{"nics{ip},nics{mac}"}, model, data, `{"nics":[{"mac":"aa"},{"mac":"bb"}]}`},
	{37, []string{"*{ip}"}, model, data, data},
	{38, []string{"deviceId{a}", "isoId{a}", "deviceId{}"}, model, data, unfit},
	{39, []string{"keys{a}"}, model, data, unfit},
	{40, []string{"keys{}"}, model, data, `{"keys":[1,2]}`},
	{41, []string{"nics{ip{x}}"}, model, data, unfit},
	{42, []string{"deviceId,,status", "nics{ip},,status"}, model, data, comma},
	{43, []string{",deviceId", "{,deviceId}"}, model, data, comma},
	{44, []string{"nics{,ip}"}, model, data, comma},
	{45, []string{"{deviceId", "{", "{deviceId},status", "{nics{ip"}, model, data, missing},
	{46, []string{"nics{ip", "deviceId{", "nope{"}, model, data, missing},
	{47, []string{"{nics{ip}"}, model, data, missing},
	{48, []string{"deviceId}", "}", "nics{ip}}", "}{", "{deviceId}}"}, model, data, closing},
	{49, []string{"{nics}{deviceId}"}, model, data, closing},
	{50, []string{"{{deviceId}}", "nics{{ip}}", "nics,{ip}", "nics{ip},{deviceId}"}, model, data, opening},
	{51, []string{"nics{ip}{mac}", "nics{}{}"}, model, data, opening},
	{52, []string{"deviceId"}, list(model), `[` + data + `,` + data + `]`, `[{"deviceId":7},{"deviceId":7}]`},
	{53, []string{"nope"}, list(model), `[` + data + `,` + data + `]`, `[{},{}]`},
	{54, []string{"deviceId"}, list(model), `[]`, `[]`},
	{55, []string{"deviceId{a}"}, list(model), `[]`, unfit},
	{55, []string{"{"}, list(model), `[]`, missing},
	{56, []string{Join([]string{"deviceId", "status"})}, model, data, two},
	{57, []string{"deviceId"}, model, data, `{"deviceId":7}`},
	{58, []string{"{"}, model, data, missing},
	{59, []string{"taskId,result"}, task, pending, `{"taskId":"t","result":null}`},
	{60, []string{"{volumeId,type,deviceId,createdAt,facilityCode}"}, volume, disk,
		`{"volumeId":"v","type":"DATADISK","deviceId":7,"createdAt":"c","facilityCode":"TPA1"}`},

	// What the table leaves open.
	{100, []string{"status deviceId"}, model, data, `{"status":"Running","deviceId":7}`},
	{101, []string{"nics{mac ip}"}, list(model), `[` + data + `]`, `[{"nics":[{"mac":"aa","ip":"1.1.1.1"},{"mac":"bb","ip":"2.2.2.2"}]}]`},
	{102, []string{"deviceId"}, model, `null`, `null`},
	{103, []string{"nics{ip}", "nics{ip},deviceId"}, model, `{"nics":null}`, `{"nics":null}`},
	{104, []string{"deviceId,status"}, model, `{"status":"x"}`, `{"status":"x"}`},
	{105, []string{"*"}, model, `{"status":"x","hidden":1}`, `{"status":"x"}`},
	{106, []string{"meta{b,*}"}, model, data, `{"meta":{"b":{"c":2},"a":1}}`},
	{107, []string{"meta{a{x}}"}, model, `{"meta":{"a":[{"x":1,"y":2},3,null]}}`, `{"meta":{"a":[{"x":1},3,null]}}`},
	{108, []string{"*{deviceId{a}}"}, model, data, data},
	{109, []string{"*{"}, model, data, missing},
	{110, []string{"*,deviceId{a}"}, model, data, unfit},
	{111, []string{"größe,deviceId"}, model, data, `{"deviceId":7}`},
	{112, []string{"x:y-z_1,deviceId"}, model, data, `{"deviceId":7}`},
	{113, []string{"device\nId"}, model, data, `{"deviceId":7}`},
	{114, []string{"\xff\xfedeviceId"}, model, data, `{"deviceId":7}`},
	{115, []string{"meta{ä}"}, model, `{"meta":{"\u00e4":1.50}}`, `{"meta":{"ä":1.50}}`},
	{116, []string{"meta{*}"}, model, `{"meta":{"a\"\n":1}}`, `{"meta":{"a\"\n":1}}`},
	{117, []string{"deviceId"}, model, "{ \"status\" : 1 , \"deviceId\" : 7 }\n", `{"deviceId":7}`},
	{118, []string{"deviceId"}, model, `{"deviceId":1,"deviceId":2}`, `{"deviceId":2}`},
	{119, []string{"a"}, scalar, `1`, unfit},
	{120, []string{"a"}, nil, `1`, unfit},
	{122, []string{"meta{b{}}"}, model, data, `{"meta":{"b":{"c":2}}}`},
	{121, []string{"a"}, list(list(object(Field{"a", nil}))), `[[{"a":1,"b":2}],[]]`, `[[{"a":1}],[]]`},
}

func TestCases(t *testing.T) {
	t.Parallel()
	seen := make(map[int]bool)
	for _, c := range cases {
		seen[c.n] = true
		for _, mask := range c.masks {
			t.Run(strconv.Itoa(c.n)+" "+mask, func(t *testing.T) {
				t.Parallel()
				got := run(mask, c.schema, c.json)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	for n := 1; n <= 60; n++ {
		if !seen[n] {
			t.Errorf("case %d is missing", n)
		}
	}
}

// run does what a transport does; the text of an error stands for the answer.
func run(mask string, s *Schema, answer string) string {
	m, err := Parse(mask)
	if err != nil {
		return err.Error()
	}
	if err := m.Check(s); err != nil {
		return err.Error()
	}
	out, err := m.Apply([]byte("kept"), s, []byte(answer))
	if err != nil {
		return err.Error()
	}
	return strings.TrimPrefix(string(out), "kept")
}

func TestErrorsAreFaults(t *testing.T) {
	t.Parallel()
	_, parse := Parse("a,,b")
	m, err := Parse("deviceId{a}")
	if err != nil {
		t.Fatal(err)
	}
	check := m.Check(model)
	_, apply := m.Apply(nil, model, []byte(data))
	for _, c := range []struct {
		err, want error
		reason    fault.Reason
	}{
		{parse, ErrParse, "mask_parse_error"},
		{check, ErrInconsistent, "mask_inconsistent"},
		{apply, ErrInconsistent, "mask_inconsistent"},
	} {
		if !errors.Is(c.err, c.want) || fault.KindOf(c.err) != fault.Invalid || fault.ReasonOf(c.err) != c.reason {
			t.Errorf("%v is not the fault %q", c.err, c.reason)
		}
	}
	if errors.Is(check, ErrParse) {
		t.Error("the two faults are told apart by their reason")
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	nest := func(n int) string { return strings.Repeat("a{", n) + strings.Repeat("}", n) }
	for _, c := range []struct {
		mask string
		want error
	}{
		{strings.Repeat("a", MaxLength), nil},
		{strings.Repeat("a", MaxLength+1), errLength},
		{strings.Repeat(",", MaxLength), errComma},
		{nest(MaxDepth), nil},
		{nest(MaxDepth + 1), errDepth},
		{strings.Repeat("a{", MaxLength/2), errDepth},
	} {
		_, err := Parse(c.mask)
		if c.want == nil && err != nil || c.want != nil && (err == nil || err.Error() != c.want.Error()) {
			t.Errorf("%.20q of %d bytes: %v, want %v", c.mask, len(c.mask), err, c.want)
		}
	}
}

func TestApplyRefusesWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	m, err := Parse("deviceId,nics{ip}")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{", "[", `{"deviceId"`, `{"deviceId":`, `{"deviceId":7`, `[{"deviceId":7}`, `{"deviceId":7}}`,
		`{"nics":[{"ip":1]}`, `nope`, `{} {}`, strings.Repeat("[", 20000),
	} {
		out, err := m.Apply([]byte("kept"), model, []byte(bad))
		if err == nil || string(out) != "kept" {
			t.Errorf("%.40q: %q, %v", bad, out, err)
		}
		if _, ok := fault.As(err); ok {
			t.Errorf("%.40q: a broken answer is no fault of the caller: %v", bad, err)
		}
	}
}

func TestOneMaskManySchemas(t *testing.T) {
	t.Parallel()
	m, err := Parse("deviceId,type")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		s, in, want := volume, disk, `{"deviceId":7,"type":"DATADISK"}`
		if i%2 == 1 {
			s, in, want = model, data, `{"deviceId":7}`
		}
		wg.Go(func() {
			for range 100 {
				out, err := m.Apply(nil, s, []byte(in))
				if err != nil || string(out) != want {
					t.Errorf("%s, %v; want %s", out, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestApplyLeavesTheInput(t *testing.T) {
	t.Parallel()
	m, err := Parse("nics{vlan,ip},deviceId")
	if err != nil {
		t.Fatal(err)
	}
	in := []byte(data)
	out, err := m.Apply(nil, model, in)
	if err != nil || string(in) != data {
		t.Fatalf("input is now %s, %v", in, err)
	}
	clear(in)
	if !json.Valid(out) {
		t.Errorf("the output shares memory with the input: %q", out)
	}
}

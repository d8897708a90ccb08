package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	findingJSON = `{"findingId":4,"class":"orphan_disk","facilityCode":"TPA1","objectId":"stray","detail":"A disk.","remedy":"Look.",` +
		`"firstSeen":"2029-01-01T00:00:00Z","lastSeen":"2029-01-02T00:00:00Z","looks":2,"confirmed":true,"later":"kept"}`
	heldJSON = `{"quarantineId":3,"facilityCode":"TPA1","kind":"disk","objectId":"stray","sizeBytes":5,` +
		`"firstSeen":"2029-01-01T00:00:00Z","quarantinedAt":"2029-01-02T00:00:00Z","deletableAt":"2029-01-09T00:00:00Z"}`
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	accepted := []canned{{status: 201, body: taskJSON("Pending", "", "{}")}}
	done := []canned{{status: 200, body: taskJSON("Success", "findings: 1, repairs: 0", "{}")}}
	lists := func(body string) map[string][]canned {
		return map[string][]canned{
			"POST /api/v2/admin/reconcile": accepted, "GET /api/v2/network/status/T1": done, "GET /api/v2/admin/findings": {{status: 200, body: body}},
		}
	}
	for _, c := range []struct {
		args    string
		answers map[string][]canned
		asked   []string
		status  int
		out     string
		err     string // part of it
	}{
		{args: "doctor", answers: lists("[]"), status: Done, err: "findings: 1, repairs: 0\n",
			asked: []string{`POST /api/v2/admin/reconcile {"repair":false}`, "GET /api/v2/network/status/T1?wait=1s", "GET /api/v2/admin/findings?limit=1000"}},
		{args: "doctor --repair --facility TPA1 --grace 1500ms", answers: lists("[" + findingJSON + "]"), status: Failed,
			err: "Error: 1 findings remain. (findings_remain)",
			asked: []string{`POST /api/v2/admin/reconcile {"facilityCode":"TPA1","graceSeconds":2,"repair":true}`, "GET /api/v2/network/status/T1?wait=1s",
				"GET /api/v2/admin/findings?facilityCode=TPA1&limit=1000"},
			out: "CLASS        FACILITY  OBJECT  SINCE                 CONFIRMED  WHAT     WAY OUT\n" +
				"orphan_disk  TPA1      stray   2029-01-01T00:00:00Z  true       A disk.  Look.\n"},
		{args: "doctor --grace 0s", answers: map[string][]canned{"POST /api/v2/admin/reconcile": {{status: 201, body: taskJSON("Failed", "", `{"error":"no","errorCode":"cancelled"}`)}}},
			status: TaskFailed, err: "(cancelled)", asked: []string{`POST /api/v2/admin/reconcile {"graceSeconds":0,"repair":false}`}},
		{args: "quarantine list", answers: map[string][]canned{"GET /api/v2/admin/quarantine": {{status: 200, body: "[" + heldJSON + "]"}}},
			asked: []string{"GET /api/v2/admin/quarantine?limit=1000"},
			out: "ID  FACILITY  KIND  OBJECT  BYTES  DELETABLE\n" +
				"3   TPA1      disk  stray   5      2029-01-09T00:00:00Z\n"},
		{args: "quarantine delete 3", answers: map[string][]canned{"DELETE /api/v2/admin/quarantine/3": accepted, "GET /api/v2/network/status/T1": done},
			asked: []string{"DELETE /api/v2/admin/quarantine/3", "GET /api/v2/network/status/T1?wait=1s"}, err: "Deleted 3 from quarantine."},
		{args: "quarantine delete 3", answers: map[string][]canned{"DELETE /api/v2/admin/quarantine/3": {{status: 409, body: `{"code":409,"message":"Wait.","description":"Wait.","reason":"quarantine_retained","requestId":"R"}`}}},
			asked: []string{"DELETE /api/v2/admin/quarantine/3"}, status: Conflict, err: "Wait. (quarantine_retained)"},
		{args: "quarantine delete x", status: Usage, err: "is a number"},
	} {
		r := newRemote(t, c.answers)
		got := command(t.Context(), r.URL, nil, nil, strings.Fields(c.args)...)
		if got.status != c.status || !strings.Contains(got.err, c.err) {
			t.Errorf("%s: status %d, stderr %q", c.args, got.status, got.err)
		}
		if diff := cmp.Diff(c.out, got.out); diff != "" {
			t.Errorf("%s: %s", c.args, diff)
		}
		if diff := cmp.Diff(c.asked, r.requests()); diff != "" {
			t.Errorf("%s: %s", c.args, diff)
		}
	}
	r := newRemote(t, lists("["+findingJSON+"]"))
	got := command(t.Context(), r.URL, nil, nil, "doctor", "-o", "json")
	var list []map[string]any
	var why map[string]any
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list) != 1 || list[0]["later"] != "kept" || got.status != Failed {
		t.Errorf("status %d, %v in %q", got.status, err, got.out)
	}
	if err := json.Unmarshal([]byte(got.err), &why); err != nil || why["reason"] != "findings_remain" {
		t.Errorf("%v in %q", err, got.err)
	}
}

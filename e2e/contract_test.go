package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Samples of answers, as the published page has them.
const (
	sampleVolume = `{"size": 0, "type": "string", "createdAt": "2023-07-11T17:44:08.771Z", "volumeId": "string", "deviceId": 0}`
	sampleSizes  = `{"volumeProducts": [{"size": 0, "monthlyPrice": 0}]}`
	sampleISO    = `{"bootable": true, "description": "string", "url": "string", "name": "string", "size": 0, "status": "string",
		"ready": true, "isoId": "string"}`
	// The page shows the two times as {}; they are strings in RFC 3339.
	sampleTask = `{"result": "string", "metaData": "string", "taskId": "string", "taskCreated": "string", "deviceId": 0,
		"taskUpdated": "string", "clientId": 0}`
)

// samples are the page's requests, in an order in which each can be done. Its
// variables stand where it has them, and values where it has 0 and "string".
var samples = []struct {
	name   string
	status string
	shape  string
	curl   string
}{
	{"create a volume", "201", sampleTask, `curl -X 'POST' 'https://core.hivelocity.net/api/v2/vps/volume' -H "X-API-KEY: $API_KEY" ` +
		`-H 'accept: application/json' -H 'content-type: application/json' -d '{
  "size": 50,
  "deviceId": 1001
}'`},
	{"list volumes", "200", "[" + sampleVolume + "]", `curl -X 'GET' 'https://core.hivelocity.net/api/v2/vps/volume?deviceId=$deviceId' ` +
		`-H "X-API-KEY: $API_KEY" -H 'accept: application/json'`},
	{"available sizes", "200", sampleSizes, `curl -X 'GET' 'https://core.hivelocity.net/api/v2/vps/volume/$volumeId/available-sizes' ` +
		`-H 'accept: application/json' -H "X-API-KEY: $API_KEY"`},
	{"read a volume", "200", sampleVolume, `curl -X 'GET' 'https://core.hivelocity.net/api/v2/vps/volume/$volumeId' ` +
		`-H "X-API-KEY: $API_KEY" -H 'accept: application/json'`},
	{"resize a volume", "201", sampleTask, `curl -X 'PUT' 'https://core.hivelocity.net/api/v2/vps/volume/$volumeId' ` +
		`-H 'accept: application/json' -H "X-API-KEY: $API_KEY" -H 'Content-Type: application/json' -d '{
  "size": 100,
  "deviceId": 1001
}'`},
	{"delete a volume", "201", sampleTask, `curl -X 'DELETE' 'https://core.hivelocity.net/api/v2/vps/volume/$volumeId' ` +
		`-H 'accept: application/json' -H "X-API-KEY: $API_KEY" -H 'Content-Type: application/json' -d '{
  "deviceId": 1001
}'`},
	{"create an ISO", "200", sampleISO, `curl -X 'POST' 'https://core.hivelocity.net/api/v2/vps/iso' -H 'accept: application/json' ` +
		`-H "X-API-KEY: $API_KEY" -H 'Content-Type: application/json' -d '{
  "facilityCode": "TPA1",
  "bootable": true,
  "clientId": 7,
  "description": "a test image",
  "url": "$url",
  "name": "test"
}'`},
	{"list ISOs", "200", "[" + sampleISO + "]", `curl -X 'GET' 'https://core.hivelocity.net/api/v2/vps/iso?facilityCode=$facilityCode' ` +
		`-H "X-API-KEY: $API_KEY" -H 'accept: application/json'`},
	{"read an ISO", "200", sampleISO, `curl -X 'GET' 'https://core.hivelocity.net/api/v2/vps/iso/$isoId' -H "X-API-KEY: $API_KEY" ` +
		`-H 'accept: application/json'`},
	{"attach an ISO", "201", sampleTask, `curl -X 'POST' 'https://core.hivelocity.net/api/v2/vps/$deviceId/attachiso' ` +
		`-H "X-API-KEY: $API_KEY" -H 'accept: application/json' -H 'Content-Type: application/json' -d '{
  "isoId": "$isoId"
}'`},
	{"detach an ISO", "201", sampleTask, `curl -X 'POST' 'https://core.hivelocity.net/api/v2/vps/$deviceId/detachiso' ` +
		`-H "X-API-KEY: $API_KEY" -H 'accept: application/json'`},
	{"delete an ISO", "201", sampleTask, `curl -X 'DELETE' 'https://core.hivelocity.net/api/v2/vps/iso/$isoId?facilityCode=$facilityCode' ` +
		`-H "X-API-KEY: $API_KEY" -H 'accept: application/json'`},
}

// TestSampleRequests sends the requests of the published page with curl, each
// once with the slashes of the page and once with one more at the end.
func TestSampleRequests(t *testing.T) {
	needBinary(t)
	t.Parallel()
	needCurl(t)
	o := newOrigin(t)
	link := o.serve("/image.iso", newImage("SAMPLE", 1<<20, true))
	s := startDemo(t, allow)
	for _, slash := range []string{"", "/"} {
		known := map[string]string{
			"$API_KEY": s.demo.APIKey, "$deviceId": "1001", "$facilityCode": "TPA1", "$url": link,
			"https://core.hivelocity.net": s.demo.URL,
		}
		for _, sample := range samples {
			s.sample(sample.name, sample.curl, sample.status, sample.shape, slash, known)
		}
	}
	check(t, s.dir)
	agree(t, s)
}

// sample runs one request and compares the answer's status and shape. It puts
// the ids it learns into known.
func (s *server) sample(name, curl, status, shape, slash string, known map[string]string) {
	s.t.Helper()
	for word, value := range known {
		curl = strings.ReplaceAll(curl, word, value)
	}
	at := strings.Index(curl, s.demo.URL)
	end := at + strings.IndexAny(curl[at:], "'?")
	curl = curl[:end] + slash + curl[end:]
	out, err := exec.CommandContext(s.t.Context(), "sh", "-c", curl+` -s -w '\n%{http_code}'`).Output()
	cut := bytes.LastIndexByte(out, '\n')
	if err != nil || cut < 0 || string(out[cut+1:]) != status {
		s.t.Fatalf("%s: %s\nanswers %s, %v, want status %s", name, curl, out, err, status)
	}
	var got, want any
	if err := json.Unmarshal(out[:cut], &got); err != nil {
		s.t.Fatalf("%s: %v in %s", name, err, out)
	}
	if err := json.Unmarshal([]byte(shape), &want); err != nil {
		s.t.Fatal(err)
	}
	if diff := differ("", want, got); diff != "" {
		s.t.Errorf("%s: %s in %s", name, diff, out[:cut])
	}
	s.learn(got, known)
}

// learn waits until what was asked for is done, and takes the ids.
func (s *server) learn(got any, known map[string]string) {
	s.t.Helper()
	fields, _ := got.(map[string]any)
	if id, ok := fields["taskId"].(string); ok {
		task := s.client().ended(id)
		m := metaOf(s.t, task)
		if task.Result != "Success" {
			s.t.Fatalf("task %s ended %+v", m.Action, m)
		}
		if m.VolumeID != "" {
			known["$volumeId"] = m.VolumeID
		}
	}
	if id, ok := fields["isoId"].(string); ok {
		known["$isoId"] = id
	}
}

// differ says where got lacks what want has, or has it as another kind of
// value; "" if nowhere. What got has besides is additive. Null stands for what
// is not known yet.
func differ(path string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		fields, ok := got.(map[string]any)
		if !ok {
			return path + " is no object"
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			value, ok := fields[key]
			if !ok {
				return path + "." + key + " is missing"
			}
			if diff := differ(path+"."+key, want[key], value); diff != "" {
				return diff
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			return path + " is no list with something in it"
		}
		for i, value := range list {
			if diff := differ(fmt.Sprintf("%s[%d]", path, i), want[0], value); diff != "" {
				return diff
			}
		}
	default:
		if got != nil && fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			return fmt.Sprintf("%s is a %T", path, got)
		}
	}
	return ""
}

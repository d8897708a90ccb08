package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/drivebay/drivebay/internal/backend"
	"github.com/drivebay/drivebay/internal/httpapi"
	"github.com/drivebay/drivebay/internal/task"
)

// nobody is an id that nothing has.
const nobody = "0193a5c2-7d1e-7c44-9b1f-3f6f0c6b8a99"

// The steps of play, one for each domain. What one made the next ones read.
func (g *golden) play() {
	v1 := g.newVolume()
	g.readVolume(v1)
	failed := g.growVolume(v1)
	g.moveVolume(v1)
	g.dropVolume(v1)
	ready, bad := g.importISOs()
	g.readISOs(ready, bad)
	g.useDrive(ready, bad)
	g.devices()
	g.power()
	g.tasks(failed)
	g.services()
	g.adminPlaces()
	g.adminPeople()
	g.adminPrices()
	g.adminDoctor()
	g.quotas()
	g.adminImport()
	g.uploadISO()
}

// adminImport takes over what the hosts of a facility have.
func (g *golden) adminImport() {
	g.lab()
	const path = "/admin/vps/import"
	form := func(rest string) string { return `{"facilityCode": "LAB1", "clientId": 8, ` + rest + `}` }
	g.okAdmin("adminImportVPS", "success, a dry run", path, form(`"all": true, "dryRun": true`))
	g.okAdmin("adminImportVPS", "success", path, form(`"domains": ["web", "nowhere"], "host": "h1"`))
	g.okAdmin("adminImportVPS", "success, again", path, form(`"all": true`))
	g.okAdmin("adminImportVPS", "success, another client's", path, `{"facilityCode": "LAB1", "clientId": 7, "domains": ["web"]}`)
	g.okAdmin("adminImportVPS", "success, none", path, form(`"all": true, "host": "h3"`))
	g.noAs(g.keys.client, 403, "adminImportVPS", "a client's key", path, form(`"all": true`))
	g.noAdmin(400, "adminImportVPS", "no fields", path, `{}`)
	g.noAdmin(400, "adminImportVPS", "wrong fields", path, form(`"all": "yes", "domains": [""]`))
	g.noAdmin(400, "adminImportVPS", "neither all nor some", path, form(`"domains": []`))
	g.noAdmin(400, "adminImportVPS", "no such client", path, `{"facilityCode": "LAB1", "clientId": 4711, "all": true}`)
	g.noAdmin(400, "adminImportVPS", "no such facility", path, `{"facilityCode": "MARS1", "clientId": 8, "all": true}`)
	g.noAdmin(400, "adminImportVPS", "guests made here", path, `{"facilityCode": "TPA1", "clientId": 8, "all": true}`)
	g.drivers["LAB1"].On("Guests").Fail(backend.ErrUnavailable, 1)
	g.noAdmin(503, "adminImportVPS", "a host does not answer", path, form(`"all": true`))

	const device = `{"clientId": 8, "facilityCode": "LAB1", "deviceId": 5000, "ref": "odd"}`
	g.follow(g.okAdmin("adminCreateDevice", "success, of a guest", "/admin/devices", device), task.Done)
	g.noAdmin(400, "adminCreateDevice", "no guest", "/admin/devices", `{"clientId": 8, "facilityCode": "LAB1"}`)
	g.noAdmin(400, "adminCreateDevice", "no such guest", "/admin/devices", `{"clientId": 8, "facilityCode": "LAB1", "ref": "nowhere"}`)
	g.noAdmin(409, "adminCreateDevice", "the guest is one already", "/admin/devices", `{"clientId": 8, "facilityCode": "LAB1", "ref": "web"}`)
	g.okAdmin("adminDeleteDevice", "success", "/admin/devices/5000", "")
	g.noAdmin(404, "adminDeleteDevice", "gone", "/admin/devices/5000", "")
	g.noAdmin(404, "adminDeleteDevice", "no number", "/admin/devices/first", "")
	g.noAdmin(409, "adminDeleteDevice", "its guest was made with it", "/admin/devices/1001", "")
	g.noAdmin(409, "adminDeleteDevice", "it has volumes", "/admin/devices/3002", "")
	g.noAs(g.keys.client, 403, "adminDeleteDevice", "a client's key", "/admin/devices/1001", "")
}

// quotas leaves client 7 with a quota that is used up.
func (g *golden) quotas() {
	g.ok("getQuota", "success, unlimited", "/quota", "")
	g.ok("getQuota", "success, of a child client", "/quota?clientId=9", "")
	g.no(400, "getQuota", "a wrong client", "/quota?clientId=0", "")
	g.no(403, "getQuota", "another client", "/quota?clientId=8", "")
	g.noAdmin(400, "getQuota", "an operator without a client", "/quota", "")
	g.noAdmin(404, "getQuota", "no such client", "/quota?clientId=4711", "")

	const path = "/admin/clients/7/quota"
	g.okAdmin("adminGetClientQuota", "success, unlimited", path, "")
	g.noAs(g.keys.client, 403, "adminGetClientQuota", "a client's key", path, "")
	g.noAdmin(404, "adminGetClientQuota", "no such client", "/admin/clients/4711/quota", "")
	g.okAdmin("adminPutClientQuota", "success, nothing left", path, `{"volumes": 1, "gib": 1, "isos": 1, "isoBytes": null}`)
	g.noAdmin(400, "adminPutClientQuota", "wrong numbers", path, `{"volumes": -1, "gib": "much"}`)
	g.noAdmin(400, "adminPutClientQuota", "no body", path, "")
	g.noAdmin(404, "adminPutClientQuota", "no such client", "/admin/clients/4711/quota", `{"volumes": 1}`)
	g.okAdmin("adminGetClientQuota", "success", path, "")
	g.ok("getQuota", "success", "/quota", "")
	g.no(409, "createVolume", "the client's quota is used up", "/vps/volume", `{"size": 50, "deviceId": 1003}`)
	g.no(409, "createISO", "the client's quota is used up", "/vps/iso",
		`{"facilityCode": "TPA1", "bootable": false, "name": "Demo", "description": "", "url": "`+g.images.URL+`/demo.iso"}`)
	g.okAdmin("adminPutClientQuota", "success, unlimited", path, `{}`)
}

// newVolume fills device 1002 and makes a volume on 1001, which it returns.
func (g *golden) newVolume() string {
	first := g.follow(g.ok("createVolume", "success", "/vps/volume", `{"size": 50, "deviceId": 1001}`), task.Done)
	g.follow(g.ask(g.server, g.keys.client, http.MethodPost, "/vps/volume", `{"size": 100, "deviceId": 1002}`), task.Done)
	g.no(400, "createVolume", "no fields", "/vps/volume", `{}`)
	g.no(400, "createVolume", "wrong fields", "/vps/volume", `{"size": "fifty", "deviceId": 0}`)
	g.no(400, "createVolume", "a size that is not sold", "/vps/volume", `{"size": 60, "deviceId": 1001}`)
	g.no(404, "createVolume", "no such device", "/vps/volume", `{"size": 50, "deviceId": 4711}`)
	g.quoteCreate()
	g.no(409, "createVolume", "the device is full", "/vps/volume", `{"size": 50, "deviceId": 1002}`)
	g.noAs(g.keys.reader, 403, "createVolume", "a key for reading", "/vps/volume", `{"size": 50, "deviceId": 1001}`)
	g.noAs("dbay_aaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 403, "createVolume", "an unknown key", "/vps/volume", `{"size": 50, "deviceId": 1001}`)
	return first.VolumeID
}

func (g *golden) readVolume(v1 string) {
	inBytes := g.serve(func(d *httpapi.Deps) { d.SizeUnit = httpapi.Bytes })
	g.ok("getVolume", "success", "/vps/volume/"+v1, "")
	g.ok("getVolume", "success, ROOT", "/vps/volume/"+g.root(1001), "")
	g.say(inBytes, g.keys.client, "getVolume", "success, sizes in bytes", 200, "/vps/volume/"+v1, "")
	g.no(404, "getVolume", "no such volume", "/vps/volume/"+nobody, "")

	g.ok("listVolumes", "success", "/vps/volume?deviceId=1001", "")
	g.ok("listVolumes", "success, of a facility", "/vps/volume?facilityCode=LAX3", "")
	g.ok("listVolumes", "success, none", "/vps/volume?facilityCode=LAX3&deviceId=1001", "")
	g.ok("listVolumes", "success, of a child client", "/vps/volume?facilityCode=TPA1&clientId=9", "")
	g.ok("listVolumes", "success, masked", "/vps/volume?deviceId=1001", "", "X-Fields", "volumeId,size")
	g.say(inBytes, g.keys.client, "listVolumes", "success, sizes in bytes", 200, "/vps/volume?deviceId=1002", "")
	g.no(400, "listVolumes", "neither device nor facility", "/vps/volume", "")
	g.no(400, "listVolumes", "wrong parameters", "/vps/volume?deviceId=x&clientId=0", "")
	g.no(403, "listVolumes", "another client", "/vps/volume?deviceId=1001&clientId=8", "")
	g.no(404, "listVolumes", "no such device", "/vps/volume?deviceId=4711", "")
	g.no(404, "listVolumes", "another client's device", "/vps/volume?deviceId=2001", "")
	g.no(404, "listVolumes", "a child client's device", "/vps/volume?deviceId=3001", "")
	g.no(404, "listVolumes", "no such facility", "/vps/volume?facilityCode=MARS1", "")

	g.ok("listVolumeUpgradeSizes", "success", "/vps/volume/"+v1+"/available-sizes", "")
	g.ok("listVolumeUpgradeSizes", "success, ROOT", "/vps/volume/"+g.root(1001)+"/available-sizes", "")
	g.no(404, "listVolumeUpgradeSizes", "no such volume", "/vps/volume/"+nobody+"/available-sizes", "")
}

// growVolume returns a resize that failed.
func (g *golden) growVolume(v1 string) task.Task {
	path := "/vps/volume/" + v1
	g.follow(g.ok("resizeVolume", "success", path, `{"size": 100, "deviceId": 1001}`), task.Done)
	g.quoteResize(path)
	g.no(400, "resizeVolume", "no fields", path, `{}`)
	g.no(400, "resizeVolume", "no device", path, `{"size": 200}`)
	g.no(400, "resizeVolume", "another device", path, `{"size": 200, "deviceId": 1002}`)
	g.no(400, "resizeVolume", "not larger", path, `{"size": 100, "deviceId": 1001}`)
	g.no(400, "resizeVolume", "a size that is not sold", path, `{"size": 101, "deviceId": 1001}`)
	g.no(400, "resizeVolume", "a ROOT volume", "/vps/volume/"+g.root(1001), `{"size": 100, "deviceId": 1001}`)
	g.no(404, "resizeVolume", "no such volume", "/vps/volume/"+nobody, `{"size": 200, "deviceId": 1001}`)

	g.drivers["TPA1"].On("GrowVolume").For(v1).Fail(backend.ErrNoSpace, 1)
	return g.follow(g.ask(g.server, g.keys.client, http.MethodPut, path, `{"size": 500, "deviceId": 1001}`), task.Failed)
}

// moveVolume detaches the volume of device 1001 and brings it back.
func (g *golden) moveVolume(v1 string) {
	at := func(device int, id, action string) string {
		return fmt.Sprintf("/vps/%d/volume/%s/%s", device, id, action)
	}
	g.follow(g.ok("detachVolume", "success", at(1001, v1, "detach"), ""), task.Done)
	g.ok("getVolume", "success, detached", "/vps/volume/"+v1, "")
	g.no(409, "detachVolume", "not on the device", at(1001, v1, "detach"), "")
	g.no(400, "detachVolume", "a ROOT volume", at(1001, g.root(1001), "detach"), "")
	g.no(404, "detachVolume", "no such device", at(4711, v1, "detach"), "")
	g.no(404, "detachVolume", "no such volume", at(1001, nobody, "detach"), "")

	g.follow(g.ok("attachVolume", "success", at(1001, v1, "attach"), ""), task.Done)
	g.no(400, "attachVolume", "a ROOT volume", at(1001, g.root(1001), "attach"), "")
	g.no(404, "attachVolume", "no such device", at(4711, v1, "attach"), "")
	g.no(404, "attachVolume", "no such volume", at(1001, nobody, "attach"), "")
	g.no(409, "attachVolume", "attached already", at(1001, v1, "attach"), "")
}

// dropVolume deletes the volume of device 1001, held up so that its last state
// can be seen, and another one the other way a device may be named.
func (g *golden) dropVolume(v1 string) {
	path := "/vps/volume/" + v1
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	g.drivers["TPA1"].On("DeleteVolume").For(v1).Block(hold)
	going := g.ok("deleteVolume", "success", path, `{"deviceId": 1001}`)
	g.no(409, "deleteVolume", "a dry run, being deleted", path+"?dryRun=true", `{"deviceId": 1001}`)
	ctx, cancel := context.WithTimeout(g.t.Context(), awaitTime)
	defer cancel()
	g.must(g.drivers["TPA1"].WaitCalls(ctx, "DeleteVolume", 1))

	g.ok("getVolume", "success, being deleted", path, "")
	g.no(409, "deleteVolume", "being deleted", path, `{"deviceId": 1001}`)
	g.no(409, "resizeVolume", "being deleted", path, `{"size": 200, "deviceId": 1001}`)
	g.no(409, "detachVolume", "being deleted", "/vps/1001/volume/"+v1+"/detach", "")
	g.ok("getTask", "success, running", "/network/status/1001", "")
	release()
	g.follow(going, task.Done)

	v3 := g.follow(g.ask(g.server, g.keys.client, http.MethodPost, "/vps/volume", `{"size": 50, "deviceId": 1003}`), task.Done).VolumeID
	g.no(400, "attachVolume", "in different facilities", "/vps/1001/volume/"+g.detached(1003, v3)+"/attach", "")
	g.follow(g.ask(g.server, g.keys.client, http.MethodPost, "/vps/1003/volume/"+v3+"/attach", ""), task.Done)
	g.no(400, "deleteVolume", "no device", "/vps/volume/"+v3, "")
	g.quote("deleteVolume", "/vps/volume/"+v3, `{"deviceId": 1003}`)
	g.no(400, "deleteVolume", "a dry run that is none", "/vps/volume/"+v3+"?deviceId=1003&dryRun=perhaps", "")
	g.no(400, "deleteVolume", "another device", "/vps/volume/"+v3, `{"deviceId": 1001}`)
	g.no(400, "deleteVolume", "a ROOT volume", "/vps/volume/"+g.root(1001)+"?deviceId=1001", "")
	g.no(404, "deleteVolume", "no such volume", "/vps/volume/"+nobody+"?deviceId=1001", "")
	g.follow(g.ok("deleteVolume", "success, device in the query", "/vps/volume/"+v3+"?deviceId=1003", ""), task.Done)
}

// detached takes a volume off its device and returns it.
func (g *golden) detached(deviceID int, id string) string {
	g.t.Helper()
	g.follow(g.ask(g.server, g.keys.client, http.MethodPost, fmt.Sprintf("/vps/%d/volume/%s/detach", deviceID, id), ""), task.Done)
	return id
}

// form is what an ISO is made from.
func (g *golden) form(url string, change func(map[string]any)) string {
	f := map[string]any{"facilityCode": "TPA1", "bootable": "False", "name": "Demo", "description": "The smallest image", "url": url}
	change(f)
	b, err := json.Marshal(f)
	g.must(err)
	return string(b)
}

func same(map[string]any) {}

// importISOs returns one that is ready and one whose import failed.
func (g *golden) importISOs() (ready, bad string) {
	made := func(a answer) (id, taskID string) {
		var said struct{ ISOID, TaskID string }
		g.must(json.Unmarshal(a.body, &said))
		return said.ISOID, said.TaskID
	}
	const path = "/vps/iso"
	ready, taskID := made(g.ok("createISO", "success", path, g.form(g.images.URL+"/demo.iso", same)))
	if t := g.ended(taskID); t.State != task.Done {
		g.t.Fatalf("the import has failed: %s %s", t.Reason, t.Error)
	}
	bad, taskID = made(g.ask(g.server, g.keys.client, http.MethodPost, path, g.form(g.images.URL+"/page.iso", same)))
	g.ended(taskID)
	g.no(400, "createISO", "no fields", path, `{}`)
	g.no(400, "createISO", "wrong fields", path, g.form("x", func(f map[string]any) { f["bootable"], f["checksum"] = "maybe", "crc32:00" }))
	g.no(400, "createISO", "not the web", path, g.form("ftp://images.example.org/x.iso", same))
	g.no(400, "createISO", "an address inside", path, g.form("http://10.0.0.1/x.iso", same))
	g.no(400, "createISO", "no such facility", path, g.form(g.images.URL+"/demo.iso", func(f map[string]any) { f["facilityCode"] = "MARS1" }))
	g.no(403, "createISO", "another client", path, g.form(g.images.URL+"/demo.iso", func(f map[string]any) { f["clientId"] = 8 }))
	g.noAs(g.keys.operator, 400, "createISO", "an operator names no client", path, g.form(g.images.URL+"/demo.iso", same))
	g.noAs(g.keys.operator, 404, "createISO", "no such client", path, g.form(g.images.URL+"/demo.iso", func(f map[string]any) { f["clientId"] = 4711 }))
	return ready, bad
}

func (g *golden) readISOs(ready, bad string) {
	g.ok("getISO", "success", "/vps/iso/"+ready, "")
	g.ok("getISO", "success, import failed", "/vps/iso/"+bad+"?facilityCode=TPA1", "")
	g.no(404, "getISO", "no such ISO", "/vps/iso/"+nobody, "")
	g.no(404, "getISO", "in another facility", "/vps/iso/"+ready+"?facilityCode=LAX3", "")
	g.no(404, "getISO", "of another of the caller's clients", "/vps/iso/"+ready+"?clientId=9", "")
	g.no(403, "getISO", "another client", "/vps/iso/"+ready+"?clientId=8", "")
	g.ok("listISOs", "success", "/vps/iso?facilityCode=TPA1", "")
	g.ok("listISOs", "success, none", "/vps/iso?facilityCode=LAX3", "")
	g.no(400, "listISOs", "no facility", "/vps/iso", "")
	g.no(404, "listISOs", "no such facility", "/vps/iso?facilityCode=MARS1", "")
}

// useDrive leaves the ready ISO in the drive of device 1001.
func (g *golden) useDrive(ready, bad string) {
	form := func(id string) string { return `{"isoId": "` + id + `"}` }
	g.follow(g.ok("attachISO", "success", "/vps/1001/attachiso", form(ready)), task.Done)
	g.no(400, "attachISO", "no fields", "/vps/1001/attachiso", `{}`)
	g.no(400, "attachISO", "in different facilities", "/vps/1003/attachiso", form(ready))
	g.no(404, "attachISO", "no such device", "/vps/4711/attachiso", form(ready))
	g.no(404, "attachISO", "no such ISO", "/vps/1002/attachiso", form(nobody))
	g.no(409, "attachISO", "attached already", "/vps/1001/attachiso", form(ready))
	g.no(400, "attachISO", "wrong fields", "/vps/1001/attachiso", `{"isoId": "x", "bootOnce": "yes"}`)
	g.no(400, "attachISO", "once from one that is not bootable", "/vps/1002/attachiso", `{"isoId": "`+ready+`", "bootOnce": true}`)
	g.no(409, "attachISO", "not ready", "/vps/1002/attachiso", form(bad))

	g.follow(g.ok("detachISO", "success", "/vps/1001/detachiso", ""), task.Done)
	g.no(404, "detachISO", "no such device", "/vps/4711/detachiso", "")
	g.no(409, "detachISO", "none attached", "/vps/1001/detachiso", "")
	g.no(400, "detachISO", "wrong fields", "/vps/1001/detachiso", `{"force": 1}`)
	g.follow(g.ask(g.server, g.keys.client, http.MethodPost, "/vps/1001/attachiso", form(ready)), task.Done)
	g.lockedTray()
	g.follow(g.ask(g.server, g.keys.client, http.MethodPost, "/vps/1001/attachiso", form(ready)), task.Done)
	g.ok("getISO", "success, attached", "/vps/iso/"+ready, "")

	g.follow(g.ok("deleteISO", "success", "/vps/iso/"+bad, ""), task.Done)
	g.no(404, "deleteISO", "no such ISO", "/vps/iso/"+bad, "")
	g.no(404, "deleteISO", "in another facility", "/vps/iso/"+ready+"?facilityCode=LAX3", "")
	g.no(409, "deleteISO", "attached", "/vps/iso/"+ready, "")
}

// lockedTray has a guest lock its tray, which force opens.
func (g *golden) lockedTray() {
	d := g.drivers["TPA1"]
	d.SetTrayLocked("1001", true)
	locked := g.follow(g.ask(g.server, g.keys.client, http.MethodPost, "/vps/1001/detachiso", ""), task.Failed)
	g.ok("getTask", "success, failed for a locked tray", "/network/status/"+locked.ID, "")
	g.follow(g.ok("detachISO", "success, by force", "/vps/1001/detachiso", `{"force": true}`), task.Done)
	d.SetTrayLocked("1001", false)
}

// power leaves the devices as they were.
func (g *golden) power() {
	const path = "/vps/1002/power"
	g.follow(g.ok("powerVPS", "success", path, `{"action": "shutdown"}`), task.Done)
	g.ok("getVPS", "success, off", "/vps/1002", "")
	g.follow(g.ok("powerVPS", "success, action in the query", path+"?action=boot", ""), task.Done)
	g.no(400, "powerVPS", "no action", path, "")
	g.no(400, "powerVPS", "wrong fields", path, `{"action": "explode"}`)
	g.no(400, "powerVPS", "a wrong parameter", path+"?action=explode", "")
	g.no(404, "powerVPS", "no such device", "/vps/4711/power", `{"action": "boot"}`)
	g.noAs(g.keys.reader, 403, "powerVPS", "a key for reading", path, `{"action": "cycle"}`)
}

func (g *golden) devices() {
	g.ok("listVPS", "success", "/vps", "")
	g.ok("listVPS", "success, of a child client", "/vps?clientId=9", "")
	g.ok("listVPS", "success, on a host", "/vps?hostId=h1", "")
	g.no(404, "listVPS", "no such facility", "/vps?facilityCode=MARS1", "")
	g.ok("getVPS", "success", "/vps/1001", "")
	g.no(404, "getVPS", "no such device", "/vps/4711", "")
	g.no(404, "getVPS", "no number", "/vps/first", "")
	g.ok("listVPSEvents", "success", "/vps/1003/events", "")
	g.no(400, "listVPSEvents", "a wrong limit", "/vps/1003/events?limit=0", "")
	g.no(404, "listVPSEvents", "no such device", "/vps/4711/events", "")
	g.ok("listLocations", "success", "/inventory/locations", "")
}

func (g *golden) tasks(failed task.Task) {
	g.ok("getTask", "success, failed", "/network/status/"+failed.ID, "")
	g.ok("getTask", "success, the newest of a device", "/network/status/1003", "")
	g.ok("getTask", "success, waited for", "/network/status/"+failed.ID+"?wait=30s", "")
	g.no(400, "getTask", "a wait that is too long", "/network/status/"+failed.ID+"?wait=2m", "")
	g.no(404, "getTask", "no such task, waited for", "/network/status/"+nobody+"?wait=30s", "")
	g.no(404, "getTask", "no such task", "/network/status/"+nobody, "")
	g.no(404, "getTask", "no such device", "/network/status/4711", "")
	g.no(404, "getTask", "more digits than a device has", "/network/status/99999999999999999999", "")
	g.ok("listTasks", "success", "/network/status?deviceId=1003&createdInLast=24", "")
	g.ok("listTasks", "success, the newest", "/network/status?limit=1", "")
	g.ok("listTasks", "success, of a child client", "/network/status?clientId=9", "")
	g.no(400, "listTasks", "a wrong limit", "/network/status?limit=1001", "")
	g.no(404, "listTasks", "no such device", "/network/status?deviceId=4711", "")
	g.no(404, "listTasks", "a child client's device", "/network/status?deviceId=3001", "")
}

func (g *golden) services() {
	a := g.ok("listServices", "success", "/service?status=all", "")
	active := g.ok("listServices", "success, active", "/service?status=active&type_code=vps_volume&orderId=0", "")
	g.ok("listServices", "success, none", "/service?status=suspended", "")
	g.no(400, "listServices", "a wrong status", "/service?status=old", "")
	g.ok("listServiceTypes", "success", "/service/types", "")
	first := func(a answer) string {
		var said []struct{ ServiceID int64 }
		g.must(json.Unmarshal(a.body, &said))
		if len(said) == 0 {
			g.t.Fatal("there are no services")
		}
		return fmt.Sprintf("/service/%d", said[0].ServiceID)
	}
	g.ok("getService", "success", first(active), "")
	g.ok("getService", "success, cancelled", first(a), "")
	g.no(400, "getService", "a wrong parameter", "/service/1?includeZeroPriceOptions=perhaps", "")
	g.no(404, "getService", "no such service", "/service/4711", "")
}

// okAdmin is ok, and noAdmin no, with the operator's key.
func (g *golden) okAdmin(op, name, path, body string) answer {
	g.t.Helper()
	return g.okAs(g.keys.operator, op, name, path, body)
}

func (g *golden) noAdmin(status int, op, name, path, body string) {
	g.t.Helper()
	g.noAs(g.keys.operator, status, op, name, path, body)
}

func (g *golden) adminPlaces() {
	const site = `{"title": "Amsterdam 1", "city": "Amsterdam", "country": "NL"}`
	g.okAdmin("adminListNodes", "success", "/admin/nodes", "")
	g.noAs(g.keys.client, 403, "adminListNodes", "a client's key", "/admin/nodes", "")
	g.okAdmin("adminListFacilities", "success", "/admin/facilities", "")
	g.noAs(g.keys.client, 403, "adminListFacilities", "a client's key", "/admin/facilities", "")
	g.okAdmin("adminPutFacility", "success", "/admin/facilities/AMS1", site)
	g.noAdmin(400, "adminPutFacility", "no fields", "/admin/facilities/AMS1", `{}`)
	g.noAdmin(400, "adminPutFacility", "a wrong code", "/admin/facilities/ams", site)

	g.okAdmin("adminListDevices", "success", "/admin/devices?after=1001&limit=2", "")
	g.okAdmin("adminListDevices", "success, of a client", "/admin/devices?clientId=8", "")
	g.noAdmin(404, "adminListDevices", "no such client", "/admin/devices?clientId=4711", "")
	const device = `{"clientId": 8, "facilityCode": "LAX3", "deviceId": 2002, "hostname": "bay-2002", "vcpu": 4, "memory": 8192, "rootGiB": 30, "maxVolumes": 2}`
	g.follow(g.okAdmin("adminCreateDevice", "success", "/admin/devices", device), task.Done)
	g.noAdmin(400, "adminCreateDevice", "no fields", "/admin/devices", `{}`)
	g.noAdmin(400, "adminCreateDevice", "no such client", "/admin/devices", `{"clientId": 4711, "facilityCode": "LAX3"}`)
	g.noAdmin(400, "adminCreateDevice", "no such facility", "/admin/devices", `{"clientId": 8, "facilityCode": "MARS1"}`)
	g.noAdmin(400, "adminCreateDevice", "more volumes than the backend takes", "/admin/devices", `{"clientId": 8, "facilityCode": "LAX3", "maxVolumes": 1000}`)
	g.noAdmin(409, "adminCreateDevice", "there already", "/admin/devices", device)
}

func (g *golden) adminPeople() {
	g.okAdmin("adminListClients", "success", "/admin/clients?after=7", "")
	g.noAdmin(400, "adminListClients", "a wrong parameter", "/admin/clients?after=-1", "")
	g.okAdmin("adminCreateClient", "success", "/admin/clients", `{"name": "Harbour West", "parentId": 7}`)
	g.noAdmin(400, "adminCreateClient", "no fields", "/admin/clients", `{}`)
	g.noAdmin(404, "adminCreateClient", "no such parent", "/admin/clients", `{"name": "Lost", "parentId": 4711}`)
	g.okAdmin("adminGetClient", "success", "/admin/clients/9", "")
	g.noAdmin(404, "adminGetClient", "no such client", "/admin/clients/4711", "")

	in := func(d time.Duration) string { return noon.Add(d).Format(time.RFC3339) }
	a := g.okAdmin("adminCreateKey", "success", "/admin/keys",
		`{"clientId": 7, "name": "CI", "permissions": ["read", "volumes"], "expiresAt": "`+in(time.Hour)+`", "allowedAddresses": ["192.0.2.7", "2001:db8::1/32"]}`)
	g.noAdmin(400, "adminCreateKey", "no fields", "/admin/keys", `{}`)
	g.noAdmin(400, "adminCreateKey", "an address that is none", "/admin/keys", `{"clientId": 7, "name": "CI", "permissions": ["read"], "allowedAddresses": ["here"]}`)
	g.noAdmin(400, "adminCreateKey", "expired", "/admin/keys", `{"clientId": 7, "name": "CI", "permissions": ["read"], "expiresAt": "`+in(-time.Hour)+`"}`)
	g.noAdmin(400, "adminCreateKey", "a client's key for the operator", "/admin/keys", `{"clientId": 7, "name": "CI", "permissions": ["admin"]}`)
	g.noAdmin(404, "adminCreateKey", "no such client", "/admin/keys", `{"clientId": 4711, "name": "CI", "permissions": ["read"]}`)

	var made struct{ KeyID, Key string }
	g.must(json.Unmarshal(a.body, &made))
	g.okAdmin("adminRevokeKey", "success", "/admin/keys/"+made.KeyID, "")
	g.okAdmin("adminRevokeKey", "success, again", "/admin/keys/"+made.KeyID, "")
	g.noAdmin(404, "adminRevokeKey", "no such key", "/admin/keys/4711", "")
	g.noAdmin(404, "adminRevokeKey", "no number", "/admin/keys/0x1", "")
	g.okAdmin("adminListKeys", "success", "/admin/keys?clientId=7", "")
	g.okAdmin("adminListKeys", "success, the newest", "/admin/keys?limit=1", "")
	g.noAdmin(404, "adminListKeys", "no such client", "/admin/keys?clientId=4711", "")
}

func (g *golden) adminPrices() {
	g.okAdmin("adminListPrices", "success", "/admin/prices?facilityCode=LAX3", "")
	g.noAdmin(404, "adminListPrices", "no such facility", "/admin/prices?facilityCode=MARS1", "")
	g.okAdmin("adminPutPrice", "success", "/admin/prices/LAX3/50", `{"monthlyPrice": 6.29}`)
	g.noAdmin(400, "adminPutPrice", "no fields", "/admin/prices/LAX3/50", `{}`)
	g.noAdmin(400, "adminPutPrice", "parts of a cent", "/admin/prices/LAX3/50", `{"monthlyPrice": 6.295}`)
	g.noAdmin(404, "adminPutPrice", "no such facility", "/admin/prices/MARS1/50", `{"monthlyPrice": 6}`)
	g.okAdmin("adminDeletePrice", "success", "/admin/prices/LAX3/500", "")
	g.noAdmin(404, "adminDeletePrice", "not on sale", "/admin/prices/LAX3/500", "")

	g.ok("listVolumeSizes", "success", "/vps/available-volume-sizes", "")
	g.ok("listVolumeSizes", "success, of a facility", "/vps/available-volume-sizes?facilityCode=LAX3", "")
	g.no(404, "listVolumeSizes", "no such facility", "/vps/available-volume-sizes?facilityCode=MARS1", "")

	g.okAdmin("adminListCharges", "success", "/admin/charges?clientId=7", "")
	g.okAdmin("adminListCharges", "success, a page", "/admin/charges?before=3&limit=1", "")
	g.noAdmin(400, "adminListCharges", "a wrong limit", "/admin/charges?limit=0", "")
	g.noAdmin(404, "adminListCharges", "no such client", "/admin/charges?clientId=4711", "")
}

// adminDoctor spoils the storage and looks at it.
func (g *golden) adminDoctor() {
	ctx := g.t.Context()
	g.must(g.drivers["LAX3"].EnsureVolume(ctx, backend.VolumeSpec{ID: "stray", Bytes: 1 << 30}))
	g.must(g.drivers["TPA1"].SetMedia(ctx, "1001", "", true))
	g.okAdmin("adminListFindings", "success, none", "/admin/findings", "")
	g.follow(g.okAdmin("adminReconcile", "success", "/admin/reconcile", `{"repair": false}`), task.Done)
	g.okAdmin("adminListFindings", "success", "/admin/findings", "")
	g.okAdmin("adminListFindings", "success, of a class and a facility", "/admin/findings?class=orphan_disk&facilityCode=TPA1", "")
	g.noAdmin(400, "adminListFindings", "a class there is not", "/admin/findings?class=ghost", "")
	g.noAdmin(404, "adminListFindings", "no such facility", "/admin/findings?facilityCode=MARS1", "")
	g.noAs(g.keys.client, 403, "adminReconcile", "a client's key", "/admin/reconcile", `{"repair": true}`)
	g.noAdmin(400, "adminReconcile", "no fields", "/admin/reconcile", `{}`)
	g.noAdmin(400, "adminReconcile", "no such facility", "/admin/reconcile", `{"repair": true, "facilityCode": "MARS1"}`)

	mended := g.follow(g.okAdmin("adminReconcile", "success, repairs", "/admin/reconcile", `{"repair": true, "graceSeconds": 0}`), task.Done)
	g.okAdmin("getTask", "success, an operator's own", "/network/status/"+mended.ID, "")
	g.no(404, "getTask", "an operator's task as a client", "/network/status/"+mended.ID, "")
	g.okAdmin("adminListQuarantine", "success", "/admin/quarantine", "")
	g.okAdmin("adminListQuarantine", "success, none", "/admin/quarantine?facilityCode=TPA1", "")
	g.noAdmin(400, "adminListQuarantine", "a wrong limit", "/admin/quarantine?limit=0", "")
	g.noAdmin(404, "adminListQuarantine", "no such facility", "/admin/quarantine?facilityCode=MARS1", "")

	var held []struct{ QuarantineID int64 }
	g.must(json.Unmarshal(g.ask(g.server, g.keys.operator, http.MethodGet, "/admin/quarantine", "").body, &held))
	if len(held) != 1 {
		g.t.Fatalf("in quarantine: %+v", held)
	}
	path := fmt.Sprintf("/admin/quarantine/%d", held[0].QuarantineID)
	old := *g.deps.Reconcile
	old.Retention = 0
	later := g.serve(func(d *httpapi.Deps) { d.Reconcile = &old })
	g.noAdmin(409, "adminDeleteQuarantine", "before its time", path, "")
	g.follow(g.say(later, g.keys.operator, "adminDeleteQuarantine", "success", 201, path, ""), task.Done)
	g.say(g.server, "", "adminDeleteQuarantine", "no key", 403, path, "")
	g.say(g.server, g.keys.operator, "adminDeleteQuarantine", "a mask that cannot be read", 400, path, "", "X-Fields", "{")
	g.noAdmin(404, "adminDeleteQuarantine", "nothing under this id", path, "")
}

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/drivebay/drivebay/api"
)

// TestInstall is what a person does who installs a system: attach an installer to
// start from once, cycle the power, let it restart.
func TestInstall(t *testing.T) {
	t.Parallel()
	s := startDemo(t, allow)
	c, o := s.client(), newOrigin(t)
	iso := c.importISO("TPA1", o.serve("/installer.iso", newImage("INSTALL", 1<<20, true)), true)
	if task := c.ended(*iso.TaskID); task.Result != "Success" {
		t.Fatalf("import: %s", task.Message)
	}
	task := c.succeed("POST", "/vps/1001/attachiso", map[string]any{"isoId": iso.ISOID, "bootOnce": true})
	if !strings.Contains(task.Message, "cycle") {
		t.Errorf("the device runs, and the message is %q", task.Message)
	}
	c.succeed("POST", "/vps/1001/power?action=cycle", nil)
	c.awaitKind("iso.booted")
	if got := c.iso(iso.ISOID); len(got.DeviceIds) != 1 {
		t.Errorf("after the start from it the ISO is attached to %v", got.DeviceIds)
	}
	c.succeed("POST", "/vps/1001/power", map[string]any{"action": "reboot"})
	c.awaitKind("iso.detach")
	if got := c.iso(iso.ISOID); len(got.DeviceIds) != 0 {
		t.Errorf("after the restart the ISO is attached to %v", got.DeviceIds)
	}

	c.succeed("POST", "/vps/1001/power", map[string]any{"action": "shutdown"})
	var vps api.VPS
	c.want(http.StatusOK, "GET", "/vps/1001", nil, &vps)
	if vps.Status != "Stopped" || vps.ISOID != nil {
		t.Errorf("after a shutdown: %+v", vps)
	}
	c.succeed("POST", "/vps/1001/attachiso", map[string]any{"isoId": iso.ISOID})
	c.refused(http.StatusConflict, "device_has_iso", "POST", "/vps/1001/attachiso", map[string]any{"isoId": iso.ISOID})
	c.succeed("POST", "/vps/1001/detachiso", map[string]any{"force": true})
	c.succeed("POST", "/vps/1001/power", map[string]any{"action": "boot"})
	s.stop()
	check(t, s.dir)
}

// awaitKind waits until the newest task of device 1001 that the server itself has
// accepted for the action has ended well.
func (c *client) awaitKind(action string) {
	c.t.Helper()
	ctx := within(c.t, patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var list []api.Task
		c.want(http.StatusOK, "GET", "/network/status?deviceId=1001", nil, &list)
		for _, task := range list {
			if strings.Contains(task.MetaData, `"action":"`+action+`"`) {
				if ended := c.ended(task.TaskID); ended.Result != "Success" {
					c.t.Fatalf("%s: %s", action, ended.Message)
				}
				return
			}
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("no task %s", action)
		case <-tick.C:
		}
	}
}

package store

// table is a table of the schema as export and import see it.
type table struct {
	name string
	// key is the primary key: the order of the rows in the file.
	key []string
	// numbered: the database hands out the key and never uses one again.
	numbered bool
	// bools are the columns that hold a boolean, for SQLite, which calls them
	// INTEGER.
	bools []string
	// as is what stands in the file instead of a column.
	as map[string]string
}

// tables are those that are exported, each behind the tables it refers to. A
// test holds the list, and what it says of each, to the schema of both
// engines: a new table is listed here or in leftOut.
var tables = []table{
	{name: "facility", key: []string{"id"}},
	{name: "client", key: []string{"id"}},
	{name: "api_key", key: []string{"id"}},
	{name: "iso", key: []string{"id"}, bools: []string{"bootable", "bios", "uefi"}},
	{name: "device", key: []string{"id"}},
	{name: "price", key: []string{"facility_code", "size_gib"}},
	{name: "volume", key: []string{"id"}},
	{name: "iso_content", key: []string{"facility_code", "sha256"}},
	// A task that runs is given back: whoever runs it now will not go on with
	// it there. Its attempts are counted on, so that every write of that run
	// is refused. Numbers are not used again, since drivers compare them.
	{name: "task", key: []string{"seq"}, numbered: true, bools: []string{"cancel"}, as: map[string]string{
		"state":       `CASE WHEN state = 'running' THEN 'ready' ELSE state END`,
		"owner":       `CASE WHEN state = 'running' THEN NULL ELSE owner END`,
		"lease_until": `CASE WHEN state = 'running' THEN NULL ELSE lease_until END`,
	}},
	{name: "task_after", key: []string{"seq", "after_seq"}},
	{name: "event", key: []string{"seq"}, numbered: true},
	{name: "service", key: []string{"id"}, numbered: true},
	{name: "charge", key: []string{"id"}, numbered: true},
	{name: "client_quota", key: []string{"client_id"}},
	{name: "finding", key: []string{"id"}, numbered: true, bools: []string{"confirmed"}},
	{name: "quarantine", key: []string{"id"}, numbered: true},
	{name: "idempotency_key", key: []string{"scope", "key"}},
}

// leftOut are the other tables, and why.
var leftOut = map[string]string{
	"node":       "who is running at the moment: they come back by themselves",
	versionTable: "the version of the schema: it is in the header",
}

// versionTable is goose's.
const versionTable = "goose_db_version"

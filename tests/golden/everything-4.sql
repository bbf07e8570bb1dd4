PRAGMA application_id = 1229866070;
PRAGMA user_version = 4;
BEGIN TRANSACTION;
CREATE TABLE belief (
	id INTEGER NOT NULL, 
	turn_id INTEGER NOT NULL, 
	proposition_id INTEGER NOT NULL, 
	holds INTEGER NOT NULL CHECK (holds IN (0, 1)), 
	PRIMARY KEY (id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id), 
	FOREIGN KEY(proposition_id) REFERENCES proposition (id)
);
INSERT INTO "belief" VALUES(1,3,1,1);
INSERT INTO "belief" VALUES(2,3,2,0);
CREATE TABLE cache (
	code INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (code)
);
INSERT INTO "cache" VALUES(0,'retained');
INSERT INTO "cache" VALUES(1,'transferred');
INSERT INTO "cache" VALUES(2,'rebuilt');
INSERT INTO "cache" VALUES(3,'unknown');
CREATE TABLE cache_span (
	cache_id INTEGER NOT NULL, 
	start INTEGER NOT NULL, 
	"end" INTEGER NOT NULL, 
	how INTEGER NOT NULL CHECK (how BETWEEN 0 AND 5), 
	source_id INTEGER, 
	source_start INTEGER CHECK (source_start >= 0), 
	server_id INTEGER, 
	time TEXT, 
	layers_json TEXT, 
	PRIMARY KEY (cache_id, start), 
	CHECK (start >= 0 AND "end" > start), 
	FOREIGN KEY(cache_id) REFERENCES kv_cache (id), 
	FOREIGN KEY(source_id) REFERENCES kv_cache (id), 
	FOREIGN KEY(server_id) REFERENCES server (id)
)
 WITHOUT ROWID

;
INSERT INTO "cache_span" VALUES(1,0,7,1,NULL,NULL,1,'2026-04-14T16:33:03+00:00',NULL);
INSERT INTO "cache_span" VALUES(2,0,5,2,1,2,NULL,NULL,NULL);
INSERT INTO "cache_span" VALUES(2,5,9,5,1,0,NULL,NULL,'[46, 47]');
CREATE TABLE connection (
	turn_id INTEGER NOT NULL, 
	from_id INTEGER NOT NULL, 
	mass REAL CHECK (mass BETWEEN 0 AND 1), 
	kl REAL CHECK (kl >= 0), 
	layers BLOB, 
	PRIMARY KEY (turn_id, from_id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id), 
	FOREIGN KEY(from_id) REFERENCES turn (id)
)
 WITHOUT ROWID

;
INSERT INTO "connection" VALUES(3,1,0.25,NULL,X'CDCCCC3DCDCCCC3E');
INSERT INTO "connection" VALUES(3,2,NULL,1.5,NULL);
CREATE TABLE conversation (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	recording_id INTEGER NOT NULL, 
	parent_id INTEGER, 
	at INTEGER CHECK (at >= 0), 
	principal TEXT, 
	PRIMARY KEY (id), 
	CHECK ((parent_id IS NULL) = (at IS NULL)), 
	UNIQUE ("key"), 
	FOREIGN KEY(recording_id) REFERENCES recording (id), 
	FOREIGN KEY(parent_id) REFERENCES conversation (id)
);
INSERT INTO "conversation" VALUES(1,'c1',1,NULL,NULL,'Café Ltd');
INSERT INTO "conversation" VALUES(2,'c2',1,1,2,NULL);
INSERT INTO "conversation" VALUES(3,'12',1,NULL,NULL,NULL);
CREATE TABLE coordinate (
	turn_id INTEGER NOT NULL, 
	probe_id INTEGER NOT NULL, 
	value REAL NOT NULL, 
	PRIMARY KEY (turn_id, probe_id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id), 
	FOREIGN KEY(probe_id) REFERENCES probe (id)
)
 WITHOUT ROWID

;
INSERT INTO "coordinate" VALUES(2,1,-12.25);
INSERT INTO "coordinate" VALUES(2,2,1.0e-09);
CREATE TABLE derivation (
	code INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (code)
);
INSERT INTO "derivation" VALUES(0,'decoded');
INSERT INTO "derivation" VALUES(1,'prefilled');
INSERT INTO "derivation" VALUES(2,'transferred');
INSERT INTO "derivation" VALUES(3,'restored');
INSERT INTO "derivation" VALUES(4,'shared');
INSERT INTO "derivation" VALUES(5,'edited');
CREATE TABLE intervention (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	vector TEXT, 
	digest TEXT, 
	layers_json TEXT, 
	coefficient REAL, 
	threshold REAL, 
	positions TEXT, 
	method TEXT, 
	source TEXT, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "intervention" VALUES(1,'push','steering','assistant axis','sha256:2','[46, 47]',-1.5,0.25,'assistant','added','us');
CREATE TABLE kv_cache (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	model_id INTEGER NOT NULL, 
	server_id INTEGER, 
	source_id INTEGER, 
	how INTEGER NOT NULL CHECK (how BETWEEN 0 AND 5), 
	positions INTEGER, 
	drift REAL CHECK (drift >= 0), 
	drift_kl REAL, 
	time TEXT, 
	drift_mean REAL CHECK (drift_mean >= 0), 
	drift_json TEXT, 
	PRIMARY KEY (id), 
	UNIQUE ("key"), 
	FOREIGN KEY(model_id) REFERENCES model (id), 
	FOREIGN KEY(server_id) REFERENCES server (id), 
	FOREIGN KEY(source_id) REFERENCES kv_cache (id)
);
INSERT INTO "kv_cache" VALUES(1,'k1',1,1,NULL,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "kv_cache" VALUES(2,'k2',1,2,1,2,10,0.0,0.5,'2026-04-14T16:33:03+00:00',0.0,'{"keys": [0.0, 0.0], "values": [0.0, 0.0], "coordinates": {"deep": 0.25}}');
CREATE TABLE labelled_part (
	id INTEGER NOT NULL, 
	labelling_id INTEGER NOT NULL, 
	turn_id INTEGER NOT NULL, 
	token INTEGER NOT NULL CHECK (token >= 0), 
	region TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (labelling_id, turn_id, token), 
	FOREIGN KEY(labelling_id) REFERENCES labelling (id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id)
);
INSERT INTO "labelled_part" VALUES(1,3,3,0,'one');
INSERT INTO "labelled_part" VALUES(2,3,3,7,'two');
INSERT INTO "labelled_part" VALUES(3,3,3,30,NULL);
INSERT INTO "labelled_part" VALUES(4,3,5,0,NULL);
CREATE TABLE labelled_probability (
	part_id INTEGER NOT NULL, 
	region TEXT NOT NULL, 
	ordinal INTEGER NOT NULL CHECK (ordinal >= 0), 
	probability REAL NOT NULL CHECK (probability BETWEEN 0 AND 1), 
	PRIMARY KEY (part_id, region), 
	FOREIGN KEY(part_id) REFERENCES labelled_part (id)
)
 WITHOUT ROWID

;
INSERT INTO "labelled_probability" VALUES(1,'one',0,0.75);
INSERT INTO "labelled_probability" VALUES(1,'two',1,0.125);
INSERT INTO "labelled_probability" VALUES(3,'one',0,0.25);
CREATE TABLE labelling (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	own INTEGER NOT NULL, 
	made_json TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "labelling" VALUES(1,'axis',1,NULL);
INSERT INTO "labelling" VALUES(2,'strict',0,NULL);
INSERT INTO "labelling" VALUES(3,'found',0,'{"method": "mixture", "number": 2}');
CREATE TABLE model (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	name TEXT, 
	digest TEXT, 
	base TEXT, 
	dtype TEXT, 
	layers INTEGER, 
	kv_heads INTEGER, 
	head_dim INTEGER, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "model" VALUES(1,'qwen','Qwen/Qwen3-32B','sha256:1',NULL,'bfloat16',64,8,128);
INSERT INTO "model" VALUES(2,'tuned','me/tuned',NULL,'qwen',NULL,NULL,NULL,NULL);
CREATE TABLE probe (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	axis TEXT NOT NULL, 
	layer INTEGER, 
	pooling TEXT, 
	unit TEXT, 
	source TEXT, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "probe" VALUES(1,'assistant','assistant',50,'mean','norm','fit');
INSERT INTO "probe" VALUES(2,'deep','assistant',60,NULL,NULL,NULL);
INSERT INTO "probe" VALUES(3,'evil','evil',NULL,NULL,NULL,NULL);
CREATE TABLE proposition (
	id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (text)
);
INSERT INTO "proposition" VALUES(1,'p');
INSERT INTO "proposition" VALUES(2,'q');
CREATE TABLE recording (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	title TEXT, 
	source TEXT, 
	case_json TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "recording" VALUES(1,'trace','All there is: a café, 日本','by hand','{"section": "1.2", "expected": [{"view": "model", "count": 2}]}');
CREATE TABLE region (
	id INTEGER NOT NULL, 
	space_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (space_id, name), 
	FOREIGN KEY(space_id) REFERENCES space (id)
);
INSERT INTO "region" VALUES(1,1,'assistant');
INSERT INTO "region" VALUES(2,1,'aura');
INSERT INTO "region" VALUES(3,2,'all');
INSERT INTO "region" VALUES(4,3,'one');
INSERT INTO "region" VALUES(5,3,'two');
CREATE TABLE region_name (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "region_name" VALUES(1,'aura');
INSERT INTO "region_name" VALUES(2,'new');
CREATE TABLE region_probability (
	turn_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	region_name_id INTEGER NOT NULL, 
	probability REAL NOT NULL CHECK (probability BETWEEN 0 AND 1), 
	PRIMARY KEY (turn_id, ordinal), 
	UNIQUE (turn_id, region_name_id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id), 
	FOREIGN KEY(region_name_id) REFERENCES region_name (id)
)
 WITHOUT ROWID

;
INSERT INTO "region_probability" VALUES(5,0,2,0.25);
INSERT INTO "region_probability" VALUES(5,1,1,0.7);
CREATE TABLE region_range (
	id INTEGER NOT NULL, 
	region_id INTEGER NOT NULL, 
	axis_id INTEGER NOT NULL, 
	low REAL, 
	high REAL, 
	PRIMARY KEY (id), 
	CHECK (low <= high), 
	FOREIGN KEY(region_id) REFERENCES region (id), 
	FOREIGN KEY(axis_id) REFERENCES space_axis (id)
);
INSERT INTO "region_range" VALUES(1,1,1,10.0,NULL);
INSERT INTO "region_range" VALUES(2,2,1,NULL,-40.0);
INSERT INTO "region_range" VALUES(3,2,2,0.0,1.5);
INSERT INTO "region_range" VALUES(4,3,3,0.5,2.5);
CREATE TABLE role (
	code INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (code)
);
INSERT INTO "role" VALUES(0,'system');
INSERT INTO "role" VALUES(1,'user');
INSERT INTO "role" VALUES(2,'assistant');
INSERT INTO "role" VALUES(3,'tool');
CREATE TABLE server (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	hardware TEXT, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "server" VALUES(1,'new-york','H200');
INSERT INTO "server" VALUES(2,'no',NULL);
CREATE TABLE space (
	id INTEGER NOT NULL, 
	labelling_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	model TEXT NOT NULL, 
	layer INTEGER, 
	pooling TEXT, 
	unit TEXT, 
	source TEXT, 
	discrete INTEGER CHECK (discrete IN (0, 1)), 
	PRIMARY KEY (id), 
	UNIQUE (labelling_id, name), 
	FOREIGN KEY(labelling_id) REFERENCES labelling (id)
);
INSERT INTO "space" VALUES(1,1,'axis','qwen',50,'mean','norm','fit',1);
INSERT INTO "space" VALUES(2,2,'narrow','Qwen/Qwen3-32B',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "space" VALUES(3,3,'mixed','qwen',NULL,NULL,NULL,NULL,0);
CREATE TABLE space_axis (
	id INTEGER NOT NULL, 
	space_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(space_id) REFERENCES space (id)
);
INSERT INTO "space_axis" VALUES(1,1,'assistant');
INSERT INTO "space_axis" VALUES(2,1,'evil');
INSERT INTO "space_axis" VALUES(3,2,'assistant');
INSERT INTO "space_axis" VALUES(4,3,'evil');
CREATE TABLE stated_region (
	turn_id INTEGER NOT NULL, 
	region_name_id INTEGER NOT NULL, 
	PRIMARY KEY (turn_id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id), 
	FOREIGN KEY(region_name_id) REFERENCES region_name (id)
);
INSERT INTO "stated_region" VALUES(3,1);
CREATE TABLE token_coordinates (
	turn_id INTEGER NOT NULL, 
	probes_json TEXT NOT NULL, 
	tokens INTEGER NOT NULL, 
	float32 BLOB NOT NULL, 
	PRIMARY KEY (turn_id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id)
);
INSERT INTO "token_coordinates" VALUES(2,'["assistant", "deep"]',3,X'000000000000803F0000004000004040000080400000A040');
CREATE TABLE turn (
	id INTEGER NOT NULL, 
	conversation_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL CHECK (ordinal >= 0), 
	role INTEGER NOT NULL CHECK (role BETWEEN 0 AND 3), 
	tokens INTEGER CHECK (tokens >= 1), 
	model_id INTEGER NOT NULL, 
	server_id INTEGER, 
	cache INTEGER CHECK (cache BETWEEN 0 AND 3), 
	edited INTEGER NOT NULL CHECK (edited IN (0, 1)), 
	kv_cache_id INTEGER, 
	drift REAL CHECK (drift >= 0), 
	shared_from_id INTEGER, 
	start INTEGER CHECK (start >= 0), 
	PRIMARY KEY (id), 
	UNIQUE (conversation_id, ordinal), 
	FOREIGN KEY(conversation_id) REFERENCES conversation (id), 
	FOREIGN KEY(model_id) REFERENCES model (id), 
	FOREIGN KEY(server_id) REFERENCES server (id), 
	FOREIGN KEY(kv_cache_id) REFERENCES kv_cache (id), 
	FOREIGN KEY(shared_from_id) REFERENCES turn (id)
);
INSERT INTO "turn" VALUES(1,1,0,0,NULL,1,1,NULL,0,1,NULL,NULL,NULL);
INSERT INTO "turn" VALUES(2,1,1,1,3,1,1,NULL,0,1,NULL,NULL,4);
INSERT INTO "turn" VALUES(3,1,2,2,40,1,2,NULL,1,2,NULL,NULL,NULL);
INSERT INTO "turn" VALUES(4,1,3,3,2,1,NULL,2,0,NULL,0.0021,NULL,NULL);
INSERT INTO "turn" VALUES(5,1,4,2,4,1,NULL,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "turn" VALUES(6,2,0,2,1,2,1,NULL,0,NULL,NULL,NULL,NULL);
INSERT INTO "turn" VALUES(7,3,0,1,1,1,NULL,NULL,0,NULL,NULL,1,NULL);
CREATE TABLE turn_detail (
	turn_id INTEGER NOT NULL, 
	text TEXT, 
	token_ids BLOB, 
	token_marks TEXT, 
	time TEXT, 
	sampling_json TEXT, 
	PRIMARY KEY (turn_id), 
	FOREIGN KEY(turn_id) REFERENCES turn (id)
);
INSERT INTO "turn_detail" VALUES(1,'no',NULL,NULL,NULL,NULL);
INSERT INTO "turn_detail" VALUES(2,'a: [b]
# c',X'010000000200000003000000','tch','2026-04-14T16:33:03+00:00',NULL);
INSERT INTO "turn_detail" VALUES(3,NULL,NULL,NULL,NULL,'{"temperature": 0.7, "stop": ["x"]}');
CREATE TABLE turn_intervention (
	turn_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	intervention_id INTEGER NOT NULL, 
	PRIMARY KEY (turn_id, ordinal), 
	FOREIGN KEY(turn_id) REFERENCES turn (id), 
	FOREIGN KEY(intervention_id) REFERENCES intervention (id)
)
 WITHOUT ROWID

;
INSERT INTO "turn_intervention" VALUES(3,0,1);
CREATE TRIGGER recording_no_update BEFORE update ON recording BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER recording_no_delete BEFORE delete ON recording BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER model_no_update BEFORE update ON model BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER model_no_delete BEFORE delete ON model BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER server_no_update BEFORE update ON server BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER server_no_delete BEFORE delete ON server BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER probe_no_update BEFORE update ON probe BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER probe_no_delete BEFORE delete ON probe BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER intervention_no_update BEFORE update ON intervention BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER intervention_no_delete BEFORE delete ON intervention BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER conversation_no_update BEFORE update ON conversation BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER conversation_no_delete BEFORE delete ON conversation BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER kv_cache_no_update BEFORE update ON kv_cache BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER kv_cache_no_delete BEFORE delete ON kv_cache BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER turn_no_update BEFORE update ON turn BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER turn_no_delete BEFORE delete ON turn BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER turn_detail_no_update BEFORE update ON turn_detail BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER turn_detail_no_delete BEFORE delete ON turn_detail BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER turn_intervention_no_update BEFORE update ON turn_intervention BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER turn_intervention_no_delete BEFORE delete ON turn_intervention BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER coordinate_no_update BEFORE update ON coordinate BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER coordinate_no_delete BEFORE delete ON coordinate BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER token_coordinates_no_update BEFORE update ON token_coordinates BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER token_coordinates_no_delete BEFORE delete ON token_coordinates BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER proposition_no_update BEFORE update ON proposition BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER proposition_no_delete BEFORE delete ON proposition BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER belief_no_update BEFORE update ON belief BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER belief_no_delete BEFORE delete ON belief BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER region_name_no_update BEFORE update ON region_name BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER region_name_no_delete BEFORE delete ON region_name BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER stated_region_no_update BEFORE update ON stated_region BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER stated_region_no_delete BEFORE delete ON stated_region BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER region_probability_no_update BEFORE update ON region_probability BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER region_probability_no_delete BEFORE delete ON region_probability BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER cache_span_no_update BEFORE update ON cache_span BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER cache_span_no_delete BEFORE delete ON cache_span BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER connection_no_update BEFORE update ON connection BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE TRIGGER connection_no_delete BEFORE delete ON connection BEGIN SELECT RAISE(ABORT, 'facts are append-only'); END;
CREATE VIEW turns AS SELECT c.key || '/' || t.ordinal AS stage, c.key AS conversation, t.ordinal, r.name AS role, t.tokens, m.key AS model, s.key AS server, c.principal, k.name AS cache, t.edited, t.drift, v.key AS kv_cache, t.start, n.name AS stated_region, d.time, d.text FROM turn t JOIN conversation c ON c.id = t.conversation_id JOIN role r ON r.code = t.role JOIN model m ON m.id = t.model_id LEFT JOIN server s ON s.id = t.server_id LEFT JOIN cache k ON k.code = t.cache LEFT JOIN kv_cache v ON v.id = t.kv_cache_id LEFT JOIN stated_region g ON g.turn_id = t.id LEFT JOIN region_name n ON n.id = g.region_name_id LEFT JOIN turn_detail d ON d.turn_id = t.id ORDER BY t.conversation_id, t.ordinal;
COMMIT;

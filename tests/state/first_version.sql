-- A state as the first version (revision 0001) wrote it, dumped by sqlite3: made by real runs of that
-- version with a contract of every status, a watermark that a person moved, and at the end a kill -9
-- in the middle of PUTs. Never change it: every later version must open it.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES('0001');
CREATE TABLE contract (
	source_id TEXT NOT NULL, 
	reference TEXT, 
	payload TEXT NOT NULL, 
	acknowledged TEXT, 
	status TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_attempt_at DATETIME, 
	http_status INTEGER, 
	last_error TEXT, 
	held_run INTEGER, 
	in_doubt DATETIME, 
	claimed_by TEXT, 
	claimed_until DATETIME, 
	first_seen_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	acknowledged_at DATETIME, 
	gone_at DATETIME, 
	CONSTRAINT pk_contract PRIMARY KEY (source_id), 
	CONSTRAINT uq_contract_reference UNIQUE (reference)
);
INSERT INTO contract VALUES('1','erp-1','{"account":"ACME","description":"Gold","end":"2026-12-31","start":"2024-01-01"}','{"account":"ACME","description":"Gold","end":"2026-12-31","start":"2024-01-01"}','synced',0,NULL,201,NULL,NULL,NULL,NULL,NULL,'2026-11-24 12:11:51.678444','2026-11-24 12:11:51.678444','2026-11-24 12:11:51.703743',NULL);
INSERT INTO contract VALUES('2','erp-2','{"account":"Globex","description":"Gold","end":"2026-12-31","start":"2024-01-01"}','{"account":"Globex","description":"Gold","end":"2026-12-31","start":"2024-01-01"}','synced',0,NULL,201,NULL,NULL,NULL,NULL,NULL,'2026-11-24 12:11:51.678444','2026-11-24 12:11:51.678444','2026-11-24 12:11:51.709040',NULL);
INSERT INTO contract VALUES('3','erp-3','{"account":"Initech","description":"Basic","end":null,"start":"2024-01-01"}','{"account":"Initech","description":"Gold","end":null,"start":"2024-01-01"}','held',0,NULL,NULL,NULL,2,NULL,NULL,NULL,'2026-11-24 12:11:51.678444','2026-11-24 12:12:31.727496','2026-11-24 12:11:51.709078',NULL);
INSERT INTO contract VALUES('4','erp-4','{"account":null,"description":"Gold","end":"2026-12-31","start":"2024-01-01"}',NULL,'rejected',0,NULL,NULL,'[{"field": "account", "message": "must not be empty"}]',NULL,NULL,NULL,NULL,'2026-11-24 12:11:51.678444','2026-11-24 12:11:51.678444',NULL,NULL);
INSERT INTO contract VALUES('5','erp-5','{"account":"ACME","description":"Silver","end":"2020-01-01","start":"2024-01-01"}','{"account":"ACME","description":"Gold","end":"2020-01-01","start":"2024-01-01"}','pending',0,'2026-11-24 12:12:30.451209',NULL,NULL,NULL,'2026-11-24 12:12:57.995464','ops1:7162','2026-11-24 12:15:57.995464','2026-11-24 12:11:51.678444','2026-11-24 12:12:30.451209','2026-11-24 12:11:51.709106',NULL);
INSERT INTO contract VALUES('6','erp-6','{"account":"Umbrella","description":"Gold","end":"2026-12-31","start":"2024-01-01"}',NULL,'waiting',1,'2026-11-24 12:12:51.709146',422,'[{"field": "account", "message": "The selected account is invalid."}]',NULL,'2026-11-24 12:12:57.995464','ops1:7162','2026-11-24 12:15:57.995464','2026-11-24 12:11:51.678444','2026-11-24 12:11:51.678444',NULL,NULL);
INSERT INTO contract VALUES('7','erp-7','{"account":"Globex","description":"Gold","end":"2026-12-31","start":"2024-01-01"}','{"account":"Globex","description":"Gold","end":"2026-12-31","start":"2024-01-01"}','gone',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-11-24 12:11:51.678444','2026-11-24 12:11:53.027714','2026-11-24 12:11:51.709169','2026-11-24 12:11:53.027714');
INSERT INTO contract VALUES('8','erp-8','{"account":"ACME","description":"Gold","end":"2026-12-31","start":"2024-01-01"}',NULL,'rejected',1,NULL,422,'[{"field": "", "message": "422 Server Error"}]',NULL,NULL,NULL,NULL,'2026-11-24 12:12:27.502891','2026-11-24 12:12:27.502891',NULL,NULL);
INSERT INTO contract VALUES('9','erp-9','{"account":"ACME","description":"Gold","end":"2026-12-31","start":"2024-01-01"}',NULL,'pending',1,'2026-11-24 12:12:29.681964',NULL,'[{"field": "", "message": "the connection broke (ClientOSError)"}]',NULL,'2026-11-24 12:12:57.995464','ops1:7162','2026-11-24 12:15:57.995464','2026-11-24 12:12:28.929420','2026-11-24 12:12:28.929420',NULL,NULL);
INSERT INTO contract VALUES('10','erp-10','{"account":"Globex","description":"Gold","end":"2026-12-31","start":"2024-01-01"}',NULL,'pending',0,'2026-11-24 12:12:30.451209',NULL,NULL,NULL,'2026-11-24 12:12:57.995464','ops1:7162','2026-11-24 12:15:57.995464','2026-11-24 12:12:30.451209','2026-11-24 12:12:30.451209',NULL,NULL);
INSERT INTO contract VALUES('11','erp-11','{"account":"Globex","description":"Gold","end":"2026-12-31","start":"2024-01-01"}',NULL,'pending',0,'2026-11-24 12:12:57.974612',NULL,NULL,NULL,'2026-11-24 12:12:57.995464','ops1:7162','2026-11-24 12:15:57.995464','2026-11-24 12:12:57.974612','2026-11-24 12:12:57.974612',NULL,NULL);
CREATE TABLE watermark (
	id INTEGER NOT NULL, 
	value TEXT, 
	type TEXT, 
	version INTEGER NOT NULL, 
	moved_at DATETIME, 
	CONSTRAINT pk_watermark PRIMARY KEY (id)
);
INSERT INTO watermark VALUES(1,'2026-11-24T12:12:56.969000Z','timestamp',7,'2026-11-24 12:12:57.974612');
CREATE TABLE watermark_move (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	who TEXT NOT NULL, 
	"from" TEXT, 
	"to" TEXT, 
	kind TEXT NOT NULL, 
	reason TEXT, 
	CONSTRAINT pk_watermark_move PRIMARY KEY (id)
);
INSERT INTO watermark_move VALUES(1,'2026-11-24 12:12:33.484063','anna@ops1','2026-11-24T12:12:30.715000Z','2026-11-24T12:11:30.715000Z','rewind','kept for later versions');
CREATE TABLE run (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	started DATETIME NOT NULL, 
	finished DATETIME, 
	rows INTEGER NOT NULL, 
	changed INTEGER NOT NULL, 
	created INTEGER NOT NULL, 
	updated INTEGER NOT NULL, 
	rejected INTEGER NOT NULL, 
	error TEXT, 
	CONSTRAINT pk_run PRIMARY KEY (id)
);
INSERT INTO run VALUES(1,'initial','2026-11-24 12:11:51.675664','2026-11-24 12:11:51.684376',7,7,6,0,1,NULL);
INSERT INTO run VALUES(2,'reconcile','2026-11-24 12:11:53.019580','2026-11-24 12:11:53.040259',6,1,0,0,0,NULL);
INSERT INTO run VALUES(3,'poll','2026-11-24 12:12:27.493764','2026-11-24 12:12:27.517043',7,1,1,0,0,NULL);
INSERT INTO run VALUES(4,'poll','2026-11-24 12:12:28.925569','2026-11-24 12:12:28.935397',2,1,1,0,0,NULL);
INSERT INTO run VALUES(5,'poll','2026-11-24 12:12:30.445576','2026-11-24 12:12:30.456874',3,2,1,1,0,NULL);
INSERT INTO run VALUES(6,'poll','2026-11-24 12:12:31.715602','2026-11-24 12:12:31.760179',3,1,0,1,0,NULL);
INSERT INTO run VALUES(7,'poll','2026-11-24 12:12:57.970277','2026-11-24 12:12:57.986964',10,1,1,0,0,NULL);
CREATE TABLE delivery (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	source_id TEXT NOT NULL, 
	reference TEXT, 
	http_status INTEGER, 
	changed TEXT, 
	error TEXT, 
	CONSTRAINT pk_delivery PRIMARY KEY (id)
);
INSERT INTO delivery VALUES(1,'2026-11-24 12:11:51.703743','1','erp-1',201,'{"account": [null, "ACME"], "description": [null, "Gold"], "end": [null, "2026-12-31"], "start": [null, "2024-01-01"]}',NULL);
INSERT INTO delivery VALUES(2,'2026-11-24 12:11:51.709040','2','erp-2',201,'{"account": [null, "Globex"], "description": [null, "Gold"], "end": [null, "2026-12-31"], "start": [null, "2024-01-01"]}',NULL);
INSERT INTO delivery VALUES(3,'2026-11-24 12:11:51.709078','3','erp-3',201,'{"account": [null, "Initech"], "description": [null, "Gold"], "end": [null, null], "start": [null, "2024-01-01"]}',NULL);
INSERT INTO delivery VALUES(4,'2026-11-24 12:11:51.709106','5','erp-5',201,'{"account": [null, "ACME"], "description": [null, "Gold"], "end": [null, "2020-01-01"], "start": [null, "2024-01-01"]}',NULL);
INSERT INTO delivery VALUES(5,'2026-11-24 12:11:51.709146','6','erp-6',422,'{"account": [null, "Umbrella"], "description": [null, "Gold"], "end": [null, "2026-12-31"], "start": [null, "2024-01-01"]}','[{"field": "account", "message": "The selected account is invalid."}]');
INSERT INTO delivery VALUES(6,'2026-11-24 12:11:51.709169','7','erp-7',201,'{"account": [null, "Globex"], "description": [null, "Gold"], "end": [null, "2026-12-31"], "start": [null, "2024-01-01"]}',NULL);
INSERT INTO delivery VALUES(7,'2026-11-24 12:12:27.532940','8','erp-8',422,'{"account": [null, "ACME"], "description": [null, "Gold"], "end": [null, "2026-12-31"], "start": [null, "2024-01-01"]}','[{"field": "", "message": "422 Server Error"}]');
INSERT INTO delivery VALUES(8,'2026-11-24 12:12:28.942882','9','erp-9',NULL,'{"account": [null, "ACME"], "description": [null, "Gold"], "end": [null, "2026-12-31"], "start": [null, "2024-01-01"]}','[{"field": "", "message": "the connection broke (ClientOSError)"}]');
CREATE TABLE control (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_control PRIMARY KEY ("key")
);
INSERT INTO control VALUES('identity','{"base_url": "http://127.0.0.1:8080", "client_id": "sandbox"}');
INSERT INTO control VALUES('memory','{"value": null, "bounds": {}, "server": null, "clock": "2026-11-24T12:12:57.969000+00:00", "ours": "2026-11-24T12:12:57.969950+00:00"}');
INSERT INTO control VALUES('shape','{"payloads": "580af20dd4f5f17cccafcca2b6d3c822b8fba2d73db73349b896a6bc30999f67", "watermark": "436a6fc789802aff6a94f986e7dcdb6ed28cc1fdaeb0bc2a2272a42c07e4811f"}');
INSERT INTO control VALUES('balance','{"at": "2026-11-24T12:11:53.039733+00:00", "rows": 6, "pending": 0, "synced": 4, "rejected": 1, "waiting": 1, "held": 0, "unexplained": 0}');
INSERT INTO control VALUES('last_poll','{"started": "2026-11-24T12:12:57.970277+00:00", "finished": "2026-11-24T12:12:57.986964+00:00", "good_at": "2026-11-24T12:12:57.986964+00:00", "rows": 10, "changed": 1, "error": null}');
INSERT INTO control VALUES('horizon','{"horizon": "2026-11-24T12:12:56.969000Z", "held_back_by": null, "basis": "lookback", "basis_reason": "SQLite does not tell which transactions are unfinished", "clock": "2026-11-24T12:12:57.969000+00:00", "read_to": ["2026-11-24T12:12:56.969000Z", 7]}');
INSERT INTO control VALUES('api','{"state": "ok", "reason": null, "since": null, "paused_until": null}');
INSERT INTO control VALUES('totals','{"created": 5, "retried": 2, "rejected": 1}');
INSERT INTO control VALUES('last_delivery','{"at": "2026-11-24T12:12:28.942882+00:00", "status": null}');
INSERT INTO control VALUES('guard_last_run','2');
INSERT INTO control VALUES('last_reconcile','{"started": "2026-11-24T12:11:53.019580Z", "finished": "2026-11-24T12:11:53.040259Z", "rows": 6, "changed": 1, "missed": 0, "error": null}');
INSERT INTO control VALUES('hold','{"run": 2, "at": "2026-11-24T12:12:31.727496+00:00", "kind": "poll", "changes": 1, "known": 4, "updated": 1, "new": 0, "gone": 0, "examples": [{"source_id": "3", "reference": "erp-3", "gone": false, "diff": {"description": ["Gold", "Basic"]}}]}');
INSERT INTO control VALUES('resumed_at','"2026-11-24T12:12:32.686540+00:00"');
CREATE INDEX ix_contract_due ON contract (next_attempt_at) WHERE next_attempt_at IS NOT NULL AND claimed_by IS NULL;
CREATE INDEX ix_contract_status ON contract (status) WHERE status <> 'synced';
CREATE INDEX ix_contract_claimed ON contract (claimed_by) WHERE claimed_by IS NOT NULL;
CREATE INDEX ix_run_started ON run (started);
CREATE INDEX ix_delivery_at ON delivery (at);
CREATE INDEX ix_delivery_source_id ON delivery (source_id);
COMMIT;

// graphile-worker's drain: `node drain.mjs '{"host": …, "port": …, "user": …, "database": …}' EVENTS PAYLOAD`, run by benchmarks/graphile.py
// in the temporary folder where it is installed. Prints one JSON line: jobs per second, and the WAL of adding and running a job.
//
// The batching configuration is the one that its own page on performance gives for throughput.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const [address, count, payload] = [JSON.parse(process.argv[2]), Number(process.argv[3]), JSON.parse(process.argv[4])];
const quiet = new Logger(() => () => {});
const worker = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
  logger: quiet,
};

const pool = new pg.Pool({ ...address, max: worker.maxPoolSize });
const written = async () =>
  Number((await pool.query("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint bytes")).rows[0].bytes);

const utils = await makeWorkerUtils({ pgPool: pool, logger: quiet });
await utils.migrate();
const before = await written();
for (let added = 0; added < count; added += 1000) {
  await utils.addJobs(Array.from({ length: Math.min(1000, count - added) }, () => ({ identifier: "noop", payload })));
}

let done = 0;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const began = process.hrtime.bigint();
const runner = await run({
  pgPool: pool,
  preset: { worker },
  taskList: {
    noop: () => {
      done += 1;
      if (done === count) finish();
    },
  },
  noHandleSignals: true,
});
await finished;
const seconds = Number(process.hrtime.bigint() - began) / 1e9;
await runner.stop();
const bytes = (await written()) - before;
await utils.release();
await pool.end();
console.log(JSON.stringify({ per_s: count / seconds, wal_bytes: bytes / count }));

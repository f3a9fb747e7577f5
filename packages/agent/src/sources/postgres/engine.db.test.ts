import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineSpec } from '../../jobs/job.ts';
import { inTurn } from '../../testing/engine-bench.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { embeddedPostgres, PostgresServer, type PostgresOptions } from '../../testing/postgres-server.ts';
import { postgresEngine } from './engine.ts';

async function fingerprintOf(server: PostgresServer): Promise<string> {
  const [row] = await server.query<{ word: string }>(
    'select md5(string_agg(t::text, $1 order by id)) as word from orders t',
    [','],
  );
  return row!.word;
}

async function openRig(options: PostgresOptions): Promise<EngineRig> {
  const server = await PostgresServer.start(options);
  const targets = mkdtempSync(join(tmpdir(), 'holdfast-postgres-rig-'));
  chmodSync(targets, 0o755);
  await server.query('create table orders as select g as id, md5(g::text) as note from generate_series(1, 5000) g');
  let changes = 0;
  const sourceAt = (dsn: string): EngineSpec => ({
    sourceId: 'db-1',
    name: 'db',
    type: 'engine',
    engine: { type: 'postgres', settings: { dsn } },
    hooks: { before: [], after: [], timeoutSeconds: 0, requireBefore: false },
    limitBytesPerSecond: 0,
    compression: { codec: 'zstd', level: 0 },
  });
  return {
    engine: inTurn(postgresEngine),
    source: sourceAt(server.dsn),
    broken: sourceAt(`host=${targets} user=nobody dbname=postgres`),
    target: (name) => join(targets, name),
    change: async () => {
      await server.query('update orders set note = $1 where id = $2', [`new ${++changes}`, changes]);
    },
    fingerprint: () => fingerprintOf(server),
    restored: async (dataDir) => {
      const restored = await PostgresServer.start({ ...options, dataDir, port: 5503 });
      try {
        return await fingerprintOf(restored);
      } finally {
        await restored.remove();
      }
    },
    close: async () => {
      await server.remove();
      rmSync(targets, { recursive: true, force: true });
    },
  };
}

engineConformance('postgres 15', () => openRig({}), { discoverable: true, guarded: true });
engineConformance('postgres 18', () => openRig({ bin: embeddedPostgres() }), { discoverable: true, guarded: true });

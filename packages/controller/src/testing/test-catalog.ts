// A real PostgreSQL for tests: one server per process that needs it, one database per test.
//
// The server runs without syncing and is created under the temporary directory; both go when the process ends. Each
// test's database is copied from a migrated template, which takes some 30 ms.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import pg from 'pg';

import { connectCatalog, type Catalog } from '../catalog/catalog.ts';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../catalog/embedded-postgres.ts';

interface TestServer {
  readonly postgres: EmbeddedPostgres;
  readonly admin: pg.Pool;
}

let server: Promise<TestServer> | undefined;

/** A catalog of its own for one test, migrated and empty; closing it drops the database. */
export async function openTestCatalog(): Promise<Catalog & { connection: pg.ClientConfig }> {
  server ??= startServer();
  const { postgres, admin } = await server;
  const database = `test_${randomBytes(8).toString('hex')}`;
  await admin.query(`create database ${database} template template_catalog strategy file_copy`);
  const connection = { ...postgres.connection, database };
  const catalog = await connectCatalog(connection);
  return {
    ...catalog,
    connection,
    close: async () => {
      await catalog.close();
      await admin.query(`drop database ${database} with (force)`);
    },
  };
}

/** An empty, unmigrated database. */
export async function createTestDatabase(): Promise<pg.ClientConfig> {
  server ??= startServer();
  const { postgres, admin } = await server;
  const database = `test_${randomBytes(8).toString('hex')}`;
  await admin.query(`create database ${database}`);
  return { ...postgres.connection, database };
}

async function startServer(): Promise<TestServer> {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-test-catalog-'));
  const postgres = await startEmbeddedPostgres({ directory, unsafeNoSync: true });
  // mocha ends when nothing is left to do, or by process.exit: both pass here, where nothing asynchronous runs any more.
  process.once('exit', () => removeServer(postgres.pid, directory));
  const admin = new pg.Pool({ ...postgres.connection, max: 2, idleTimeoutMillis: 50, allowExitOnIdle: true });
  await admin.query('create database template_catalog');
  const template = await connectCatalog({ ...postgres.connection, database: 'template_catalog' });
  await template.close();
  return { postgres, admin };
}

/** Without anything asynchronous: the process is ending. */
function removeServer(pid: number, directory: string): void {
  try {
    process.kill(pid, 'SIGQUIT');
  } catch {
    // It has ended already.
  }
  // Its processes leave one by one, and one that is still there may write a file behind the removal.
  for (let tries = 0; tries < 100 && existsSync(directory); tries++) {
    rmSync(directory, { recursive: true, force: true, maxRetries: 3, retryDelay: 10 });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
}

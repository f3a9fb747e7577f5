// What an agent proposes on a host where a controller runs, too.

import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { discoverServers } from '@holdfast/agent/sources/postgres/discover';
import { PostgresServer } from '@holdfast/agent/testing/postgres-server';
import { startEmbeddedPostgres } from '@holdfast/controller/catalog/embedded-postgres';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import { expect } from 'chai';

describe('discovery beside a controller', function discovery() {
  this.timeout(60_000);

  it('proposes the servers of this host, and never a catalog', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-discovery-'));
    chmodSync(directory, 0o755);
    const catalog = await startEmbeddedPostgres({ directory, unsafeNoSync: true });
    try {
      const server = await PostgresServer.start();
      try {
        const deps = { clock: systemClock, log: silentLog, signal: new AbortController().signal };
        const found = (await discoverServers(deps)).map(({ settings }) => settings['dsn'] ?? '');
        expect(found.filter((dsn) => dsn.includes(server.directory))).to.have.length(1);
        expect(found.filter((dsn) => dsn.includes(catalog.connection.host))).to.deep.equal([]);
      } finally {
        await server.remove();
      }
    } finally {
      await catalog.stop();
      rmSync(directory, { recursive: true });
    }
  });
});

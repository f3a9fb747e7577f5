import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inTurn } from '../../testing/engine-bench.ts';
import { engineConformance, type EngineRig } from '../../testing/engine-conformance.test.ts';
import { MariadbServer, mariadbInstalled } from '../../testing/mariadb-server.ts';
import { newMariaDbEngine } from './engine.ts';
import { ServerSession } from './protocol/server-session.ts';
import { PrivateServer } from './restore/private-server.ts';
import { mariadbSource } from './testing/guard-fixture.ts';

const FINGERPRINT = 'CHECKSUM TABLE shop.orders, shop.notes';

async function openRig(method: string): Promise<EngineRig> {
  const server = await MariadbServer.start();
  const targets = mkdtempSync(join(tmpdir(), 'holdfast-mariadb-rig-'));
  chmodSync(targets, 0o755);
  server.sql(`
    CREATE DATABASE shop; USE shop;
    CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, raw VARBINARY(200));
    CREATE TABLE notes (id INT PRIMARY KEY, text TEXT);
    INSERT INTO orders (raw) SELECT RANDOM_BYTES(150) FROM seq_1_to_5000;`);
  let changes = 0;
  return {
    engine: inTurn(newMariaDbEngine()),
    source: mariadbSource({ dsn: server.dsn, method }),
    broken: mariadbSource({ dsn: `socket=${targets}/nobody.sock user=root`, method }),
    target: (name) => join(targets, name),
    change: async () => {
      server.sql(
        `INSERT INTO notes VALUES (${++changes}, 'new'); UPDATE orders SET raw = '${changes}' WHERE id = ${changes}`,
        'shop',
      );
    },
    fingerprint: async () => server.sql(FINGERPRINT),
    restored: async (target) => {
      const options = { extra: ['--skip-networking', '--skip-grant-tables'], detached: false };
      const restored = await PrivateServer.start(target, options, new AbortController().signal);
      try {
        const session = await ServerSession.open({
          socket: restored.socket,
          host: '',
          port: 0,
          user: 'root',
          password: '',
        });
        const rows = await session.query(FINGERPRINT);
        session.close();
        return rows.map((row) => `${row['table']}\t${row['checksum']}`).join('\n');
      } finally {
        await restored.stop();
      }
    },
    close: async () => {
      await server.remove();
      rmSync(targets, { recursive: true, force: true });
    },
  };
}

if (mariadbInstalled) {
  for (const method of ['logical', 'physical']) {
    engineConformance(`mariadb, ${method}`, () => openRig(method), { discoverable: true, guarded: true });
  }
}

import { expect } from 'chai';
import { Client } from 'pg';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { embeddedPostgres, PostgresServer } from '../../../testing/postgres-server.ts';
import { ServerConnection } from './server-connection.ts';
import { dropSlotOn, lookAtPrimary, lookAtServer } from './slot-watch.ts';

for (const [version, bin] of [
  ['15', undefined],
  ['18', embeddedPostgres()],
] as const) {
  describe(`a look at PostgreSQL ${version} with no more rights than it takes`, () => {
    let server: PostgresServer;

    before(async () => {
      server = await PostgresServer.start(bin === undefined ? {} : { bin });
      await server.query('create role watcher login replication in role pg_monitor');
    });
    after(async () => server.remove());

    it('sees the slot, the disk and the end of the log; makes the slot, and drops it', async () => {
      const address = { host: server.directory, port: server.port, user: 'watcher', database: 'postgres' };
      const client = new Client(address);
      await client.connect();
      const replication = new Client({ ...address, replication: 'true' } as ConstructorParameters<typeof Client>[0]);
      await replication.connect();
      try {
        expect((await lookAtServer(client, 'holdfast_x', true)).slot).to.equal(undefined);
        const connection = new ServerConnection(replication);
        await connection.createSlot('holdfast_x');
        const look = await lookAtServer(client, 'holdfast_x', true);
        expect(look).to.deep.include({ standby: false, standbyNames: '', fileBytes: 1 << 24, senderTimeoutMs: 60_000 });
        expect(look.slot).to.deep.include({ walStatus: 'reserved', active: false, safeBytes: undefined });
        expect(look.disk?.sizeBytes).to.be.greaterThan(0);
        const { end } = await connection.identify();
        expect(look.slot!.restart! <= end && look.end >= look.slot!.restart!).to.equal(true);
        expect(Math.abs(look.clockMs! - Date.now())).to.be.lessThan(60_000);
        expect(await lookAtPrimary(client)).to.equal(undefined);
        await dropSlotOn(client, 'holdfast_x', systemClock);
        expect((await lookAtServer(client, 'holdfast_x', false)).slot).to.equal(undefined);
        connection.close();
      } finally {
        await client.end();
      }
    });
  });
}

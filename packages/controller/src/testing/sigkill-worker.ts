// Started by sigkill.db.test.ts, to be killed: backs up without end and says what was promised.

import { openLocalDirectory } from '../vault/local-directory.ts';
import { connectCatalog } from '../catalog/catalog.ts';
import { backUp, openTestVault, snapshotOf, type TestHost } from './vault-fixture.ts';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';

export interface WorkerOrders {
  readonly connection: { host: string; port: number; user: string; password: string; database: string };
  readonly directory: string;
  readonly caller: { readonly hostId: string; readonly domainId: string };
  readonly sourceId: string;
  readonly round: number;
}

export function hostOf({ caller, sourceId }: Pick<WorkerOrders, 'caller' | 'sourceId'>): TestHost {
  return { caller, sourceId, keys: deriveDomainKeys(Buffer.alloc(32, 5), caller.domainId, 0) };
}

/** What the n-th backup of a round holds; some texts occur in every one. */
export function textsOf(round: number, backup: number): string[] {
  return Array.from({ length: 20 }, (_, index) =>
    index < 5 ? `shared ${index}` : `${round} ${backup} ${index} `.repeat(index * 20),
  );
}

process.once('message', (orders: WorkerOrders) => {
  void run(orders);
});

async function run(orders: WorkerOrders): Promise<void> {
  const host = hostOf(orders);
  const catalog = await connectCatalog(orders.connection);
  const vault = await openTestVault({ catalog, storage: await openLocalDirectory(orders.directory), hosts: [host] });
  process.send?.({ ready: true });
  for (let backup = 0; ; backup++) {
    const objects = snapshotOf(host, textsOf(orders.round, backup), `${orders.round} ${backup}`);
    await backUp(vault, host, objects);
    process.send?.({ committed: backup });
  }
}

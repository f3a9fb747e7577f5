// The entries of a directory of a snapshot, as the controller lists them.

import type { EntryInfo, SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import type { Session } from './session.ts';

/** What is in a directory (without itself), or the entry itself when it is none. */
export async function* listEntries(
  session: Session,
  snapshot: SnapshotInfo,
  path: Buffer,
  recursive: boolean,
): AsyncGenerator<EntryInfo> {
  const request = { domain: await session.domain(), snapshotId: snapshot.id, path, recursive };
  for await (const batch of (await session.operator()).listEntries(request)) {
    for (const entry of batch.entries) {
      if (entry.type !== 'directory' || !path.equals(entry.path)) yield entry;
    }
  }
}

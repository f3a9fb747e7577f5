// The vault over the wire: what vault-port.ts promises, by vault.proto.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { callUnary } from '@holdfast/shared/rpc/calls';
import { VaultDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { retrying } from '@holdfast/shared/runtime/retry';
import { openLogReadSession } from './log-read-session.ts';
import { openLogSession } from './log-session.ts';
import { openBackupSession, type VaultLink } from './vault-backup-session.ts';
import type { OwnGrant, VaultClient } from './vault-port.ts';
import { openReadSession } from './vault-read-session.ts';
import { view } from './vault-wire.ts';

const GRANT_TIMEOUT_MS = 30_000;
const GRANT_BACKOFF = { firstMs: 500, capMs: 5000 };

export function newVaultClient(link: VaultLink): VaultClient {
  return {
    openBackup: (request) => openBackupSession(request, link),
    openRead: (grant, options) => openReadSession(grant, options.signal, link),
    openLog: (request) => openLogSession(request, link),
    openLogRead: (grant, options) => openLogReadSession(grant, options.signal, link),
    grantOwn: ({ sourceId, snapshotId, signal }) =>
      retrying({ backoff: GRANT_BACKOFF, attempts: 4, signal }, link, () =>
        grantOwn(link, sourceId, snapshotId, signal),
      ),
  };
}

async function grantOwn(
  link: VaultLink,
  sourceId: string,
  snapshotId: Uint8Array | undefined,
  signal: AbortSignal,
): Promise<OwnGrant> {
  const channel = link.openChannel();
  try {
    const answer = await callUnary(
      { channel, service: VaultDefinition.fullName },
      VaultDefinition.methods.grantOwn,
      { sourceId, snapshotId: snapshotId === undefined ? Buffer.alloc(0) : view(snapshotId) },
      { timeoutMs: GRANT_TIMEOUT_MS, signal },
    );
    if (answer.snapshotId.length !== 32) {
      throw new HoldfastError('PROTOCOL_VIOLATION', 'the controller granted a snapshot without an id');
    }
    return { grant: answer.grant, snapshotId: answer.snapshotId };
  } finally {
    channel.close();
  }
}
